"""include_zero=True: one centroid is exactly 0, the others are optimal beside it."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations, pairwise

import numpy as np
import oracle
import pytest
from checks import assert_close, assert_valid, underflow
from hypothesis import given
from hypothesis import strategies as st
from strategies import IMPORTANCES, TAME_WEIGHTS, Problem, problems, tame_problems

from wkmeans import cost_curve, wkmeans
from wkmeans._kernels.formats import FORMATS

SOLVERS = ["optimal", "lloyd"]
SMALL = {"max_size": 8, "weights": (*TAME_WEIGHTS, "offset")}


def solve(problem, **options):
    return wkmeans(problem.weights, problem.k, include_zero=True, **problem.keywords, **options)


def has_zero(centroids) -> bool:
    return bool(np.any(np.asarray(centroids, np.float64) == 0.0))


@oracle.precise
def optimum_with_zero(problem) -> Decimal:
    """Every way to cut the points into at most k runs, one of which, maybe empty, is about zero."""
    points = oracle.merged(*problem.data)
    n = len(points)
    free = oracle.interval_costs(points)

    def cost(cuts) -> Decimal:
        runs = list(pairwise((0, *cuts, n)))
        costs = [free[a][d] for a, d in runs]
        total = sum(costs, start=oracle.ZERO)
        about_zero = [
            total - own + oracle.cost_about(points[a:d], oracle.ZERO)
            for own, (a, d) in zip(costs, runs, strict=True)
        ]
        return min([*about_zero, total] if len(runs) < problem.k else about_zero)

    return min(
        cost(cuts)
        for n_cuts in range(min(problem.k, n))
        for cuts in combinations(range(1, n), n_cuts)
    )


@given(problems(**SMALL), st.integers(1, 4))
def test_reaches_the_optimum(problem, k):
    problem = Problem(*problem.data, min(k, problem.k))
    result = solve(problem)
    assert_valid(problem, result)
    assert has_zero(result.centroids)
    optimum, floor = optimum_with_zero(problem), float(underflow(problem))
    I, H = oracle.importances(*problem.data)
    # What centroids one float off their best place cost: all there is where the optimum is zero.
    error = np.spacing(np.max(np.abs(problem.weights)))
    floor += float(error**2 * np.sum(I + 6 * H * (np.ptp(problem.weights) + error) ** 2))
    assert_close(result.cost, optimum, rtol=1e-9, atol=floor)
    assert_close(result.lower_bound, optimum, rtol=1e-8, atol=floor)
    assert Decimal(float(result.lower_bound)) <= max(optimum, underflow(problem))


@pytest.mark.parametrize("solver", SOLVERS)
@given(data=st.data())
def test_zero_is_among_the_centroids(solver, data):
    problem = data.draw(problems())
    result = solve(problem, solver=solver)
    assert_valid(problem, result)
    assert has_zero(result.centroids)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@given(data=st.data())
def test_one_centroid_costs_the_scores(dtype, solver, data):
    """With k=1 that is what pruning everything costs: ``sum I w^2 + H w^4``."""
    problem = data.draw(tame_problems(dtype=dtype))
    result = wkmeans(problem.weights, 1, include_zero=True, solver=solver, **problem.keywords)
    assert result.centroids.tolist() == [0.0]
    assert not np.any(result.labels)
    zeros = np.zeros(problem.weights.shape, int)
    cost = oracle.direct_cost(*problem.data, [0.0], zeros)
    assert_close(result.cost, cost, rtol=1e-12, atol=underflow(problem))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("k", [2, 3, 7])
def test_weights_on_one_side_of_zero(solver, sign, k):
    """Zero lies outside the weights, and still takes one of the k."""
    rng = np.random.default_rng(0)
    w = sign * rng.uniform(5, 6, 40)
    result = wkmeans(w, k, include_zero=True, solver=solver)
    assert has_zero(result.centroids)
    assert result.centroids[0 if sign > 0 else -1] == 0
    assert_valid(Problem(w, None, None, k), result)
    if solver == "optimal":
        beside = wkmeans(w, k - 1)
        assert result.cost == pytest.approx(beside.cost, rel=1e-12)
        np.testing.assert_array_equal(result.dequantize(), beside.dequantize())


@pytest.mark.parametrize("solver", SOLVERS)
def test_more_centroids_than_weights(solver):
    """Zero is one value more than the weights have; the surplus repeats the largest."""
    w = np.array([1.0, 2.0, 3.0])
    for k in (4, 6):
        result = wkmeans(w, k, include_zero=True, solver=solver)
        np.testing.assert_array_equal(result.centroids, [0.0, 1.0, 2.0, 3.0, 3.0, 3.0][:k])
        assert result.labels.tolist() == [1, 2, 3]
        assert result.cost == 0
    result = wkmeans(-w, 6, include_zero=True, solver=solver)
    np.testing.assert_array_equal(result.centroids, [-3.0, -2.0, -1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_without_importance_go_to_zero_where_it_is_nearest(solver):
    w = np.array([-0.5, 0.0, 0.25, 0.5, 4.0, 6.0])
    result = wkmeans(w, 2, importance=[0, 0, 0, 0, 1, 1], include_zero=True, solver=solver)
    assert result.centroids.tolist() == [0.0, 5.0]
    assert result.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert result.cost == 2.0


@given(tame_problems(importances=("all zero",), quartics=("absent", "all zero")))
def test_without_any_importance_each_weight_counts_one(problem):
    equal = wkmeans(problem.weights, problem.k, include_zero=True)
    assert solve(problem).cost == equal.cost
    np.testing.assert_array_equal(solve(problem).centroids, equal.centroids)


@given(tame_problems())
def test_lies_between_k_free_centroids_and_one_less(problem):
    cost = solve(problem).cost
    floor = float(underflow(problem))
    free = wkmeans(problem.weights, problem.k, **problem.keywords)
    assert free.lower_bound <= cost + floor
    if problem.k > 1:
        fewer = wkmeans(problem.weights, problem.k - 1, **problem.keywords).centroids
        centroids = np.sort([*fewer, 0.0])
        labels = oracle.nearest_labels(problem.weights, centroids)
        beside_zero = oracle.direct_cost(*problem.data, centroids, labels)
        assert Decimal(float(cost)) <= beside_zero * Decimal(1 + 1e-9) + Decimal(floor)


@pytest.mark.parametrize("quartic", [False, True])
@pytest.mark.parametrize("importance", IMPORTANCES)
def test_cost_curve_is_the_cost_of_every_k(importance, quartic):
    """Also beyond a few dozen points, where the optimal solver is branch and bound."""
    rng = np.random.default_rng(1)
    n = 500
    reach = {"20 decades": 10, "40 decades": 20}.get(importance, 0)
    I = 10.0 ** rng.uniform(-reach, reach, n)
    I *= rng.choice([0.0, 1.0], n) if importance == "sparse" else 1.0
    keywords = {"importance": I, "quartic_importance": I[::-1].copy() if quartic else None}
    for w in (rng.normal(size=n), rng.normal(size=n) + 3.0, np.round(rng.normal(size=n), 1)):
        curve = cost_curve(w, 30, include_zero=True, **keywords)
        free = cost_curve(w, 30, **keywords)
        assert np.all(np.diff(curve) <= 1e-12 * curve[:-1])
        assert np.all(free <= curve * (1 + 1e-12))
        assert np.all(curve[1:] <= free[:-1] * (1 + 1e-12))
        for k in (1, 2, 5, 16, 30):
            result = wkmeans(w, k, include_zero=True, **keywords)
            assert has_zero(result.centroids)
            assert result.cost == pytest.approx(curve[k - 1], rel=1e-9)
            assert curve[k - 1] * (1 - 1e-8) <= result.lower_bound <= curve[k - 1]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", FORMATS)
def test_in_every_format(name, solver):
    if name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(2)
    w, I = rng.normal(size=400) + 0.75, rng.exponential(size=400)
    for k in (1, 2, 8):
        result = wkmeans(w, k, importance=I, include_zero=True, centroid_dtype=name, solver=solver)
        assert has_zero(result.centroids)
        if solver == "optimal":
            curve = cost_curve(w, k, importance=I, include_zero=True, centroid_dtype=name)
            assert result.cost == pytest.approx(curve[-1], rel=1e-9)
            assert curve[-1] * (1 - 1e-8) <= result.lower_bound <= curve[-1]
            assert curve[-1] >= cost_curve(w, k, importance=I, include_zero=True)[-1] * (1 - 1e-12)
            assert curve[-1] >= cost_curve(w, k, importance=I, centroid_dtype=name)[-1] * (
                1 - 1e-12
            )


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tensors(dtype, solver):
    torch = pytest.importorskip("torch")
    w = torch.linspace(1, 2, 30).to(getattr(torch, dtype))
    result = wkmeans(w, 3, include_zero=True, solver=solver)
    single = w.double().numpy() if dtype == "float64" else w.float().numpy()
    expected = wkmeans(single, 3, include_zero=True, solver=solver)
    assert result.centroids[0] == 0
    np.testing.assert_array_equal(result.centroids.numpy(), expected.centroids)
    assert result.cost == expected.cost


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("axis", [0, 1])
def test_along_an_axis(axis, solver):
    """A zero in every codebook, and each as if its row were alone."""
    rng = np.random.default_rng(3)
    w, I = rng.normal(size=(5, 30)) + 1.0, rng.exponential(size=(5, 30))
    result = wkmeans(w, 4, importance=I, include_zero=True, solver=solver, axis=axis)
    curve = cost_curve(w, 4, importance=I, include_zero=True, axis=axis)
    assert np.all(np.any(result.centroids == 0, axis=-1))
    rows = zip(np.moveaxis(w, axis, -1), np.moveaxis(I, axis, -1), strict=True)
    for i, (row, importance) in enumerate(rows):
        alone = wkmeans(row, 4, importance=importance, include_zero=True, solver=solver)
        np.testing.assert_array_equal(result.centroids[i], alone.centroids)
        assert result.cost[i] == alone.cost
        if solver == "optimal":
            assert alone.cost == pytest.approx(curve[i, -1], rel=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_threads(solver):
    rng = np.random.default_rng(4)
    w, I = rng.normal(size=100_001), rng.exponential(size=100_001)

    def fields(n_threads):
        result = wkmeans(
            w, 16, importance=I, include_zero=True, solver=solver, n_threads=n_threads, max_iter=20
        )
        return result.centroids.tobytes(), result.labels.tobytes(), result.cost, result.lower_bound

    alone = fields(1)
    for n_threads in (2, 3, 7):
        assert fields(n_threads) == alone, f"n_threads={n_threads}"


def test_a_cost_not_yet_known_drives_out_no_other():
    """Either clump may share the zero's cluster; 1.6e-9 of the cost lies between the two.

    Quartic importances 83 decades apart leave roots unconverged, whose costs are bounded from
    below; clusters that lost to such a bound left the dearer choice, with a certificate.
    """
    left = [1000.000001003576, 1000.0000003163196, 999.99999999849, 999.9999997369904]
    left += [999.9999995688272, 999.999998791144]
    right = [999.9999985008822, 999.9999992186026, 999.9999992821251, 999.99999942519]
    right += [999.9999999253083, 1000.0000005186401]
    w = np.array([-x for x in left] + right)
    I = np.array([4.8e8, 1.5e9, 2.4e-6, 7e2, 1.5e-10, 1e3, 0.97, 7e-5, 8e-10, 8e-5, 3.7e6, 8e-2])
    tiny, small, huge = 2.0**-149, 2.0**-126, float(np.finfo(np.float32).max)
    H = np.array([small, small, 1, huge, tiny, tiny, small, huge, 0, 0, tiny, 0])
    result = wkmeans(
        w,
        2,
        importance=I,
        quartic_importance=H,
        include_zero=True,
        centroid_dtype="float8_e4m3fn",
    )
    nearest = np.minimum(np.abs(w), np.abs(w + 448))
    cost = np.sum(I * nearest**2 + H * nearest**4)
    assert result.cost == pytest.approx(cost, rel=1e-12)
    assert result.lower_bound <= cost
