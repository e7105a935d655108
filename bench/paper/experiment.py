"""The experiments on one trained network: a row for every compression and what it scores."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from compression import METHODS, SOLVERS, Compressed, Objective, quantise
from datasets import TASKS
from networks import Score, score, trained
from objectives import WEIGHTED, Estimates
from plan import Plan
from torch import nn

from wkmeans.demo._data import Dataset, Split

_THEOREM_EXAMPLES = 100
_THEOREM_WEIGHTS = 8  # of each tensor


class Row(NamedTuple):
    """A compressed network on the test examples; ``mu`` in units of the mean importance.

    ``solver`` of a whole importance matrix is the candidate that held-out examples chose.

    Studies: "uncompressed"; "objectives" (Figures 2 to 5, 7 to 10), with temperature and mu chosen
    on validation; "temperature" (11); "mu" (12); "solvers"; "theorem" (``cost`` is the gap).
    """

    network: str
    seed: int
    study: str
    method: str
    objective: str
    solver: str
    temperature: float
    mu: float
    setting: float
    ratio: float
    cost: float
    accuracy: float
    top5: float
    cross_entropy: float


def run_cell(
    task_name: str,
    plan: Plan,
    network: str,
    seed: int,
    data_dir: Path | None,
    cache: Path,
    on_study: Callable[[str], None],
    studies: Mapping[str, Study] | None = None,
) -> list[Row]:
    """`STUDIES`, or others, on one network. Finished ones are read back from ``cache``."""
    studies = STUDIES if studies is None else studies
    cell = cell_directory(cache, plan, task_name, network, seed)
    cell.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # the matrices are small; cells run side by side
    lab: Laboratory | None = None
    rows: list[Row] = []
    for study, rows_of in studies.items():
        path = cell / f"{study}.csv"
        if not path.exists():
            lab = lab or Laboratory.of(task_name, plan, network, seed, data_dir, cell)
            write_rows(path, list(rows_of(lab)))
        rows += read_rows(path)
        on_study(study)
    return rows


def cell_directory(cache: Path, plan: Plan, task: str, network: str, seed: int) -> Path:
    """Where one network's weights, importances and rows are kept."""
    return cache / plan.digest(task) / f"{network.replace(' ', '-')}-{seed}"


class Laboratory:
    """A trained network, its data and its importances."""

    def __init__(
        self, plan: Plan, network: str, seed: int, net: nn.Module, data: Dataset, cell: Path
    ) -> None:
        self.plan = plan
        self.net = net
        self.test = data.test.first(plan.n_test or len(data.test))
        self.validation = data.validation.first(plan.n_validation)
        self.estimates = Estimates(net, data.training.first(plan.n_importance), cell)
        self._key = (network, seed)
        self._choices: dict[tuple[str, str], tuple[float, float]] = {}

    @classmethod
    def of(
        cls, task: str, plan: Plan, network: str, seed: int, data_dir: Path | None, cell: Path
    ) -> Laboratory:
        data = TASKS[task].load(seed, data_dir)
        shape, n_classes = TASKS[task].shape, TASKS[task].n_classes
        training = data.training.first(plan.n_training or len(data.training))
        net = trained(
            plan.recipe(network), shape, n_classes, training, seed, cell / "network.safetensors"
        )
        return cls(plan, network, seed, net, data, cell)

    def row(
        self,
        study: str,
        objective: str,
        result: Compressed,
        *,
        method: str = "",
        solver: str = "",
        temperature: float = 1.0,
        mu: float = 0.0,
        setting: float = 0.0,
    ) -> Row:
        """The compressed network's scores on the test examples."""
        scores = self.score(result, self.test)
        return Row(
            *self._key, study, method, objective, solver, temperature, mu, setting,
            result.ratio, result.cost, *scores,
        )  # fmt: skip

    def score(self, result: Compressed, split: Split) -> Score:
        return score(self.net, result.weights, split)

    def chosen(self, method: str, objective: str) -> tuple[float, float]:
        """Temperature and mu of least validation cross-entropy; mu is the Hessian's alone."""
        key = method, objective
        if key not in self._choices:
            mus = self.plan.mus if objective == "hessian" else (0.0,)
            candidates = [(t, mu) for t in self.plan.temperatures for mu in mus]
            self._choices[key] = min(candidates, key=lambda c: self._loss(method, objective, *c))
        return self._choices[key]

    def _loss(self, method: str, objective: str, temperature: float, mu: float) -> float:
        criterion = self.estimates.objective(objective, temperature, mu)
        results = [
            METHODS[method](self.estimates.weights, criterion, s)
            for s in self.plan.choosing(method)
        ]
        return fmean(math.log(self.score(r, self.validation).cross_entropy) for r in results)

    def criteria(self, method: str) -> Iterator[tuple[str, Objective, float, float]]:
        """Each objective with its chosen temperature and mu."""
        yield "baseline", self.estimates.baseline(), 1.0, 0.0
        for objective in WEIGHTED:
            temperature, mu = self.chosen(method, objective)
            criterion = self.estimates.objective(objective, temperature, mu)
            yield objective, criterion, temperature, mu


