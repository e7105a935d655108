"""How a budget of bytes is shared out: at one slope of cost against bytes for all tensors.

Curves are measured by compressing: tensors of up to 32768 weights themselves, of larger ones so
many in channels that represent the others. What was measured on a sample only chooses; sizes and
costs that are reported are those of whole tensors.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from wkmeans._entropy_constrained import EntropyConstrained, EntropySolver
from wkmeans._kernels.dtypes import numpy_dtype
from wkmeans.compression._plan import Options
from wkmeans.compression._quantize import Price, Weights, quantize, scaled_channels
from wkmeans.compression.budget.bit_allocation import within_budget
from wkmeans.compression.tensors.layout import layout_of

_SAMPLE = 1 << 15
_TRIAL_ITERATIONS = 50
_REBATES = 40  # each a quarter of the price before: a bit is next to free after them
_MOST_CODEWORDS = 1 << 14
_STEPS = 16  # every k of a curve up to twice as many, then as many for each doubling


@dataclass(frozen=True)
class Choice:
    """How a tensor is compressed: with k centroids, or from a start at the price of a bit."""

    k: int
    price: Price | None = None


@dataclass(frozen=True)
class Sample:
    """Whole channels of a tensor that stand for all of them, in what they cost as they are."""

    weights: Weights
    share: float  # of the tensor's weights

    @property
    def cost_of_zero(self) -> float:
        """What zeroing the whole tensor would cost."""
        return float(self.weights.row_costs().sum())

    def measure(self, k: int, options: Options) -> tuple[float, float]:
        """Bytes and cost of the whole tensor with k centroids, as the sample has them."""
        tensor = quantize(self.weights, k, options)
        fixed = tensor.codebook.nbytes if tensor.layout.shared else 0
        return fixed + (tensor.nbytes - fixed) / self.share, tensor.cost


def sample_of(weights: Weights) -> Sample:
    sampled = weights.representative(_SAMPLE)
    return Sample(sampled, sampled.rows.shape[0] / weights.rows.shape[0])


Chooser = Callable[[float], dict[str, Choice]]
"""From bytes for labels, codebooks and scales to the choice for every tensor."""


class PricedSample:
    """The entropy-constrained codebooks of a sample, at any price of a bit."""

    def __init__(self, sample: Sample, k: int, options: Options) -> None:
        scaled, channel_scale = scaled_channels(sample.weights, options)
        self._share = sample.share
        self._solver = EntropySolver(
            scaled.rows,
            importance=scaled.importance,
            quartic_importance=scaled.quartic_importance,
            k=min(k, max(2, 1 << int(scaled.rows.size / self._share / 2).bit_length() - 1)),
            include_zero=options.keep_zeros,
            n_threads=options.n_threads,
        )
        self._starts = self._solver.optimal_starts()
        self._too_dear = math.inf  # the least price known to make one value of the tensor
        dtype = options.codebook_dtype or scaled.dtype
        self._centroid_bytes = numpy_dtype(dtype).itemsize + 2  # and its count
        self._scale_bytes = 0.0 if channel_scale is None else channel_scale.nbytes / self._share

    def _solved(self, multiplier: float) -> EntropyConstrained:
        # Costs are those of the whole tensor, bits those of the sample.
        return self._solver.best_of(self._starts, multiplier / self._share, _TRIAL_ITERATIONS)

    def at(self, multiplier: float) -> tuple[float, float, Choice]:
        """Bytes and cost of the whole tensor, and how to get there.

        No tensor becomes one value: where a bit is too dear for that, it is sold for less.
        """
        solved = None
        for _ in range(_REBATES):
            if multiplier < self._too_dear:
                solved = self._solved(multiplier)
                if len(solved.centroids) > 1 or not solved.cost > 0:
                    break
                self._too_dear = multiplier
            multiplier /= 4
        solved = solved or self._solved(multiplier)
        k = len(solved.centroids)
        size = solved.bits / 8 / self._share + k * self._centroid_bytes + self._scale_bytes
        choice = Choice(k, Price(multiplier, replace(solved, labels=None)))
        return size, solved.cost, choice


def entropy_constrained_chooser(
    samples: Mapping[str, Sample], n_weights: int, target: float, options: Options
) -> Chooser:
    """One price of a bit for all tensors."""
    k = richest_k(n_weights, target)
    while True:
        at = _at_one_price(samples, k, options)
        size_at_no_price, cost, richest = at(0.0)
        if size_at_no_price > target or not cost > 0 or k >= _MOST_CODEWORDS:
            break
        k *= 4  # more centroids than the size suggests: importances that sit on few weights
    first = 2 * math.log(2) * cost / n_weights or 1.0  # right at high resolution

    def choose(budget: float) -> dict[str, Choice]:
        if size_at_no_price <= budget:
            return richest
        return within_budget(at, lambda found: 8 * found[0], 8 * budget, n_weights, first)[2]

    return choose


_AtPrice = Callable[[float], tuple[float, float, dict[str, Choice]]]


def _at_one_price(samples: Mapping[str, Sample], k: int, options: Options) -> _AtPrice:
    """From what a bit is worth to bytes and cost of all tensors, and how to get there."""
    priced = {name: PricedSample(sample, k, options) for name, sample in samples.items()}

    def at(multiplier: float) -> tuple[float, float, dict[str, Choice]]:
        found = {name: sample.at(multiplier) for name, sample in priced.items()}
        sizes, costs, choices = zip(*found.values(), strict=True)
        return math.fsum(sizes), math.fsum(costs), dict(zip(found, choices, strict=True))

    return at


def richest_k(n_weights: int, target: float) -> int:
    """Four times the centroids that bytes for each weight would count, within reason."""
    return int(2 ** min(max(math.ceil(8 * target / n_weights) + 2, 4), 12))


def codebook_size_chooser(
    samples: Mapping[str, Sample], n_weights: int, target: float, options: Options
) -> Chooser:
    """Any number of centroids for each tensor, as steep a curve for each."""
    k = richest_k(n_weights, target)
    curves = {name: _curve(sample, k, options) for name, sample in samples.items()}
    return lambda budget: _equal_slope(curves, budget)


Point = tuple[float, float, int]
"""Bytes, cost, and which of a tensor's choices it is: its k, or the number of what was built."""


