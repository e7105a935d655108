"""Pictures of codebooks, costs, scores, importances and rate-distortion curves (matplotlib).

Every function draws into ``ax``, or into a new figure of its own (``axes.figure.savefig(path)``),
and returns the axes. None opens a window or touches pyplot's state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from wkmeans._clustered import Clustering
from wkmeans._kernels.checks import importance_pair
from wkmeans._kernels.formats import as_float64
from wkmeans.rate_distortion import linear_bound

try:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator
except ImportError as error:
    raise ImportError("wkmeans.plot needs matplotlib: pip install 'wkmeans[plot]'") from error

__all__ = [
    "codebook",
    "cost_against_k",
    "importance_by_layer",
    "score_against_rate",
    "water_filling",
]

# Circles to crosses: curves that coincide stay visible under one another.
STYLES = ("o-", "s--", "^-", "x:", "d-.", "v--", "P-", "*:")
_BINS = 200


def codebook(
    weights: ArrayLike,
    clustering: Clustering,
    *,
    importance: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Density of the weights, with the centroids and the borders of their cells.

    Parameters
    ----------
    weights : array_like
        What was clustered, together (``axis=None``).
    clustering : Clustering
    importance : array_like, optional
        Of the weights' shape: adds the density of importance, which is where the codebook looks.
    ax : matplotlib.axes.Axes, optional

    Raises
    ------
    ValueError
        If ``clustering`` has more than one codebook, or ``importance`` another shape.
    """
    values = np.asarray(weights, dtype=np.float64).ravel()
    centroids = np.unique(_centroids(clustering))
    axes = _axes(ax)
    bins = np.linspace(values.min(), values.max(), _BINS + 1).tolist()
    axes.hist(values, bins, density=True, color="0.75", label="weights")
    if importance is not None:
        mass = np.asarray(importance, dtype=np.float64)
        if mass.size != values.size:
            raise ValueError(
                f"importance: expected the weights' size, {values.size}, got shape {mass.shape}"
            )
        axes.hist(
            values, bins, weights=mass.ravel(), density=True, histtype="step", label="importance"
        )
    for border in (centroids[1:] + centroids[:-1]) / 2:
        axes.axvline(border, color="0.5", linewidth=0.6, linestyle=":")
    axes.plot(centroids, np.zeros_like(centroids), "r^", clip_on=False, label="centroids")
    axes.set(xlabel="weight", ylabel="density")
    axes.legend()
    return axes


