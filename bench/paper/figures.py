"""The report's plots, named after the paper's figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from compression import SOLVERS, Objective, Weights
from experiment import Row
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from statistics_of_seeds import Selection

from wkmeans import plot, wkmeans
from wkmeans.rate_distortion import linear_bound

_DPI = 75
_COMPARED = {"unsupervised": ("baseline", "fisher"),
             "supervised": ("baseline", "gradient", "hessian", "gradient+hessian")}  # fmt: skip
_TRADE_OFFS = (
    ("unsupervised", "prune"), ("unsupervised", "quantise"),
    ("supervised", "prune"), ("supervised", "quantise"),
)  # fmt: skip


def save_figures(
    rows: Sequence[Row], networks: Sequence[str], many_classes: bool, output: Path
) -> None:
    """Figures 2 to 5, or for many classes 7 to 10 with their top-5 accuracy; 6, 11 and 12."""
    save_trade_offs(rows, networks, many_classes, output)
    _save(sweep(rows, networks, "temperature", "gradient"), "gradient", output / "figure-11.png")
    _save(sweep(rows, networks, "mu", "hessian"), "hessian", output / "figure-12.png")
    panels = plot.water_filling([3, 2, 1], [3, 2, 1], [2, 6, 12])
    _save(panels[0].figure, "weighted water-filling", output / "figure-6.png")


def save_trade_offs(
    rows: Sequence[Row], networks: Sequence[str], many_classes: bool, output: Path, *others: str
) -> None:
    """Figures 2 to 5 or 7 to 10, with a curve for each of ``others`` beside the paper's."""
    for number, (supervision, method) in enumerate(_TRADE_OFFS, start=7 if many_classes else 2):
        columns = ("accuracy", "top5", "cross_entropy") if many_classes else (
            "accuracy", "cross_entropy")  # fmt: skip
        objectives = (*_COMPARED[supervision], *others)
        figure = trade_off(rows, networks, method, objectives, columns)
        _save(figure, f"{supervision}: {method}", output / f"figure-{number}.png")


def trade_off(
    rows: Sequence[Row],
    networks: Sequence[str],
    method: str,
    objectives: Sequence[str],
    columns: Sequence[str],
) -> Figure:
    """A column of panels for each network, a row for each score."""
    figure, panels = _panels(len(columns), len(networks))
    for j, network in enumerate(networks):
        selection = Selection(rows, "objectives", network, method)
        originals = [r for r in rows if (r.study, r.network) == ("uncompressed", network)]
        for i, column in enumerate(columns):
            curves = {
                o: (selection.means("ratio", objective=o), selection.values(column, objective=o))
                for o in objectives
            }
            original = np.mean([getattr(r, column) for r in originals])
            axes = plot.score_against_rate(
                curves, uncompressed=float(original), ylabel=column.replace("_", "-"),
                xlabel="share kept" if method == "prune" else "compression ratio", ax=panels[i][j],
            )  # fmt: skip
            if column == "cross_entropy":
                axes.set_yscale("log")
                plot.plain_log_ticks(axes.yaxis)
        panels[0][j].set_title(network)
    panels[0][0].legend()
    return figure


def sweep(rows: Sequence[Row], networks: Sequence[str], study: str, objective: str) -> Figure:
    """Figures 11 and 12: a hyperparameter across, a line for each density."""
    figure, panels = _panels(2, len(networks))
    values = sorted({getattr(r, study) for r in rows if r.study == study})
    for j, network in enumerate(networks):
        selection = Selection(rows, study, network, "prune")
        for i, column in enumerate(("accuracy", "cross_entropy")):
            by_value = np.array(
                [selection.values(column, objective=objective, **{study: v}) for v in values]
            )
            curves = {
                f"density {density:g}": (values, by_value[:, :, s].T)
                for s, density in enumerate(selection.settings)
            }
            axes = plot.score_against_rate(
                curves, xlabel=study, ylabel=column.replace("_", "-"), ax=panels[i][j]
            )
            axes.set_xscale("symlog", linthresh=1e-3) if study == "mu" else axes.set_xscale(
                "linear"
            )
        panels[0][j].set_title(network)
    panels[0][0].legend()
    return figure


def save_codebook(weights: Weights, objective: Objective, output: Path) -> None:
    """One layer's density and codebook, its cost against k, and the importances of all layers."""
    figure = _figure(3 * 4.5, 4)
    density, cost, layers = (figure.add_subplot(1, 3, i) for i in (1, 2, 3))
    name = next(iter(weights))
    weight, importance = weights[name].double(), objective[name][0]
    plot.codebook(
        weight, wkmeans(weight, 8, importance=importance), importance=importance, ax=density
    )
    ks = (2, 3, 4, 6, 8, 12, 16, 24, 32)
    costs = {
        solver: [float(wkmeans(weight, k, importance=importance, **options).cost) for k in ks]
        for solver, options in SOLVERS.items()
    }
    plot.cost_against_k(ks, costs, bound=gaussian_costs(weight, importance, ks), ax=cost)
    plot.importance_by_layer(objective, ax=layers)
    layers.tick_params(axis="x", labelsize="small")
    _save(figure, f"codebook and cost of {name}; importances by layer", output / "codebook.png")


def gaussian_costs(weight: torch.Tensor, importance: torch.Tensor, ks: Sequence[int]) -> np.ndarray:
    """Theorem 2's distortion at ``log2 k`` bits a weight, for Gaussian weights of this variance."""
    data = importance.numpy().ravel()
    data = data[data > 0]
    variances = np.full(data.size, float(weight.square().mean()))
    total = float(variances @ data)
    distortions = total * np.geomspace(1e-6, 1, 200)
    rates = [linear_bound(d, variances, data).rate / weight.numel() for d in distortions]
    return np.exp(np.interp(np.log2(ks), rates[::-1], np.log(distortions)[::-1]))


def _panels(n_rows: int, n_columns: int) -> tuple[Figure, np.ndarray]:
    figure = _figure(4.5 * n_columns, 3.1 * n_rows)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, title: str, path: Path) -> None:
    figure.suptitle(title)
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
