"""The results as the paper's figures: accuracy and cross-entropy against the compression ratio."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wkmeans.demo._experiment import Method, Pruned, Quantised
from wkmeans.demo._results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Circles to crosses: objectives that coincide stay visible under one another.
_STYLES = ("o-", "s--", "^-", "x:", "d-.")


def check_output(path: Path) -> None:
    """Raise ``ValueError`` where ``save`` could not write to ``path``: before the work."""
    formats = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in formats:
        raise ValueError(
            f"output must end in one of {', '.join(sorted(formats))}; got {str(path)!r}"
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
    for objective, style in zip(results.objectives, _STYLES, strict=False):
        ratios = [results.ratio(objective, s) for s in settings]
        accuracy.plot(
            ratios, [results.accuracy(objective, s) for s in settings], style, label=objective
        )
        cross_entropy.plot(ratios, [results.cross_entropy(objective, s) for s in settings], style)
    for axes, level in ((accuracy, results.original.accuracy),
                        (cross_entropy, results.original.cross_entropy)):  # fmt: skip
        axes.axhline(level, color="grey", linewidth=0.8, label="uncompressed")
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{ratio:.3g}x" for ratio in ticks])
        axes.set_xticks([], minor=True)
    accuracy.set_title(method.__name__)
    accuracy.set_ylabel("test accuracy")
    cross_entropy.set_yscale("log")
    cross_entropy.yaxis.set_major_formatter("{x:g}")
    cross_entropy.yaxis.set_minor_formatter("{x:g}")
    cross_entropy.set_ylabel("test cross-entropy")
    cross_entropy.set_xlabel("compression ratio")