def smallest_k(options: Options) -> int:
    """The fewest centroids that a tensor can have."""
    return 2 if options.zero_centroid else 1


def _curve(sample: Sample, k_max: int, options: Options) -> list[Point]:
    layout = layout_of(sample.weights.shape, options.granularity)
    longest = sample.weights.rows.size if layout.shared else layout.group
    points: list[Point] = []
    for k in curve_ks(min(k_max, max(longest, 2)), options):
        size, cost = sample.measure(k, options)
        points.append((size, cost, k))
        if cost <= 1e-12 * points[0][1]:
            break
    return points


def curve_ks(k_max: int, options: Options) -> Iterator[int]:
    """The numbers of centroids that a curve is measured at."""
    k = smallest_k(options)
    while k <= k_max:
        yield k
        k += max(1, k // _STEPS)


def _equal_slope(curves: Mapping[str, list[Point]], budget: float) -> dict[str, Choice]:
    shared = shared_out(_spared(curves, budget), budget)
    return {name: Choice(k) for name, (_, _, k) in shared.items()}


def shared_out(curves: Mapping[str, list[Point]], budget: float) -> dict[str, Point]:
    """Steps down the convex hulls of all curves, the steepest first; then whatever still fits.

    ``ValueError`` where the smallest points together do not.
    """
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
    return _filled(curves, at, budget - spent)


def _spared(curves: Mapping[str, list[Point]], budget: float) -> Mapping[str, list[Point]]:
    """Without the choice of one centroid, where two for every codebook fit."""
    two = {n: [p for p in points if p[2] > 1] or points for n, points in curves.items()}
    return two if sum(min(points)[0] for points in two.values()) <= budget else curves


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
