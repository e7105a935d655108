"""The tables of the report, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from compression import SOLVERS
from experiment import Row
from matrix import OWN_BIASES, WHOLE
from statistics_of_seeds import Selection, contrasts, tally
from theory import N_UNITS, SIZE, K, experiment

OBJECTIVES = ("baseline", "fisher", "gradient", "hessian", "gradient+hessian", "batch gradient")
CLAIMS = (
    ("fisher", "baseline"),
    ("gradient", "baseline"),
    ("hessian", "baseline"),
    ("gradient+hessian", "baseline"),
    ("gradient", "hessian"),
    ("gradient+hessian", "gradient"),
    ("gradient+hessian", "hessian"),
    ("gradient", "batch gradient"),
)
CLAIMS_OF_MATRICES = tuple(
    (one, other) for one in (WHOLE, OWN_BIASES) for other in ("baseline", "fisher", "hessian")
)
_MARKS = {"better": "▼", "worse": "▲", "tie": ""}


def tables(rows: Sequence[Row], networks: Sequence[str]) -> str:
    """Everything, in the order of the paper."""
    sections = [_originals(rows, gap=True), _contrasts(rows, networks, CLAIMS)]
    for network in networks:
        for method in ("prune", "quantise"):
            sections.append(_scores(rows, network, method, OBJECTIVES))
    sections += [_solvers(rows, network) for network in networks]
    sections += [_sweep(rows, n, "temperature", o) for n in networks for o in _swept(rows)]
    sections += [_sweep(rows, network, "mu", "hessian") for network in networks]
    sections.append(_theorem_4())
    return "\n\n".join(sections) + "\n"


def tables_of_matrices(rows: Sequence[Row], networks: Sequence[str]) -> str:
    """Whole importance matrices beside diagonals."""
    sections = [_originals(rows, gap=False), _contrasts(rows, networks, CLAIMS_OF_MATRICES)]
    for network in networks:
        for method in ("prune", "quantise"):
            sections.append(_factors(rows, network, method))
            objectives = ("baseline", "fisher", "hessian", WHOLE, OWN_BIASES)
            sections.append(_scores(rows, network, method, objectives))
    sections.append(_candidates(rows, networks))
    return "\n\n".join(sections) + "\n"


def _table(title: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [f"### {title}", "", _line(head), _line(["---"] * len(head))]
    return "\n".join([*lines, *map(_line, body)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _originals(rows: Sequence[Row], *, gap: bool) -> str:
    body = []
    for network in dict.fromkeys(r.network for r in rows):
        own = [r for r in rows if r.network == network]
        scores = [r for r in own if r.study == "uncompressed"]
        values = ((np.mean([getattr(r, c) for r in scores])) for c in ("accuracy", "cross_entropy"))
        body.append([network, str(len(scores)), *(f"{v:.4f}" for v in values)])
        if gap:
            body[-1].append(f"{max(r.cost for r in own if r.study == 'theorem'):.1e}")
    head = ["network", "seeds", "accuracy", "cross-entropy", "largest Hessian - Fisher"]
    return _table("The networks, uncompressed (test)", head if gap else head[:-1], body)


def _contrasts(
    rows: Sequence[Row], networks: Sequence[str], claims: Sequence[tuple[str, str]]
) -> str:
    body = [
        [f"{one} : {other}", network, method,
         tally(Selection(rows, "objectives", network, method).contrasts(one, other))]
        for one, other in claims for network in networks for method in ("prune", "quantise")
    ]  # fmt: skip
    head = ["cross-entropy of", "network", "method", "better / tie / worse", "factor (range)"]
    return _table("Objectives against each other, over the settings", head, body)


def _factors(rows: Sequence[Row], network: str, method: str) -> str:
    selection = Selection(rows, "objectives", network, method)
    columns = [selection.contrasts(one, other) for one, other in CLAIMS_OF_MATRICES]
    body = [
        [
            f"{setting:g}",
            *(f"{column[i].factor:.3f}{_MARKS[column[i].verdict]}" for column in columns),
        ]
        for i, setting in enumerate(selection.settings)
    ]
    name = {"prune": "density", "quantise": "k"}[method]
    head = [name, *(f"{one} : {other}" for one, other in CLAIMS_OF_MATRICES)]
    return _table(f"{network}, {method}: factors of cross-entropy", head, body)


def _candidates(rows: Sequence[Row], networks: Sequence[str]) -> str:
    """How many of the compressed networks are which candidate of `compress`."""
    whole = [r for r in rows if r.objective == WHOLE]
    names = sorted({r.solver for r in whole})
    body = [
        [network, method]
        + [
            str(sum((r.network, r.method, r.solver) == (network, method, name) for r in whole))
            for name in names
        ]
        for network in networks
        for method in ("prune", "quantise")
    ]
    title = "What held-out calibration examples chose under whole matrices, over seeds and settings"
    return _table(title, ["network", "method", *names], body)


def _scores(rows: Sequence[Row], network: str, method: str, objectives: Sequence[str]) -> str:
    selection = Selection(rows, "objectives", network, method)
    losses = {o: selection.means("cross_entropy", objective=o) for o in objectives}
    accuracies = {o: selection.means("accuracy", objective=o) for o in objectives}
    verdicts = {o: selection.contrasts(o, "baseline") for o in objectives}
    ratios = selection.means("ratio", objective="baseline")
    body = [
        [f"{setting:g}", f"{ratios[i]:.3g}"]
        + [
            f"{losses[o][i]:.3f}{_MARKS[verdicts[o][i].verdict]} {100 * accuracies[o][i]:.1f}"
            for o in objectives
        ]
        for i, setting in enumerate(selection.settings)
    ]
    name = {"prune": "density", "quantise": "k"}[method]
    title = f"{network}, {method}: cross-entropy and accuracy in per cent (test)"
    return _table(title, [name, "ratio", *objectives], body)


def _solvers(rows: Sequence[Row], network: str) -> str:
    selection = Selection(rows, "solvers", network, "quantise")
    body = []
    for objective in ("baseline", "gradient", "gradient+hessian"):
        columns = [
            [selection.values(c, objective=objective, solver=s) for s in SOLVERS]
            for c in ("cost", "cross_entropy")
        ]
        for i, k in enumerate(selection.settings):
            cells = []
            for cost, loss in list(zip(*columns, strict=True))[1:]:
                excess = cost[:, i] / columns[0][0][:, i]
                effect = contrasts([k], loss[:, i : i + 1], columns[1][0][:, i : i + 1])[0]
                cells.append(f"{excess.mean():.3f}, {effect.factor:.3f} (p {effect.p:.2f})")
            body.append([objective, f"{k:g}", *cells])
    head = ["objective", "k", *list(SOLVERS)[1:]]
    return _table(f"{network}: Lloyd over optimal, cost and cross-entropy", head, body)


def _swept(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(r.objective for r in rows if r.study == "temperature"))


def _sweep(rows: Sequence[Row], network: str, study: str, objective: str) -> str:
    selection = Selection(rows, study, network, "prune")
    values = sorted({getattr(r, study) for r in rows if r.study == study})
    body = []
    for value in values:
        key = {"objective": objective, study: value}
        losses = selection.means("cross_entropy", **key)
        shares = selection.means("accuracy", **key)
        cells = [f"{a:.3f} {100 * b:.1f}" for a, b in zip(losses, shares, strict=True)]
        body.append([f"{value:g}", *cells])
    head = [study, *(f"density {s:g}" for s in selection.settings)]
    return _table(f"{network}, {objective}: pruning against {study}", head, body)


def _theorem_4() -> str:
    result = experiment()
    names = {
        "weighted_clustering_rule_1": "weighted clustering, among weighted means",
        "plain_clustering_rule_1": "unweighted clustering, among weighted means",
        "weighted_pruning": "weighted pruning",
        "plain_pruning": "unweighted pruning",
        "free": "weighted clustering, against freely moved centroids",
        "free_single": "the same with k = 1",
    }
    body = [[names[field], *_excess(values)] for field, values in result._asdict().items()]
    head = ["answer", "units where it is not the best", "mean excess", "largest excess"]
    title = f"Theorem 4: mean squared error of {N_UNITS} ReLU units of {SIZE} weights, k = {K}"
    return _table(title, head, body)


def _excess(values: np.ndarray) -> Iterator[str]:
    yield f"{np.mean(values > 1e-9):.1%}"
    yield f"{values.mean():.3%}"
    yield f"{values.max():.3%}"
