"""The results as the paper's figures: accuracy and cross-entropy against the compression ratio."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wkmeans.demo._experiment import Method, Pruned, Quantised
from wkmeans.demo._results import Results
from wkmeans.plot import score_against_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def check_output(path: Path) -> None:
    """Raise ``ValueError`` where ``save`` could not write to ``path``: before the work."""
    formats = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in formats:
        raise ValueError(
            f"output: expected a name that ends in one of {', '.join(sorted(formats))}, got "
            f"{str(path)!r}"
        )
    if not path.absolute().parent.is_dir():
        raise ValueError(f"output: there is no directory {str(path.absolute().parent)!r}")


def save(results: Results, path: Path) -> None:
    """Draw the four panels into ``path``; no window, no global state of matplotlib."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex="col", squeeze=False)
    methods: tuple[Method, Method] = (Quantised, Pruned)
    for column, method in enumerate(methods):
        _draw_column(panels[0][column], panels[1][column], results, method)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(f"{results.data}, {results.architecture}, seeds: {len(results.outcomes)}")
    figure.savefig(path, dpi=150)


def _draw_column(accuracy: Axes, cross_entropy: Axes, results: Results, method: Method) -> None:
    settings = results.settings(method)
    ticks = [results.ratio(results.objectives[0], s) for s in settings]
    for axes, score, name in (
        (accuracy, results.accuracy, "accuracy"),
        (cross_entropy, results.cross_entropy, "cross-entropy"),
    ):
        curves = {
            objective: (
                [results.ratio(objective, s) for s in settings],
                [score(objective, s) for s in settings],
            )
            for objective in results.objectives
        }
        original = getattr(results.original, name.replace("-", "_"))
        score_against_rate(curves, uncompressed=original, ylabel=f"test {name}", ax=axes)
        axes.set_xticks(ticks, [f"{ratio:.3g}x" for ratio in ticks])
    accuracy.set(title=method.__name__, xlabel="")
    cross_entropy.set_yscale("log")
    cross_entropy.yaxis.set_major_formatter("{x:g}")
    cross_entropy.yaxis.set_minor_formatter("{x:g}")
