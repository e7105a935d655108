"""The oracle against itself: against brute force, more digits, and what theory promises."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations, combinations_with_replacement, pairwise

import oracle
import pytest
from hypothesis import assume, given, settings
from strategies import problems, tame_problems

ROUNDING = Decimal(10) ** -40


@oracle.precise
def brute_force(points, k):
    """The least cost over every way to cut the sorted points into at most k intervals."""
    n = len(points)
    ways = (cuts for j in range(min(k, n)) for cuts in combinations(range(1, n), j))
    return min(
        sum(
            oracle.cost_about(points[a:d], oracle.best_centroid(points[a:d]))
            for a, d in pairwise((0, *cuts, n))
        )
        for cuts in ways
    )


@given(problems(max_size=7))
@oracle.precise
def test_dynamic_programme_is_brute_force(problem):
    optimum = oracle.optimal(*problem.data, problem.k)
    expected = brute_force(oracle.merged(*problem.data), problem.k)
    assert abs(optimum.cost - expected) <= ROUNDING * expected


def all_groupings(items, k):
    """Every partition of the items into at most k sets, intervals or not."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for groups in all_groupings(rest, k):
        for i in range(len(groups)):
            yield [*groups[:i], [first, *groups[i]], *groups[i + 1 :]]
        if len(groups) < k:
            yield [[first], *groups]


@settings(max_examples=25)
@given(problems(max_size=6))
@oracle.precise
def test_best_clusters_are_intervals(problem):
    points, k = oracle.merged(*problem.data), problem.k
    best = min(
        sum(oracle.cost_about(group, oracle.best_centroid(group)) for group in groups)
        for groups in all_groupings(points, k)
    )
    cost = oracle.optimal(*problem.data, k).cost
    assert abs(cost - best) <= ROUNDING * best


@given(problems())
@oracle.precise
def test_centroid_is_where_the_derivative_vanishes(problem):
    points = oracle.merged(*problem.data)
    c = oracle.best_centroid(points)
    gaps = [(p, c - p.weight) for p in points]
    pull = sum(2 * p.importance * gap + 4 * p.quartic * gap**3 for p, gap in gaps)
    stiffness = sum(2 * p.importance + 12 * p.quartic * gap**2 for p, gap in gaps)
    # What is lost by stopping short of the root, by the cost's curvature at the centroid.
    loss = pull * pull / (2 * stiffness) if stiffness else Decimal(0)
    assert loss <= ROUNDING * oracle.cost_about(points, c)


@given(problems(max_size=12))
@oracle.precise
def test_interval_costs_are_monge(problem):
    points = oracle.merged(*problem.data)
    n, costs = len(points), oracle.interval_costs(points)
    for a, b, c, d in combinations_with_replacement(range(n + 1), 4):
        nested = costs[a][d] + costs[b][c]
        assert costs[a][c] + costs[b][d] <= nested * (1 + ROUNDING)


@given(problems())
@oracle.precise
def test_optimal_cost_is_convex_in_k(problem):
    count = problem.distinct
    costs = [o.cost for o in oracle.optimal_curve(*problem.data, count + 2)]
    slack = ROUNDING * costs[0]
    assert costs[count - 1] == 0
    assert all(a >= b for a, b in pairwise(costs))
    assert all(2 * b <= a + c + slack for a, b, c in zip(costs, costs[1:], costs[2:], strict=False))


@given(tame_problems(min_size=8, weights=("ordinary", "ties", "zeros")))
def test_fast_oracle_is_the_slow_one(problem):
    assume(problem.k < problem.distinct)
    slow = float(oracle.optimal(*problem.data, problem.k).cost)
    fast = oracle.optimal_costs_quickly(*problem.data, problem.k)[-1]
    assert fast == pytest.approx(slow, rel=1e-9)


def test_lloyd_by_hand():
    # Round 1: 1 is as near to 0 as to 2 and goes to the lower; 9 and 10 go to the third.
    # Round 2: nothing moves any more, and the fourth centroid never had a weight.
    rounds = oracle.lloyd_iterates([0.0, 1, 2, 9, 10], None, None, [0.0, 2, 9, 40], 3)
    assert [r.tolist() for r in rounds] == [[0.5, 2, 9.5, 40]] * 3


def test_lloyd_by_hand_quartic():
    # The root of (x - 0)^3 + (x - 1)^3 * 8 = 0 is where x = 2 (1 - x).
    (c,) = oracle.lloyd_iterates([0.0, 1.0], [0.0, 0.0], [1.0, 8.0], [0.3], 1)[0]
    assert c == pytest.approx(2 / 3, rel=1e-15)
