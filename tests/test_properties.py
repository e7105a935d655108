"""What mathematics promises of the optimum, whatever the data."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import oracle
import pytest
from checks import assert_close, assert_valid, underflow
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import IMPORTANCES, Problem, grid, problems, seeds, tame_problems

from wkmeans import cost_curve, prune, wkmeans

SOLVERS = ["optimal", "lloyd"]


def solve(problem, **options):
    return wkmeans(problem.weights, problem.k, **problem.keywords, **options)


def changed(problem, *, weights=lambda w: w, importance=lambda i: i, quartic=lambda h: h):
    """The problem with functions applied to its arrays, absent importances written out."""
    I = np.ones(problem.weights.shape) if problem.importance is None else problem.importance
    H = np.zeros(problem.weights.shape) if problem.quartic is None else problem.quartic
    return Problem(weights(problem.weights), importance(I), quartic(H), problem.k)


def assert_same_cost(problem, one, other, *, factor=1.0):
    floor = underflow(problem)
    assert_close(one.cost * factor, float(other.cost), rtol=1e-9, atol=floor)


@given(problems(), seeds)
def test_permutation(problem, seed):
    order = np.random.default_rng(seed).permutation(problem.weights.size)
    other = changed(
        problem, **dict.fromkeys(("weights", "importance", "quartic"), lambda x: x[order])
    )
    assert_same_cost(problem, solve(other), solve(problem))


@given(tame_problems(), seeds)
def test_permutation_of_pruning(problem, seed):
    """Where no score ties, the same weights are kept."""
    w = np.unique(np.abs(problem.weights))
    order = np.random.default_rng(seed).permutation(w.size)
    np.testing.assert_array_equal(prune(w[order], 0.5), prune(w, 0.5)[order])


def rounding(problem, offset=0.0):
    """What centroids one float off their best place may cost, at most."""
    I, H = oracle.importances(*problem.data)
    error = np.spacing(np.max(np.abs(problem.weights)) + abs(offset))
    return float(error**2 * np.sum(I + 6 * H * (np.ptp(problem.weights) + error) ** 2))


@given(tame_problems(weights=("ties",)), st.integers(-(2**40), 2**40).map(float))
def test_translation(problem, shift):
    """Grid weights moved by whole numbers are exact, and so the distances stay the same."""
    moved = solve(changed(problem, weights=lambda w: w + shift))
    cost = float(solve(problem).cost)
    assert_close(moved.cost, cost, rtol=1e-9, atol=rounding(problem, shift))


@given(tame_problems(weights=("ties",)), st.integers(-(2**40), 2**40).map(float))
def test_translation_of_lloyd(problem, shift):
    """One round only: later ones may meet ties that hang on the rounding of the centroids."""
    init = problem.weights.min() + np.arange(problem.k) / 8
    one = solve(problem, solver="lloyd", init=init, max_iter=1).centroids
    other = changed(problem, weights=lambda w: w + shift)
    moved = solve(other, solver="lloyd", init=init + shift, max_iter=1).centroids
    np.testing.assert_allclose(moved - shift, one, rtol=0, atol=2 * np.spacing(abs(shift) + 4))


@pytest.mark.parametrize("solver", SOLVERS)
@given(data=st.data())
def test_scale(solver, data):
    """Weights times s and quartic importances over s^2 multiply the cost by s^2."""
    problem = data.draw(tame_problems())
    s = 2.0 ** data.draw(st.integers(-40, 40))
    other = changed(problem, weights=lambda w: w * s, quartic=lambda h: h / s**2)
    if solver == "optimal":
        assert_same_cost(problem, solve(problem), solve(other), factor=s**2)
    else:
        init = np.linspace(-1, 1, problem.k)
        one = solve(problem, solver=solver, init=init, max_iter=1)
        two = solve(other, solver=solver, init=init * s, max_iter=1)
        spread = np.ptp(problem.weights)
        np.testing.assert_allclose(
            two.centroids, one.centroids * s, rtol=1e-9, atol=1e-9 * spread * s
        )


@given(tame_problems(), st.integers(-40, 40))
def test_scale_of_the_importances(problem, exponent):
    s = 2.0**exponent
    other = changed(problem, importance=lambda i: i * s, quartic=lambda h: h * s)
    assume(np.any(other.importance) or np.any(other.quartic))
    assert_same_cost(problem, solve(problem), solve(other), factor=s)


@given(problems())
def test_reflection(problem):
    assert_same_cost(problem, solve(changed(problem, weights=np.negative)), solve(problem))


@given(problems(), st.integers(2, 5))
def test_copies_of_every_weight_multiply_the_cost(problem, copies):
    other = changed(
        problem,
        **dict.fromkeys(("weights", "importance", "quartic"), lambda x: np.tile(x, copies)),
    )
    assert_same_cost(other, solve(problem), solve(other), factor=copies)


@given(problems(max_size=12))
def test_more_importance_costs_more(problem):
    """The optimum never falls when importances rise."""
    I = problem.importance
    assume(I is None or np.any(I))
    other = changed(problem, importance=lambda i: i * 1.5, quartic=lambda h: h + 0.25)
    floor = float(underflow(problem))
    assert solve(problem).cost <= solve(other).cost * (1 + 1e-9) + floor


@given(problems())
def test_cost_curve_lies_between_the_optimum_and_the_answer(problem):
    """Above the cost of the best real centroids, and no higher than that of the ones returned."""
    k_max = problem.distinct + 2
    curve = cost_curve(problem.weights, k_max, **problem.keywords)
    assert curve.shape == (k_max,)
    assert curve.dtype == np.float64
    floor = underflow(problem)
    optima = oracle.optimal_curve(*problem.data, k_max)
    for k, (cost, optimum) in enumerate(zip(curve.tolist(), optima, strict=True), 1):
        answer = wkmeans(problem.weights, k, **problem.keywords).cost
        assert Decimal(cost) >= optimum.cost * Decimal(1 - 1e-12) - floor
        assert cost <= answer * (1 + 1e-9) + float(floor)
    assert np.all(curve[problem.distinct - 1 :] == 0)


@given(tame_problems())
def test_cost_curve_is_the_cost_of_every_k(problem):
    curve = cost_curve(problem.weights, problem.distinct, **problem.keywords)
    for k, cost in enumerate(curve.tolist(), 1):
        answer = wkmeans(problem.weights, k, **problem.keywords).cost
        assert_close(answer, cost, rtol=1e-9, atol=rounding(problem))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_cost_curve_is_convex_and_never_rises(dtype, data):
    problem = data.draw(tame_problems(dtype=dtype))
    curve = cost_curve(problem.weights, problem.distinct + 3, **problem.keywords)
    # Should the centroids be rounded to single precision, the curve is off by their rounding.
    slack = curve[0] * (1e-12 if dtype == np.float64 else 1e-6)
    assert np.all(np.diff(curve) <= slack)
    assert np.all(np.diff(curve, 2) >= -slack)


def test_cost_curve_of_many_weights():
    rng = np.random.default_rng(0)
    w, I, H = rng.normal(size=700), rng.exponential(size=700), rng.exponential(size=700)
    curve = cost_curve(w, 64, importance=I, quartic_importance=H)
    assert np.all(np.diff(curve) < 0)
    assert np.all(np.diff(curve, 2) > -1e-12 * curve[0])
    for k in (1, 2, 33, 64):
        alone = wkmeans(w, k, importance=I, quartic_importance=H)
        assert curve[k - 1] == pytest.approx(alone.cost, rel=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@given(data=st.data())
def test_quantising_twice_changes_nothing(solver, data):
    """The quantised weights have at most k values: the optimum quantises them to themselves."""
    problem = data.draw(tame_problems(importances=("absent",), quartics=("absent",)))
    dense = solve(problem, solver=solver).dequantize()
    again = wkmeans(dense, problem.k)
    assert again.cost == 0
    np.testing.assert_array_equal(again.dequantize(), dense)


@given(st.lists(grid, min_size=2, max_size=20), st.integers(1, 4))
def test_two_rows_are_two_problems(values, k):
    """Rows do not see each other: a second row changes nothing of the first."""
    w = np.array(values)
    pair = wkmeans(np.stack([w, 1e6 * w[::-1]]), k, axis=1)
    alone = wkmeans(w, k)
    np.testing.assert_array_equal(pair.centroids[0], alone.centroids)
    np.testing.assert_array_equal(pair.labels[0], alone.labels)
    assert pair.cost[0] == alone.cost


@pytest.mark.parametrize("family", [f for f in IMPORTANCES if "decades" in f])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_hundred_importances_decades_apart(family, solver):
    rng = np.random.default_rng(1)
    reach = {"20 decades": 10, "40 decades": 20}[family]
    for k in (1, 3, 12):
        w = rng.normal(size=100)
        I, H = 10.0 ** rng.uniform(-reach, reach, (2, 100))
        problem = Problem(w, I, H, k)
        assert_valid(problem, solve(problem, solver=solver))
