"""solver="lloyd" against Algorithm 2, round by round."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import oracle
import pytest
from checks import assert_valid, underflow
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import Problem, problems, seeds, tame_problems

from wkmeans import wkmeans

INITS = ["quantile", "linear", "kmeans++"]


def lloyd(problem, **options):
    return wkmeans(problem.weights, problem.k, solver="lloyd", **problem.keywords, **options)


@st.composite
def problems_with_init(draw, **families):
    """A problem and k centroids, within the weights and beside them, some of them equal.

    Never more centroids than weights: the contract then has an answer that needs no descent.
    """
    problem = draw(problems(spare=0, **families))
    low, high = problem.weights.min(), problem.weights.max()
    positions = st.one_of(st.floats(-0.25, 1.25), st.sampled_from([0.0, 0.5, 1.0]))
    at = draw(st.lists(positions, min_size=problem.k, max_size=problem.k))
    return problem, low + (high - low) * np.array(at)


def assert_follows_algorithm_2(problem, init, rounds):
    """The centroids of every round agree to 1e-9 of the spread, however far off zero it lies."""
    w = problem.weights
    for n, expected in enumerate(oracle.lloyd_iterates(*problem.data, init, rounds), 1):
        result = lloyd(problem, init=init, max_iter=n)
        assert 0 <= result.n_iter <= n
        allowed = 1e-9 * (w.max() - w.min()) + 4 * np.spacing(np.abs(expected))
        error = np.abs(result.centroids - expected)
        assert np.all(error <= allowed), f"round {n}: {result.centroids} is not {expected}"


@given(problems_with_init())
def test_follows_algorithm_2(case):
    assert_follows_algorithm_2(*case, rounds=6)


@pytest.mark.parametrize("quartic", [False, True])
def test_follows_algorithm_2_on_many_weights(quartic):
    rng = np.random.default_rng(3)
    w = 0.02 * rng.standard_t(5, 1000)
    I = np.exp(rng.normal(-8, 3, w.size))
    H = np.exp(rng.normal(-4, 3, w.size)) if quartic else None
    problem = Problem(w, I, H, 16)
    assert_follows_algorithm_2(problem, np.quantile(w, np.linspace(0, 1, 16)), rounds=10)


@pytest.mark.slow
@given(problems_with_init(), st.integers(1, 4))
def test_every_answer_is_valid(case, max_iter):
    problem, init = case
    result = lloyd(problem, init=init, max_iter=max_iter)
    assert_valid(problem, result)
    assert result.lower_bound is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@given(data=st.data())
def test_every_answer_is_valid_in_lower_precision(dtype, data):
    problem = data.draw(problems(dtype=dtype))
    assert_valid(problem, lloyd(problem, init=data.draw(st.sampled_from(INITS))))


@given(problems_with_init())
def test_cost_never_rises(case):
    problem, init = case
    costs = [lloyd(problem, init=init, max_iter=n).cost for n in range(1, 8)]
    floor = float(underflow(problem))
    assert all(b <= a * (1 + 1e-12) + floor for a, b in pairwise(costs))


@pytest.mark.parametrize("init", INITS)
@given(data=st.data())
def test_optimal_is_never_worse(init, data):
    problem = data.draw(problems())
    found = lloyd(problem, init=init).cost
    optimal = wkmeans(problem.weights, problem.k, **problem.keywords).cost
    assert optimal <= found * (1 + 1e-9) + float(underflow(problem))


@pytest.mark.parametrize("init", INITS)
@given(data=st.data())
def test_stops_only_where_nothing_changes(init, data):
    problem = data.draw(tame_problems())
    result = lloyd(problem, init=init, max_iter=300)
    assume(result.n_iter < 300)
    more = lloyd(problem, init=init, max_iter=1000)
    np.testing.assert_array_equal(more.centroids, result.centroids)
    assert more.n_iter == result.n_iter
    again = lloyd(problem, init=result.centroids, max_iter=1)
    spread = np.ptp(problem.weights)
    np.testing.assert_allclose(again.centroids, result.centroids, rtol=1e-12, atol=1e-12 * spread)


@pytest.mark.parametrize("solver", ["optimal", "lloyd"])
@given(data=st.data())
def test_golden_rule(solver, data):
    """Quantised weights are orthogonal to their error: w_hat' I (w_hat - w) = 0."""
    problem = data.draw(tame_problems(quartics=("absent",)))
    result = wkmeans(problem.weights, problem.k, solver=solver, importance=problem.importance)
    I, _ = oracle.importances(*problem.data)
    w_hat = result.dequantize()
    terms = I * w_hat * (w_hat - problem.weights)
    scale = np.sum(I * np.abs(w_hat) * (np.abs(w_hat) + np.abs(problem.weights)))
    assert abs(np.sum(terms)) <= 1e-12 * scale


def test_an_empty_cluster_keeps_its_centroid():
    result = wkmeans([0.0, 1, 9, 10], 3, solver="lloyd", init=[0.0, 9, 40])
    np.testing.assert_array_equal(result.centroids, [0.5, 9.5, 40])


def test_the_first_of_equal_centroids_takes_the_weights():
    result = wkmeans([0.0, 1, 9, 10], 4, solver="lloyd", init=[0.0, 9, 9, 40], max_iter=1)
    np.testing.assert_array_equal(result.centroids, [0.5, 9, 9.5, 40])