def _uncompressed(lab: Laboratory) -> Iterator[Row]:
    yield lab.row("uncompressed", "", Compressed(dict(lab.estimates.weights), 1.0, 0.0))


def _theorem(lab: Laboratory) -> Iterator[Row]:
    gap = lab.estimates.theorem_gap(_THEOREM_EXAMPLES, _THEOREM_WEIGHTS)
    yield lab.row("theorem", "hessian", Compressed(dict(lab.estimates.weights), 1.0, gap))


def _objectives(lab: Laboratory) -> Iterator[Row]:
    for method, compress in METHODS.items():
        for objective, criterion, temperature, mu in lab.criteria(method):
            for setting in lab.plan.settings(method):
                yield lab.row(
                    "objectives", objective, compress(lab.estimates.weights, criterion, setting),
                    method=method, solver="optimal", temperature=temperature, mu=mu,
                    setting=setting,
                )  # fmt: skip


def _solvers(lab: Laboratory) -> Iterator[Row]:
    for objective, criterion, temperature, mu in lab.criteria("quantise"):
        if objective not in ("baseline", "gradient", "gradient+hessian"):
            continue
        for k in lab.plan.lloyd_ks:
            for solver in SOLVERS:
                yield lab.row(
                    "solvers", objective, quantise(lab.estimates.weights, criterion, k, solver),
                    method="quantise", solver=solver, temperature=temperature, mu=mu, setting=k,
                )  # fmt: skip


def _temperature(lab: Laboratory) -> Iterator[Row]:
    for objective in ("gradient", "hessian", "gradient+hessian"):
        for temperature in lab.plan.temperatures:
            criterion = lab.estimates.objective(objective, temperature)
            for density in lab.plan.temperature_densities:
                yield lab.row(
                    "temperature", objective,
                    METHODS["prune"](lab.estimates.weights, criterion, density),
                    method="prune", temperature=temperature, setting=density,
                )  # fmt: skip


def _mu(lab: Laboratory) -> Iterator[Row]:
    for mu in lab.plan.mus:
        criterion = lab.estimates.objective("hessian", mu=mu)
        for density in lab.plan.mu_densities:
            yield lab.row(
                "mu", "hessian", METHODS["prune"](lab.estimates.weights, criterion, density),
                method="prune", mu=mu, setting=density,
            )  # fmt: skip


Study = Callable[[Laboratory], Iterable[Row]]

STUDIES: dict[str, Study] = {
    "uncompressed": _uncompressed,
    "theorem": _theorem,
    "objectives": _objectives,
    "solvers": _solvers,
    "temperature": _temperature,
    "mu": _mu,
}


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """As CSV, whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(
            [format(value, ".6g") if isinstance(value, float) else value for value in row]
            for row in rows
        )
    partial.replace(path)


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` wrote."""
    with path.open(newline="") as file:
        return [_parsed(fields) for fields in csv.DictReader(file)]


def _parsed(fields: dict[str, str]) -> Row:
    texts = {"network", "study", "method", "objective", "solver"}
    parsed = {
        name: value if name in texts else int(value) if name == "seed" else float(value)
        for name, value in fields.items()
    }
    return Row(**parsed)  # type: ignore[arg-type]
