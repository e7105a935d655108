"""How a budget of bytes is shared out: at one slope of cost against bytes for all tensors.

Curves are measured by compressing: tensors of up to 65536 weights themselves, of larger ones so
many in evenly spaced channels. What was measured on a sample only chooses; sizes and costs that
are reported are those of whole tensors.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wkmeans._arrays import Array
from wkmeans._bit_allocation import within_budget
from wkmeans.compression._plan import Options
from wkmeans.compression._quantize import Weights, quantize

_SAMPLE = 1 << 16
_LARGEST_K = 4096
_GROWTH = 1.25  # between neighbouring k of a curve, above the small ones


@dataclass(frozen=True)
class Choice:
    """How a tensor is compressed: so many codewords at most, and the price of a bit, if any."""

    k: int
    multiplier: float | None = None


@dataclass(frozen=True)
class Sample:
    """Whole channels of a tensor that stand for all of them."""

    weights: Weights
    share: float  # of the tensor's weights

    def measure(self, choice: Choice, options: Options) -> tuple[float, float]:
        """Bytes and cost of the whole tensor, as the sample has them."""
        tensor = quantize(self.weights, choice.k, options, choice.multiplier)
        fixed = tensor.codebook.nbytes if tensor.layout.shared else 0
        return fixed + (tensor.nbytes - fixed) / self.share, tensor.cost / self.share


def sample_of(weights: Weights) -> Sample:
    n_channels, channel_size = weights.rows.shape
    kept = min(n_channels, max(1, -(-_SAMPLE // channel_size)))
    some = np.arange(kept) * n_channels // kept

    def cut(array: Array | None) -> Array | None:
        return None if array is None else array[some]

    rows = weights.rows[some]
    sampled = Weights(
        rows.shape, weights.dtype, rows, cut(weights.importance), cut(weights.quartic_importance)
    )
    return Sample(sampled, kept / n_channels)


Chooser = Callable[[float], dict[str, Choice]]
"""From bytes for codes, codebooks and scales to the choice for every tensor."""


def entropy_constrained_chooser(
    samples: Mapping[str, Sample], n_weights: int, options: Options
) -> Chooser:
    """One price of a bit for all tensors."""

    def choose(budget: float) -> dict[str, Choice]:
        bits = max(8 * budget / n_weights, 0)
        k = 2 ** min(max(math.ceil(bits) + 2, 4), 12)

        def at(multiplier: float) -> tuple[float, dict[str, Choice], float]:
            choices = {name: Choice(k, multiplier) for name in samples}
            measured = [samples[name].measure(choices[name], options) for name in samples]
            return sum(m[0] for m in measured), choices, sum(m[1] for m in measured)

        size, choices, cost = at(0.0)
        if size <= budget:
            return choices
        first = 2 * math.log(2) * cost / n_weights or 1.0  # right at high resolution
        return within_budget(at, lambda found: 8 * found[0], 8 * budget, n_weights, first)[1]

    return choose


def codebook_size_chooser(samples: Mapping[str, Sample], options: Options) -> Chooser:
    """Any number of codewords for each tensor, as steep a curve for each."""
    curves = {name: _curve(sample, options) for name, sample in samples.items()}
    return lambda budget: _equal_slope(curves, budget)


Point = tuple[float, float, int]  # bytes, cost, k


def _curve(sample: Sample, options: Options) -> list[Point]:
    layout = sample.weights.rows.shape
    longest = layout[0] * layout[1] if options.granularity == "tensor" else layout[1]
    k = 2 if options.zero_codeword else 1
    points: list[Point] = []
    while k <= min(_LARGEST_K, max(longest, 2)):
        size, cost = sample.measure(Choice(k), options)
        points.append((size, cost, k))
        if cost <= 1e-12 * points[0][1]:
            break
        k = max(k + 1, int(k * _GROWTH))
    return points


def _equal_slope(curves: Mapping[str, list[Point]], budget: float) -> dict[str, Choice]:
    """Steps down the convex hulls of all curves, the steepest first; then whatever still fits."""
    at = {name: min(points) for name, points in curves.items()}
    spent = sum(point[0] for point in at.values())
    if spent > budget:
        raise ValueError("the budget is too small")
    steps = []
    for name, points in curves.items():
        for rank, (start, end) in enumerate(_hull_steps(points)):
            slope = (end[1] - start[1]) / max(end[0] - start[0], 1e-9)
            steps.append((slope, rank, name, end))
    heapq.heapify(steps)
    stuck = set()
    while steps:
        _, _, name, end = heapq.heappop(steps)
        more = end[0] - at[name][0]
        if name in stuck or spent + more > budget:
            stuck.add(name)
            continue
        spent += more
        at[name] = end
    return {name: Choice(k) for name, (_, _, k) in _filled(curves, at, budget - spent).items()}


def _hull_steps(points: list[Point]) -> list[tuple[Point, Point]]:
    hull: list[Point] = []
    for point in sorted(points):
        while hull and point[1] < hull[-1][1] and len(hull) > 1:
            (x0, y0, _), (x1, y1, _) = hull[-2:]
            if (y1 - y0) * (point[0] - x0) < (point[1] - y0) * (x1 - x0):
                break
            hull.pop()
        if not hull or point[1] < hull[-1][1]:
            hull.append(point)
    return list(pairwise(hull))


def _filled(
    curves: Mapping[str, list[Point]], at: dict[str, Point], left: float
) -> dict[str, Point]:
    """Spend what is left on the one step that saves most, again and again."""
    while True:
        fitting = [
            (point[1] - at[name][1], name, point)
            for name, points in curves.items()
            for point in points
            if 0 < point[0] - at[name][0] <= left and point[1] < at[name][1]
        ]
        if not fitting:
            return at
        _, name, point = min(fitting)
        left -= point[0] - at[name][0]
        at = {**at, name: point}