def cost_against_k(
    ks: Sequence[int],
    costs: Mapping[str, ArrayLike],
    *,
    bound: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Cost of clusterings against the number of centroids, on logarithmic axes.

    Parameters
    ----------
    ks : sequence of int
    costs : mapping of str to array, shape (len(ks),)
        A curve for each solver or objective, such as `wkmeans.cost_curve`'s. Zeros are left out.
    bound : array, shape (len(ks),), optional
        What no clustering goes below: ``Clustering.lower_bound`` of each k, or the distortion at
        which `wkmeans.rate_distortion.linear_bound` has a rate of ``log2(k)`` bits a weight.
    ax : matplotlib.axes.Axes, optional

    Raises
    ------
    ValueError
        If a curve has not one value for each k.
    """
    axes = _axes(ax)
    for (name, values), style in zip(costs.items(), _styles(len(costs)), strict=True):
        axes.plot(ks, _positive(name, values, len(ks)), style, markersize=4, label=name)
    if bound is not None:
        axes.plot(ks, _positive("bound", bound, len(ks)), color="black", label="bound")
    axes.set(xscale="log", yscale="log", xlabel="centroids k", ylabel="cost")
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.set_xticks([], minor=True)
    axes.legend()
    return axes


def score_against_rate(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    uncompressed: float | None = None,
    xlabel: str = "compression ratio",
    ylabel: str = "test accuracy",
    ax: Axes | None = None,
) -> Axes:
    """A score of compressed networks against their rate, a curve for each objective.

    Parameters
    ----------
    curves : mapping of str to (rates, scores)
        ``rates`` of shape ``(settings,)``; ``scores`` of shape ``(settings,)``, or
        ``(seeds, settings)``: then the mean, with a band of its 95 % confidence interval (Student).
    uncompressed : float, optional
        The original network's score, as a horizontal line.
    xlabel, ylabel : str
    ax : matplotlib.axes.Axes, optional

    Raises
    ------
    ValueError
        If scores do not fit their rates.
    """
    axes = _axes(ax)
    for (name, (rates, scores)), style in zip(curves.items(), _styles(len(curves)), strict=True):
        x, y = np.asarray(rates, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        if y.ndim not in (1, 2) or y.shape[-1:] != x.shape:
            raise ValueError(
                f"curves[{name!r}]: expected scores of shape {x.shape}, or a row of that for each "
                f"seed, got {y.shape}"
            )
        runs = np.atleast_2d(y)
        mean = runs.mean(axis=0)
        (line,) = axes.plot(x, mean, style, markersize=4, label=name)
        if len(runs) > 1:
            half = confidence_half_width(runs)
            axes.fill_between(x, mean - half, mean + half, color=line.get_color(), alpha=0.15)
    if uncompressed is not None:
        axes.axhline(uncompressed, color="grey", linewidth=0.8, label="uncompressed")
    axes.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    plain_log_ticks(axes.xaxis)
    return axes


def importance_by_layer(
    importances: Mapping[str, tuple[Any, Any]], *, ax: Axes | None = None
) -> Axes:
    """Spread of the importances within each tensor: deciles 1 to 9 and quartiles, logarithmic.

    Parameters
    ----------
    importances : mapping of str to (importance, quartic importance)
        Such as `wkmeans.importance.estimate` gives. Zeros have no logarithm; their share is in the
        label of the layer.
    ax : matplotlib.axes.Axes, optional
    """
    axes = _axes(ax)
    boxes, labels = [], []
    for name, entry in importances.items():
        importance, _ = importance_pair(f"importances[{name!r}]", entry)
        values = np.asarray(importance, dtype=np.float64).ravel()
        positive = values[values > 0]
        if positive.size:
            low, q1, median, q3, high = np.quantile(positive, [0.1, 0.25, 0.5, 0.75, 0.9])
            boxes.append({"whislo": low, "q1": q1, "med": median, "q3": q3, "whishi": high})
            zeros = 1 - positive.size / values.size
            labels.append(f"{name}\n{zeros:.0%} zero" if zeros else name)
    axes.bxp(boxes, showfliers=False)
    axes.set_xticks(range(1, len(labels) + 1), labels)
    axes.set(yscale="log", ylabel="importance")
    return axes


def water_filling(
    weight_variances: ArrayLike,
    data_variances: ArrayLike,
    distortions: Sequence[float],
    *,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """The paper's Figure 6: rectangles filled at some distortions, and the curve with its kinks.

    Parameters
    ----------
    weight_variances, data_variances : array, shape (m,)
        As in `wkmeans.rate_distortion.linear_bound`: heights and widths of the rectangles.
    distortions : sequence of float
        One panel of rectangles for each.
    axes : sequence of matplotlib.axes.Axes, optional
        One for each distortion, and one for the curve.
    """
    heights, widths = (np.asarray(v, dtype=np.float64) for v in (weight_variances, data_variances))
    panels = _row_of_axes(len(distortions) + 1) if axes is None else axes
    lefts = np.concatenate([[0.0], np.cumsum(widths)[:-1]]) + 0.2 * np.arange(len(widths))
    for distortion, panel in zip(distortions, panels, strict=False):
        levels = linear_bound(distortion, heights, widths).levels
        panel.bar(lefts, levels, widths, align="edge", color="tab:blue", alpha=0.5)
        panel.bar(lefts, heights, widths, align="edge", fill=False)
        panel.set(title=f"D = {distortion:g}", xlabel="data variance", ylabel="squared error")
    _distortion_curve(panels[len(distortions)], heights, widths)
    return panels


def plain_log_ticks(axis: Axis) -> None:
    """Label 1, 2 and 5 of each decade of a logarithmic axis, without powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def confidence_half_width(runs: ArrayLike, level: float = 0.95) -> Any:
    """Half-width of Student's confidence interval of the mean of ``runs`` over their first axis."""
    values = np.asarray(runs, dtype=np.float64)
    spread = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return _student_quantile((1 + level) / 2, len(values) - 1) * spread


def _student_quantile(probability: float, degrees: int) -> float:
    """By bisection of the cumulative integral of Student's density: SciPy is not a dependency."""
    # With t = sqrt(degrees) tan(a) the density is proportional to cos(a)^(degrees - 1).
    angles = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(angles) ** (degrees - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = np.interp(2 * probability - 1, mass / mass[-1], angles)
    return float(np.sqrt(degrees) * np.tan(angle))


def _distortion_curve(axes: Axes, heights: Any, widths: Any) -> None:
    capacities = np.sort(heights * widths)
    still_open = np.arange(len(capacities) - 1, -1, -1)
    filling = np.cumsum(capacities) + still_open * capacities
    grid = np.geomspace(filling[-1] / 100, filling[-1], 400)
    axes.plot(grid, linear_bound(grid, heights, widths).rate, color="black")
    kinks = np.unique(filling[:-1])
    if kinks.size:
        axes.plot(kinks, linear_bound(kinks, heights, widths).rate, "ro", label="a rectangle fills")
        axes.legend()
    axes.set(xlabel="distortion D", ylabel="rate R(D), bits")


def _centroids(clustering: Clustering) -> Any:
    if clustering.n_codebooks != 1:
        shape = tuple(clustering.centroids.shape)
        raise ValueError(f"clustering: expected one codebook, got centroids of shape {shape}")
    return as_float64(clustering.centroid_values()).ravel()


def _positive(name: str, values: ArrayLike, length: int) -> Any:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (length,):
        raise ValueError(f"{name}: expected one value for each k, {length}, got {array.shape}")
    return np.where(array > 0, array, np.nan)


def _styles(n: int) -> list[str]:
    return [STYLES[i % len(STYLES)] for i in range(n)]


def _axes(ax: Axes | None) -> Axes:
    return _row_of_axes(1)[0] if ax is None else ax


def _row_of_axes(n: int) -> Sequence[Axes]:
    figure = Figure(figsize=(4.5 * n, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    return [figure.add_subplot(1, n, i + 1) for i in range(n)]