def test_weights_without_importance_move_nothing():
    result = wkmeans(
        [0.0, 1, 2, 9, 30], 3, solver="lloyd", init=[0.0, 8, 31], importance=[1.0, 1, 0, 1, 0]
    )
    np.testing.assert_array_equal(result.centroids, [0.5, 9, 31])
    np.testing.assert_array_equal(result.labels, [0, 0, 0, 1, 2])


def test_a_tie_goes_to_the_lower_centroid():
    result = wkmeans([0.0, 1, 2, 9], 3, solver="lloyd", init=[0.0, 2, 9], max_iter=1)
    np.testing.assert_array_equal(result.centroids, [0.5, 2, 9])
    np.testing.assert_array_equal(result.labels, [0, 0, 1, 2])


def test_max_iter_bounds_the_rounds():
    w = np.random.default_rng(4).standard_t(3, 3000)
    counts = [wkmeans(w, 32, solver="lloyd", max_iter=m).n_iter for m in (1, 2, 5)]
    assert counts == [1, 2, 5]


@given(problems_with_init(), st.randoms(use_true_random=False))
def test_order_of_the_initial_centroids_is_no_matter(case, random):
    problem, init = case
    shuffled = init.tolist()
    random.shuffle(shuffled)
    one, other = lloyd(problem, init=init), lloyd(problem, init=shuffled)
    np.testing.assert_array_equal(one.centroids, other.centroids)
    np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize("init", INITS)
def test_initial_centroids_by_name(init):
    rng = np.random.default_rng(5)
    w, I = rng.normal(size=1000), rng.exponential(size=1000)
    results = [
        wkmeans(w, 12, solver="lloyd", init=init, importance=I, max_iter=1) for _ in range(2)
    ]
    np.testing.assert_array_equal(results[0].centroids, results[1].centroids)
    assert len(np.unique(results[0].labels)) == 12, "every cluster starts with weights"


@given(tame_problems(), seeds)
def test_seeds_repeat(problem, seed):
    one, other = (lloyd(problem, init="kmeans++", seed=seed) for _ in range(2))
    np.testing.assert_array_equal(one.centroids, other.centroids)
    np.testing.assert_array_equal(one.labels, other.labels)


def test_seeds_matter():
    w = np.random.default_rng(6).normal(size=1000)
    answers = {
        wkmeans(w, 8, solver="lloyd", init="kmeans++", seed=s, max_iter=1).cost for s in range(5)
    }
    assert len(answers) == 5


def test_kmeans_plus_plus_draws_by_importance():
    """Weights without importance are never drawn, a far heavy one always is."""
    w = np.array([0.0, 0.1, 0.2, 50.0, 100.0])
    I = np.array([1.0, 1.0, 1.0, 0.0, 1e6])
    for seed in range(20):
        result = wkmeans(w, 2, solver="lloyd", init="kmeans++", seed=seed, importance=I)
        np.testing.assert_allclose(result.centroids, [0.1, 100.0], rtol=1e-12)


def test_a_codebook_for_every_row_starts_from_the_same_init():
    w = np.random.default_rng(7).normal(size=(3, 50))
    init = np.linspace(-1, 1, 4)
    result = wkmeans(w, 4, solver="lloyd", init=init, axis=1, max_iter=2)
    for row in range(3):
        alone = wkmeans(w[row], 4, solver="lloyd", init=init, max_iter=2)
        np.testing.assert_array_equal(result.centroids[row], alone.centroids)


def test_single_precision_is_double_rounded():
    rng = np.random.default_rng(8)
    w, I, H = rng.normal(size=(3, 500)).astype(np.float32)
    I, H = np.abs(I), np.abs(H)
    options = {"solver": "lloyd", "init": np.linspace(-2, 2, 8), "max_iter": 5}
    single = wkmeans(w, 8, importance=I, quartic_importance=H, **options)
    w, I, H = (x.astype(np.float64) for x in (w, I, H))
    double = wkmeans(w, 8, importance=I, quartic_importance=H, **options)
    np.testing.assert_allclose(single.centroids, double.centroids, rtol=2.0**-23)


@given(problems())
def test_certifies_only_when_asked(problem):
    options = {**problem.keywords, "solver": "lloyd"}
    plain = wkmeans(problem.weights, problem.k, **options)
    certified = wkmeans(problem.weights, problem.k, certify=True, **options)
    assert plain.lower_bound is None
    assert (
        certified.lower_bound == wkmeans(problem.weights, problem.k, **problem.keywords).lower_bound
    )
    assert certified.lower_bound <= certified.cost == plain.cost
    np.testing.assert_array_equal(certified.labels, plain.labels)
    np.testing.assert_array_equal(certified.centroids, plain.centroids)


def test_certifies_every_row():
    w = np.random.default_rng(8).normal(size=(3, 50))
    certified = wkmeans(w, 4, axis=1, solver="lloyd", certify=True)
    np.testing.assert_array_equal(certified.lower_bound, wkmeans(w, 4, axis=1).lower_bound)


@pytest.mark.parametrize("quartic", [False, True])
def test_the_gap_of_a_format_is_that_of_its_values(quartic):
    rng = np.random.default_rng(9)
    w, H = rng.normal(size=200), rng.exponential(size=200)
    options = {"quartic_importance": H if quartic else None, "centroid_dtype": "int8"}
    certified = wkmeans(w, 6, solver="lloyd", certify=True, **options)
    assert certified.lower_bound == wkmeans(w, 6, **options).lower_bound <= certified.cost
