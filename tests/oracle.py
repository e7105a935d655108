"""The slow, obvious answers that the kernels are held against.

Everything here is written from the definitions, in 120-digit decimals or in exact fractions, with
no idea shared with the kernels: every interval's cost is a sum over its points about the root of
its cubic, the optimum is the O(k n^2) dynamic programme over all intervals, Lloyd is Algorithm 2
of Gao, Liu, Wang, Oh (2019) line by line, and pruning is a stable sort.

Arguments are NumPy arrays of one problem; half and single precision are exact in the float64 they
are converted to. An importance of ``None`` is 1, a quartic importance of ``None`` is 0.
"""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import wraps
from itertools import pairwise

import numpy as np

# Importances 40 decades apart, weights one float apart (16 decades) and fourth powers of their
# distances can cancel about 104 digits; the exponent range of a Decimal never underflows.
DIGITS = 120
ZERO = Decimal(0)


@dataclass(frozen=True)
class Point:
    """A distinct weight with the importances of all its copies added up."""

    weight: Decimal
    importance: Decimal
    quartic: Decimal


@dataclass(frozen=True)
class Optimum:
    """An optimal clustering of the merged points; fewer clusters than k where they suffice."""

    cost: Decimal
    centroids: list[Decimal]
    clusters: list[list[Point]]


def precise(function):
    """Run ``function`` with ``DIGITS`` digits, whatever the caller's decimal context is."""

    @wraps(function)
    def wrapped(*args, **kwargs):
        with decimal.localcontext(decimal.Context(prec=DIGITS)):
            return function(*args, **kwargs)

    return wrapped


def importances(weights, importance, quartic) -> tuple[np.ndarray, np.ndarray]:
    """Both importances as float64 arrays like ``weights``; a problem without any has I = 1."""
    shape = np.shape(weights)
    I = np.broadcast_to(np.asarray(1.0 if importance is None else importance, np.float64), shape)
    H = np.broadcast_to(np.asarray(0.0 if quartic is None else quartic, np.float64), shape)
    if not np.any(I) and not np.any(H):
        I = np.ones(shape)
    return I, H


@precise
def merged(weights, importance=None, quartic=None) -> list[Point]:
    """The distinct weights that carry importance, ascending."""
    w = np.asarray(weights, np.float64).ravel()
    I, H = (x.ravel() for x in importances(weights, importance, quartic))
    sums: dict[Decimal, tuple[Decimal, Decimal]] = {}
    for wi, Ii, Hi in zip(w.tolist(), I.tolist(), H.tolist(), strict=True):
        if Ii > 0 or Hi > 0:
            key = Decimal(wi) + ZERO  # -0.0 and 0.0 are one weight
            I_sum, H_sum = sums.get(key, (ZERO, ZERO))
            sums[key] = I_sum + Decimal(Ii), H_sum + Decimal(Hi)
    return [Point(key, *sums[key]) for key in sorted(sums)]


def distinct(weights, importance=None, quartic=None) -> int:
    """How many distinct weights carry importance."""
    return len(merged(weights, importance, quartic))


@precise
def cost_about(points: Sequence[Point], centroid: Decimal) -> Decimal:
    """``sum I (w - c)^2 + H (w - c)^4``: every term is positive, so nothing cancels."""
    total = ZERO
    for point in points:
        square = (point.weight - centroid) ** 2
        total += (point.importance + point.quartic * square) * square
    return total


