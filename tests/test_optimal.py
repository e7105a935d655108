"""solver="optimal" against the extended-precision dynamic programme."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from checks import assert_close, assert_optimal, assert_valid
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import WEIGHTS, Problem, problems, tame_problems

from wkmeans import wkmeans


def solve(problem, **options):
    return wkmeans(problem.weights, problem.k, **problem.keywords, **options)


@pytest.mark.parametrize("family", WEIGHTS)
@settings(max_examples=settings().max_examples // 2)
@given(data=st.data())
def test_reaches_the_optimum(family, data):
    problem = data.draw(problems(weights=(family,)))
    result = solve(problem)
    assert_valid(problem, result)
    assert_optimal(problem, result)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@given(data=st.data())
def test_reaches_the_optimum_in_lower_precision(dtype, data):
    problem = data.draw(problems(dtype=dtype))
    result = solve(problem)
    assert_valid(problem, result)
    assert_optimal(problem, result)


@given(problems(importances=("40 decades",), quartics=("absent", "40 decades", "sparse")))
def test_importances_40_decades_apart(problem):
    assert_optimal(problem, solve(problem))


@pytest.mark.parametrize(
    ("weights", "k"),
    [
        ([5e-324, 1e-323, 2e-323], 2),
        ([0.0, 1e-160, 3e-160, 1.0], 3),
        ([0.0, -(2.0**-149), -(2.0**-126), -3.4e38], 3),
        ([0.0, 1e-20, 3e-20, 1e20], 3),
        ([-1e70, 1e-70, 1e70, 1.1e70], 2),
    ],
)
@pytest.mark.parametrize("quartic", [None, 1.0])
def test_costs_beyond_the_range_of_float64(weights, k, quartic):
    """Costs that underflow, alone or beside costs hundreds of decades above them."""
    w = np.array(weights)
    problem = Problem(w, None, None if quartic is None else np.full(w.size, quartic), k)
    result = solve(problem)
    assert_valid(problem, result)
    assert_optimal(problem, result)


def test_rounding_of_heavy_intervals_does_not_mislead_light_ones():
    """Where two cuts of a heavy prefix tie within rounding, a lighter prefix has one best cut.

    Taking either of the tied cuts as a bound on the lighter prefix's, as divide and conquer over
    monotone minima does in exact arithmetic, loses that best cut: here it costs 4 times the
    optimum.
    """
    w = np.array([-1.0, -0.75, -0.5, 0.0, 0.5, 1.25])
    I = np.array([2.94063113e16, 1.67623197e19, 1.77394785e-17, 4.8551539e14, 2.0557, 1.91683e14])
    problem = Problem(w, I, None, 5)
    result = solve(problem)
    assert result.cost == pytest.approx(1.77394785e-17 / 16, rel=1e-9)
    assert_optimal(problem, result)


@pytest.mark.slow
@pytest.mark.parametrize("quartic", [False, True])
def test_random_importances_40_decades_apart(quartic):
    rng = np.random.default_rng(9)
    for _ in range(100):
        n = rng.integers(4, 12)
        w = rng.integers(-8, 9, n) / 4 if rng.random() < 0.5 else rng.normal(size=n)
        I, H = 10.0 ** rng.uniform(-20, 20, (2, n))
        for k in range(2, n):
            problem = Problem(w, I, H if quartic else None, k)
            assert_optimal(problem, solve(problem))


def test_quartic_importances_34_decades_apart_far_from_zero():
    w = np.array([9999.99928128872, 9999.999823625943, 10000.000135198015, 10000.000880497491])
    H = np.array(
        [3.609671318310613e-18, 1.09990676e14, 3.2581330971301324e-19, 7.4084532627676e-11]
    )
    for k in (2, 3):
        problem = Problem(w, np.zeros(4), H, k)
        assert_optimal(problem, solve(problem))


@given(tame_problems())
def test_certificate_closes(problem):
    optimum = oracle.optimal(*problem.data, problem.k).cost
    assert_close(solve(problem).lower_bound, optimum, rtol=1e-9)


@pytest.mark.parametrize("quartic", [False, True])
def test_reaches_the_optimum_of_some_hundred_weights(quartic):
    rng = np.random.default_rng(10)
    w = 0.02 * rng.standard_t(5, 613)
    I = np.exp(rng.normal(-8, 3, w.size))
    H = np.exp(rng.normal(-4, 3, w.size)) if quartic else None
    expected = oracle.optimal_costs_quickly(w, I, H, 300)
    for k in (1, 2, 7, 16, 64, 300):
        result = wkmeans(w, k, importance=I, quartic_importance=H)
        assert result.cost == pytest.approx(expected[k - 1], rel=1e-9)
        assert result.lower_bound == pytest.approx(expected[k - 1], rel=1e-9)
    assert_valid(Problem(w, I, H, 300), result)


@pytest.mark.parametrize("levels", [5, 64, 1000])
def test_many_ties(levels):
    """Weights on a coarse grid, where equal values must merge."""
    rng = np.random.default_rng(levels)
    w = rng.integers(-levels // 2, levels // 2, 20_000) / 64
    I = rng.integers(1, 5, w.size).astype(float)
    values, inverse = np.unique(w, return_inverse=True)
    merged_importance = np.bincount(inverse, I)
    expected = oracle.optimal_costs_quickly(values, merged_importance, None, 16)
    for k in (4, 16):
        cost = wkmeans(w, k, importance=I).cost
        assert cost == pytest.approx(expected[k - 1] if k < len(values) else 0, rel=1e-9)


@pytest.mark.parametrize(("solver", "spares"), [("optimal", (0, 1, 3)), ("lloyd", (1, 3))])
@given(problem=problems())
def test_enough_centroids_cost_nothing(solver, spares, problem):
    """Even Lloyd, which has somewhere to go, is spared the descent where a centroid is to spare."""
    values = np.array([float(p.weight) for p in oracle.merged(*problem.data)])
    for spare in spares:
        k = len(values) + spare
        result = wkmeans(problem.weights, k, solver=solver, **problem.keywords)
        assert result.cost == 0
        assert result.lower_bound == (0 if solver == "optimal" else None)
        np.testing.assert_array_equal(result.centroids[: len(values)], values)
        np.testing.assert_array_equal(result.centroids[len(values) :], values[-1])
        assert result.labels.max() < len(values)
        assert_valid(Problem(*problem.data, k), result)


@given(problems(importances=("sparse",), quartics=("absent", "sparse")))
def test_weights_without_importance_move_nothing(problem):
    I, H = oracle.importances(*problem.data)
    carried = (I > 0) | (H > 0)
    alone = wkmeans(
        problem.weights[carried],
        problem.k,
        importance=I[carried],
        quartic_importance=H[carried],
    )
    result = solve(problem)
    np.testing.assert_allclose(result.cost, alone.cost, rtol=1e-12)
    np.testing.assert_allclose(result.centroids, alone.centroids, rtol=1e-12, atol=1e-12)
    assert_valid(problem, result)


@pytest.mark.parametrize("solver", ["optimal", "lloyd"])
@pytest.mark.parametrize("absent", [{}, {"quartic_importance": np.zeros(50)}])
def test_no_importance_at_all_is_importance_one(solver, absent):
    w = np.random.default_rng(0).normal(size=50)
    plain = wkmeans(w, 5, solver=solver)
    zero = wkmeans(w, 5, solver=solver, importance=np.zeros(50), **absent)
    np.testing.assert_array_equal(zero.centroids, plain.centroids)
    np.testing.assert_array_equal(zero.labels, plain.labels)
    assert zero.cost == plain.cost


def test_no_importance_in_one_row_leaves_the_others_alone():
    rng = np.random.default_rng(1)
    w, I = rng.normal(size=(3, 40)), rng.exponential(size=(3, 40))
    I[1] = 0
    result = wkmeans(w, 4, importance=I, axis=1)
    for row, (wi, Ii) in enumerate(zip(w, [I[0], np.ones(40), I[2]], strict=True)):
        np.testing.assert_array_equal(
            result.centroids[row], wkmeans(wi, 4, importance=Ii).centroids
        )


@pytest.mark.parametrize("weights", [np.array(3.0), np.array([3.0]), np.full((2, 3), 3.0)])
@pytest.mark.parametrize("k", [1, 2, 257, 65536])
def test_one_distinct_weight(weights, k):
    result = wkmeans(weights, k)
    assert result.cost == 0
    np.testing.assert_array_equal(result.centroids, np.full(k, 3.0))
    np.testing.assert_array_equal(result.labels, np.zeros(weights.shape))
    assert result.labels.dtype == (np.uint8 if k <= 256 else np.uint16)


def test_negative_zero_is_zero():
    result = wkmeans(np.array([-0.0, 0.0, 1.0]), 2)
    assert result.cost == 0
    np.testing.assert_array_equal(result.centroids, [0.0, 1.0])
    np.testing.assert_array_equal(result.labels, [0, 0, 1])


def test_quadratic_by_hand():
    result = wkmeans(np.array([0.0, 1.0, 5.0, 6.0]), 2, importance=np.array([1.0, 3.0, 1.0, 1.0]))
    np.testing.assert_allclose(result.centroids, [0.75, 5.5], rtol=1e-15)
    np.testing.assert_array_equal(result.labels, [0, 0, 1, 1])
    assert result.cost == pytest.approx(0.75 + 0.5, rel=1e-15)


def test_quartic_by_hand():
    # (x - 0)^3 + 8 (x - 1)^3 = 0 where x = 2 (1 - x), at a cost of (2/3)^4 + 8 (1/3)^4.
    result = wkmeans([0.0, 1.0], 1, importance=[0.0, 0.0], quartic_importance=[1.0, 8.0])
    np.testing.assert_allclose(result.centroids, [2 / 3], rtol=1e-14)
    assert result.cost == pytest.approx(24 / 81, rel=1e-14)


def test_dequantize_is_centroids_at_labels():
    w = np.random.default_rng(2).normal(size=(4, 5)).astype(np.float32)
    for axis in (None, 0, 1, -1):
        result = wkmeans(w, 3, axis=axis)
        dense = result.dequantize()
        assert dense.shape == w.shape
        assert dense.dtype == np.float32
        assert np.sum(result.cost) == pytest.approx(
            np.sum((w.astype(float) - dense) ** 2), rel=1e-12
        )
    np.testing.assert_array_equal(wkmeans(w, 20).dequantize(), w)


def test_the_answer_is_frozen():
    result = wkmeans([1.0, 2.0], 1)
    with pytest.raises(AttributeError):
        result.cost = 0.0