@precise
def best_centroid(points: Sequence[Point]) -> Decimal:
    """The one real root of Algorithm 2's cubic, half the derivative of ``cost_about``.

    Newton inside a bracket, by bisection where Newton leaves it or stops gaining. The sums are
    taken about the first point: the coefficients are then all positive.
    """
    origin = points[0].weight
    I0 = sum(p.importance for p in points)
    H0 = sum(p.quartic for p in points)
    I1, H1, H2, H3 = ZERO, ZERO, ZERO, ZERO
    for p in points:
        x = p.weight - origin
        I1 += p.importance * x
        H1 += p.quartic * x
        H2 += p.quartic * x * x
        H3 += p.quartic * x * x * x
    if H0 == 0:
        return origin + I1 / I0

    low, high = ZERO, points[-1].weight - origin
    tolerance = high * Decimal(10) ** (-DIGITS * 3 // 4)
    x, step = (low + high) / 2, high
    while high - low > tolerance and abs(step) > tolerance:
        slope = I0 * x - I1 + 2 * (((H0 * x - 3 * H1) * x + 3 * H2) * x - H3)
        curvature = I0 + 6 * ((H0 * x - 2 * H1) * x + H2)
        low, high = (x, high) if slope < 0 else (low, x)
        newton = x - slope / curvature if curvature > 0 else low - 1
        gains = low <= newton <= high and abs(newton - x) * 2 <= abs(step)
        step = (newton if gains else (low + high) / 2) - x
        x += step
    return origin + x


@precise
def interval_costs(points: Sequence[Point]) -> list[list[Decimal]]:
    """``costs[a][d]``: the least cost of points ``a <= i < d`` about one free centroid."""
    n = len(points)
    costs = [[ZERO] * (n + 1) for _ in range(n + 1)]
    for a in range(n):
        for d in range(a + 2, n + 1):
            costs[a][d] = cost_about(points[a:d], best_centroid(points[a:d]))
    return costs


@precise
def optimal_curve(weights, importance, quartic, k_max: int) -> list[Optimum]:
    """The optimum for each k = 1..k_max: O(k n^2) over the intervals of the sorted points."""
    points = merged(weights, importance, quartic)
    n = len(points)
    costs = interval_costs(points)
    best = [ZERO] + [Decimal("Infinity")] * n  # of each prefix, with the clusters so far
    starts: list[list[int]] = []  # of the last cluster of each prefix, a row per k
    curve: list[Optimum] = []
    for k in range(1, k_max + 1):
        if k > n:
            curve.append(curve[-1])
            continue
        ends = [min((best[a] + costs[a][d], a) for a in range(d)) for d in range(1, n + 1)]
        best = [Decimal("Infinity"), *(cost for cost, _ in ends)]
        starts.append([0, *(a for _, a in ends)])
        bounds = [n]
        for row in reversed(starts):
            bounds.insert(0, row[bounds[0]])
        clusters = [points[a:d] for a, d in pairwise(bounds)]
        curve.append(Optimum(best[n], [best_centroid(c) for c in clusters], clusters))
    return curve


def optimal(weights, importance, quartic, k: int) -> Optimum:
    """A global optimum with at most ``k`` centroids, as real numbers."""
    return optimal_curve(weights, importance, quartic, k)[-1]


@precise
def rounded_cost(clusters: Sequence[Sequence[Point]], dtype) -> Decimal:
    """The cost of ``clusters`` about their best centroids rounded to ``dtype``.

    What a solver that answers in ``dtype`` cannot be asked to beat.
    """
    return sum(
        (cost_about(c, Decimal(float(dtype(float(best_centroid(c)))))) for c in clusters if c),
        start=ZERO,
    )


def partition(weights, importance, quartic, labels) -> list[list[Point]]:
    """The merged points of every label in use."""
    w, labels = np.ravel(weights), np.ravel(labels)
    I, H = (x.ravel() for x in importances(weights, importance, quartic))
    groups = [labels == j for j in np.unique(labels)]
    return [merged(w[g], I[g], H[g]) for g in groups if np.any(I[g]) or np.any(H[g])]


@precise
def direct_cost(weights, importance, quartic, centroids, labels) -> Decimal:
    """The cost of a clustering as it was returned, term by term."""
    I, H = importances(weights, importance, quartic)
    terms = zip(
        np.ravel(np.asarray(weights, np.float64)).tolist(),
        I.ravel().tolist(),
        H.ravel().tolist(),
        np.asarray(centroids, np.float64)[np.ravel(labels)].tolist(),
        strict=True,
    )
    return sum(
        (
            cost_about([Point(Decimal(w), Decimal(i), Decimal(h))], Decimal(c))
            for w, i, h, c in terms
        ),
        start=ZERO,
    )


def nearest_labels(weights, centroids) -> np.ndarray:
    """The nearest centroid of every weight, in exact arithmetic; ties go to the lower centroid.

    Centroids ascend, so among equal distances the smallest index is the lower centroid.
    """
    exact = [Fraction(c) for c in np.asarray(centroids, np.float64).tolist()]

    def nearest(w: float) -> int:
        return min(range(len(exact)), key=lambda j: abs(Fraction(w) - exact[j]))

    flat = np.ravel(np.asarray(weights, np.float64)).tolist()
    found = {w: nearest(w) for w in set(flat)}
    return np.array([found[w] for w in flat], np.intp).reshape(np.shape(weights))


def lloyd_iterates(weights, importance, quartic, init, rounds: int) -> list[np.ndarray]:
    """Algorithm 2: the float64 centroids after 1, 2, ... rounds, at most ``rounds`` of them.

    Weights without importance are left out, as they move nothing; a cluster without any weight
    keeps its centroid. The list ends early where an assignment hangs on the last bits: a weight so
    near the midpoint of two computed centroids that rounding decides. (The first round starts from
    exact centroids, so there even a tie is decided.)
    """
    points = merged(weights, importance, quartic)
    w = [float(p.weight) for p in points]
    doubt = 1e-10 * (w[-1] - w[0])
    c = np.sort(np.asarray(init, np.float64))
    iterates: list[np.ndarray] = []
    for _ in range(rounds):
        # A repeated centroid is no boundary: the first of the equals always wins.
        midpoints = [a / 2 + b / 2 for a, b in pairwise(c.tolist()) if a != b]
        if iterates and any(abs(wi - m) <= doubt for wi in w for m in midpoints):
            break
        labels = nearest_labels(w, c)
        c = c.copy()
        for j in np.unique(labels):
            c[j] = float(best_centroid([points[i] for i in np.flatnonzero(labels == j)]))
        c.sort()  # the second of two equal centroids may have been overtaken by the first
        iterates.append(c)
    return iterates


def scores(weights, importance=None, quartic=None) -> np.ndarray:
    """``I w^2 + H w^4``, what a weight's removal costs, with the roundings the kernel promises."""
    square = np.multiply(weights, weights, dtype=np.float64)
    score = square if importance is None else np.asarray(importance, np.float64) * square
    if quartic is not None:
        score = score + np.asarray(quartic, np.float64) * (square * square)
    return np.broadcast_to(score, np.shape(weights))


def keep_largest(scores: np.ndarray, count: int) -> np.ndarray:
    """The mask of the ``count`` largest of a row of scores, ties to the smaller index."""
    mask = np.zeros(len(scores), bool)
    mask[np.argsort(-scores, kind="stable")[:count]] = True
    return mask


def prune_mask(weights, density: float, importance=None, quartic=None, axis=None) -> np.ndarray:
    """The mask that ``prune`` must return, True where the weight is kept."""
    score = scores(weights, importance, quartic)
    if axis is None:
        return keep_largest(score.ravel(), round(density * score.size)).reshape(score.shape)
    count = round(density * score.shape[axis])
    return np.apply_along_axis(keep_largest, axis, score, count)


def pattern_mask(weights, pattern: tuple[int, int], importance=None, quartic=None) -> np.ndarray:
    """The best n of every m neighbours along the last axis."""
    n, m = pattern
    score = scores(weights, importance, quartic)
    groups = score.reshape(-1, m)
    return np.array([keep_largest(group, n) for group in groups]).reshape(score.shape)


def optimal_costs_quickly(weights, importance, quartic, k_max: int) -> np.ndarray:
    """``optimal_curve``'s costs from long doubles, for a thousand points that behave.

    About each start the moments of all ends are cumulative sums. That cancels where a cluster is
    narrow beside its distance from its first point, which here it never is.
    """
    order = np.argsort(weights, kind="stable")
    w = np.asarray(weights, np.longdouble)[order]
    I, H = (x[order].astype(np.longdouble) for x in importances(weights, importance, quartic))
    n = len(w)
    costs = np.full((n + 1, n + 1), np.inf)
    for a in range(n):
        costs[a, a + 1 :] = _costs_from_the_first(w[a:] - w[a], I[a:], H[a:])
    best = np.array([0.0] + [np.inf] * n)
    curve = []
    for _ in range(k_max):
        best = np.min(best[:, None] + costs, axis=0)
        curve.append(best[n])
    return np.array(curve)


def _costs_from_the_first(x, i, h) -> np.ndarray:
    """The cost of the first 1, 2, ... points ``x`` about their best centroid, by Newton."""
    powers = [np.ones_like(x), x, x * x, x * x * x, (x * x) * (x * x)]
    I0, I1, I2 = (np.cumsum(i * power) for power in powers[:3])
    H0, H1, H2, H3, H4 = (np.cumsum(h * power) for power in powers)
    c = x / 2
    for _ in range(60):
        slope = I0 * c - I1 + 2 * (((H0 * c - 3 * H1) * c + 3 * H2) * c - H3)
        step = slope / np.maximum(I0 + 6 * ((H0 * c - 2 * H1) * c + H2), 1e-300)
        c -= step
        if np.all(np.abs(step) <= 1e-14 * x):  # the next would be its square
            break
    quadratic = (I0 * c - 2 * I1) * c + I2
    return quadratic + (((H0 * c - 4 * H1) * c + 6 * H2) * c - 4 * H3) * c + H4
