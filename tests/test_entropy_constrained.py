"""entropy_constrained against exhaustive assignment in exact fractions and its own Lagrangian."""

from __future__ import annotations

import threading
from fractions import Fraction
from itertools import pairwise

import numpy as np
import oracle
import pytest
from checks import label_dtype, underflow
from hypothesis import given
from hypothesis import strategies as st
from strategies import problems, tame_problems

from wkmeans import EntropyConstrained, entropy_constrained, rate, wkmeans

multipliers = st.one_of(st.sampled_from([0.0, 1e-12, 1e12]), st.floats(-6, 3).map(lambda e: 10**e))


def solved(weights, importance=None, quartic_importance=None, **options):
    return entropy_constrained(
        weights, importance=importance, quartic_importance=quartic_importance, **options
    )


def solve(problem, multiplier, **options):
    return solved(
        problem.weights,
        problem.importance,
        problem.quartic,
        k=problem.k,
        multiplier=multiplier,
        **options,
    )


def literal_importances(problem):
    """As given: nothing counts 1 because everything else is 0."""
    shape = problem.weights.shape
    I = np.ones(shape) if problem.importance is None else problem.importance
    H = np.zeros(shape) if problem.quartic is None else problem.quartic
    return I.astype(np.float64), H.astype(np.float64)


def lagrangian(problem, result, multiplier):
    return result.cost + multiplier * rate.entropy_bits(result.counts)


def assert_consistent(problem, result, multiplier):
    n = problem.weights.size
    I, H = literal_importances(problem)
    assert np.all(np.diff(result.centroids) > 0)
    assert result.labels.shape == problem.weights.shape
    assert result.labels.dtype == label_dtype(problem.k)
    np.testing.assert_array_equal(
        result.counts, np.bincount(result.labels, minlength=len(result.centroids))
    )
    assert 1 <= len(result.centroids) <= problem.k and result.counts.min() > 0
    distance = problem.weights.astype(np.longdouble) - result.centroids[result.labels]
    cost = np.sum((I + H * distance**2) * distance**2)
    np.testing.assert_allclose(float(result.cost), float(cost), rtol=1e-12, atol=n * 1e-300)
    assert result.bits == rate.entropy_bits(result.counts)
    assert result.lagrangian == result.cost + multiplier * result.bits


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@given(data=st.data())
def test_every_weight_takes_its_cheapest_codeword(dtype, data):
    """max_iter=0 shows one assignment, against every codeword in exact arithmetic."""
    problem = data.draw(tame_problems(dtype=dtype))
    multiplier = data.draw(multipliers)
    k = data.draw(st.integers(1, 9))
    centroids = np.unique(data.draw(st.lists(st.floats(-3, 3), min_size=k, max_size=k)))
    counts = np.array(
        data.draw(st.lists(st.integers(1, 99), min_size=len(centroids), max_size=len(centroids)))
    )
    start = EntropyConstrained(centroids, None, counts, 0.0, 0.0, 0.0, 0)
    found = solved(
        problem.weights,
        problem.importance,
        problem.quartic,
        k=k,
        multiplier=multiplier,
        start=start,
        max_iter=0,
    )
    prices = [Fraction(float(multiplier * x)) for x in np.log2(counts.sum() / counts)]
    I, H = literal_importances(problem)
    for w, i, h, label in zip(problem.weights.tolist(), I, H, found.labels.tolist(), strict=True):
        squares = [(Fraction(w) - Fraction(c)) ** 2 for c in centroids.tolist()]
        costs = [
            Fraction(i) * s + Fraction(h) * s * s + p for s, p in zip(squares, prices, strict=True)
        ]
        taken = costs[np.flatnonzero(centroids == found.centroids[label])[0]]
        hidden = Fraction(1 + i + h) * 16 / 2**1074  # squares that no double holds
        tied = min(costs) * (1 + Fraction(1, 10**14)) + hidden
        assert taken <= tied, "rounding decides only near ties"


@given(problems(), multipliers)
def test_adversarial_problems(problem, multiplier):
    result = solve(problem, multiplier)
    assert_consistent(problem, result, multiplier)


@given(tame_problems(max_size=40), multipliers, st.booleans())
def test_no_round_raises_the_lagrangian(problem, multiplier, include_zero):
    values = [
        solve(problem, multiplier, max_iter=rounds, include_zero=include_zero).lagrangian
        for rounds in range(12)
    ]
    slack = 1e-12 * abs(values[0]) + float(underflow(problem))
    assert all(after <= before + slack for before, after in pairwise(values))


@given(tame_problems(max_size=40))
def test_free_bits_give_the_optimal_clustering(problem):
    I, H = literal_importances(problem)
    if not (I.any() or H.any()):
        return  # wkmeans counts every weight as 1 there
    optimum = wkmeans(problem.weights, problem.k, centroid_dtype="float64", **problem.keywords).cost
    result = solve(problem, 0.0)
    assert abs(result.cost - optimum) <= 1e-9 * optimum + float(underflow(problem))


@given(tame_problems())
def test_dear_bits_leave_one_codeword(problem):
    result = solve(problem, 1e12)
    if problem.k > 1:
        best = oracle.optimal(*problem.data, 1)
        I, H = literal_importances(problem)
        if len(result.centroids) == 1 and (I.any() or H.any()):
            assert result.bits == 0
            assert result.cost >= float(best.cost) * (1 - 1e-9)


def heavy_tailed(n, seed=0):
    rng = np.random.default_rng(seed)
    w = (0.02 * rng.standard_t(5, n)).astype(np.float32)
    I = np.exp(rng.normal(-8, 3, n)).astype(np.float32)
    H = np.exp(rng.normal(-4, 3, n)).astype(np.float32)
    return w, I, H


FAMILIES = {
    "normal": lambda rng, n: (rng.normal(size=n), None, None),
    "laplace": lambda rng, n: (rng.laplace(size=n), None, None),
    "heavy tails": lambda rng, n: (0.02 * rng.standard_t(5, n), None, None),
    "uniform": lambda rng, n: (rng.uniform(size=n), None, None),
    "offset": lambda rng, n: (100 + rng.normal(size=n), None, None),
    "half of it zero": lambda rng, n: (rng.normal(size=n) * rng.integers(0, 2, n), None, None),
    "mild importances": lambda rng, n: (rng.normal(size=n), np.exp(rng.normal(size=n)), None),
    "wild importances": lambda rng, n: (
        0.02 * rng.standard_t(5, n),
        np.exp(rng.normal(-8, 3, n)),
        np.exp(rng.normal(-4, 3, n)),
    ),
    "half unimportant": lambda rng, n: (rng.normal(size=n), rng.integers(0, 2, n) * 1.0, None),
}


def cheapest_at_cost(w, I, H, k, cost):
    """The fewest bits that bisection of the multiplier finds at no more than ``cost``."""
    cost *= 1 + 1e-12  # the same clustering may be summed in another order
    best = solved(w, I, H, k=k, multiplier=0.0)
    assert best.cost <= cost
    low, high = 0.0, 64.0 * cost / len(w)
    for _ in range(14):
        middle = (low + high) / 2
        trial = solved(w, I, H, k=4 * k, multiplier=middle)
        if trial.cost <= cost:
            low, best = middle, min(best, trial, key=lambda result: result.bits)
        else:
            high = middle
    return best


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("k", [2, 3, 6, 16])
def test_fewer_bits_than_huffman_after_the_optimal_clustering(family, k):
    """At equal weighted cost. There may be more codewords: it is bits that are paid for."""
    w, I, H = FAMILIES[family](np.random.default_rng(k), 4000)
    plain = wkmeans(w, k, importance=I, quartic_importance=H)
    counts = np.bincount(plain.labels, minlength=k)
    constrained = cheapest_at_cost(w, I, H, k, plain.cost)
    assert constrained.cost <= plain.cost * (1 + 1e-12)
    # Nothing beats equal cells where all weights are as likely and as important.
    share = 1.0 if family == "uniform" else 0.98
    assert constrained.bits <= share * rate.entropy_bits(counts) <= rate.huffman_bits(counts)


@pytest.mark.parametrize("family", [f for f in FAMILIES if "important" not in f])
@pytest.mark.parametrize("include_zero", [False, True])
def test_importances_of_one_change_nothing(family, include_zero):
    """Without importances the way leads over sorted weights: to the same place."""
    w = FAMILIES[family](np.random.default_rng(7), 3000)[0]
    for rounds in (0, 1, 3, 1000):
        for multiplier in (1e-4, 1e-2, 1.0):
            options = {"k": 12, "multiplier": multiplier * np.var(w), "max_iter": rounds}
            options["start"] = wkmeans(w, 12, include_zero=include_zero).centroids
            without = solved(w, include_zero=include_zero, **options)
            ones = solved(w, np.ones(3000), include_zero=include_zero, **options)
            np.testing.assert_allclose(without.lagrangian, ones.lagrangian, rtol=1e-9)
            np.testing.assert_array_equal(without.labels, ones.labels)


def test_unimportant_weights_take_the_shortest_code():
    rng = np.random.default_rng(1)
    w = rng.normal(size=1000)
    I = (rng.random(1000) < 0.5) * 1.0
    result = solved(w, I, k=8, multiplier=1e-3)
    assert np.all(result.labels[I == 0] == np.argmax(result.counts))


def test_without_any_importance_one_codeword_serves_all():
    result = solved(np.arange(5.0), np.zeros(5), k=3, multiplier=1.0)
    assert len(result.centroids) == 1 and result.cost == 0 and result.bits == 0


def test_zero_prunes_by_itself():
    """Unimportant weights beyond those nearest to it go to a zero whose code is short."""
    w, I, _ = heavy_tailed(20_000)
    plain = wkmeans(w, 9, importance=I, include_zero=True)
    plain_density = np.mean(plain.centroids[plain.labels] != 0)
    result = solved(
        w, I, k=9, multiplier=plain.cost / len(w), include_zero=True, start=plain.centroids
    )
    assert 0.0 in result.centroids
    assert 0 < np.mean(result.centroids[result.labels] != 0) < 0.5 * plain_density


@pytest.mark.parametrize("n", [1, 15, 16, 17, 2049, 100_001])
@pytest.mark.parametrize("quartic", [False, True])
def test_threads_do_not_matter(n, quartic):
    w, I, H = heavy_tailed(n)
    results = [
        solved(w, I, H if quartic else None, k=20, multiplier=1e-7, max_iter=5, n_threads=threads)
        for threads in (1, 2, 3, 7)
    ]
    for other in results[1:]:
        assert other.centroids.tobytes() == results[0].centroids.tobytes()
        assert other.labels.tobytes() == results[0].labels.tobytes()
        assert (other.cost, other.n_iter) == (results[0].cost, results[0].n_iter)


def test_stops_where_nothing_changes():
    w, I, H = heavy_tailed(5000)
    result = solved(w, I, H, k=12, multiplier=1e-7, max_iter=1000)
    assert 0 < result.n_iter < 1000
    again = solved(w, I, H, k=12, multiplier=1e-7, start=result, max_iter=1)
    np.testing.assert_array_equal(again.labels, result.labels)
    np.testing.assert_allclose(again.centroids, result.centroids, rtol=1e-12)


def test_layouts_and_broadcasting():
    w, I, _ = heavy_tailed(6000)
    plain = solved(w.reshape(60, 100), I[:100], k=9, multiplier=1e-7)
    full = solved(
        np.asfortranarray(w.reshape(60, 100)), np.tile(I[:100], (60, 1)), k=9, multiplier=1e-7
    )
    assert plain.labels.shape == (60, 100)
    np.testing.assert_array_equal(plain.labels, full.labels)
    assert plain.cost == full.cost


def test_many_codewords():
    w = np.linspace(-1, 1, 5000)
    result = solved(w, k=700, multiplier=1e-9)
    assert result.labels.dtype == np.uint16 and 256 < len(result.centroids) <= 700


def test_torch():
    torch = pytest.importorskip("torch")
    w, I, _ = heavy_tailed(3000)
    expected = solved(w, I, k=9, multiplier=1e-7)
    for tensor in (torch.from_numpy(w), torch.from_numpy(w).requires_grad_()):
        result = solved(tensor, torch.from_numpy(I), k=9, multiplier=1e-7)
        assert result.labels.dtype == torch.uint8
        np.testing.assert_array_equal(result.labels.numpy(), expected.labels)
    large = solved(torch.from_numpy(w), k=300, multiplier=1e-12)
    assert large.labels.dtype == torch.int32


def test_concurrent_calls():
    """The lock is released while the kernel runs, and nothing is shared."""
    w, I, H = heavy_tailed(30_000)
    expected = solved(w, I, H, k=8, multiplier=1e-7, max_iter=3)
    results = [None] * 4

    def call(i):
        results[i] = solved(w, I, H, k=8, multiplier=1e-7, max_iter=3)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(r.cost == expected.cost for r in results)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k: expected 1 to 65536, got 0"),
        ({"multiplier": -1.0}, "multiplier: expected a finite, non-negative number, got -1"),
        ({"multiplier": np.nan}, "multiplier: .* got nan"),
        ({"max_iter": -1}, "max_iter: expected 0"),
        ({"start": [0.0, np.inf]}, "start: expected finite centroids, got inf at index 1"),
        ({"start": [0.0] * 5}, r"start: expected 1 to k = 4 centroids, got shape \(5,\)"),
        ({"start": [1.0], "include_zero": True}, "start: expected a centroid that is 0"),
        ({"importance": [1.0, -1, 1]}, r"importance: .* got -1.0 at index 1; clamp"),
        ({"weights": [1.0, np.nan, 1], "start": [0.0]}, "weights: .* got nan at index 1"),
    ],
)
def test_bad_arguments(arguments, message):
    call = {"weights": [0.0, 1.0, 2.0], "k": 4, "multiplier": 1.0, **arguments}
    with pytest.raises(ValueError, match=message):
        entropy_constrained(**call)


@pytest.mark.parametrize("multiplier", ["1", None, True])
def test_a_multiplier_is_a_number(multiplier):
    with pytest.raises(TypeError, match="multiplier"):
        entropy_constrained([0.0, 1.0], k=2, multiplier=multiplier)


def _refusal(weights, **options):
    with pytest.raises((OverflowError, ValueError)) as raised:
        entropy_constrained(weights, k=2, multiplier=1.0, **options)
    return f"{raised.type.__name__}: {raised.value}"


def test_weights_and_costs_beyond_float64_are_refused_where_they_stand():
    w = np.ones((3, 40_000))  # more than one segment, any of which may be the first to be read
    w[1, 7] = w[2, 39_999] = -1e200
    text = (
        "OverflowError: weights: expected magnitudes below 2^500 = 3.3e150, got -1e+200 at index "
        "(1, 7); scale the weights or importances down"
    )
    for start in (None, [0.0], [0.0, 1.0]):
        for n_threads in (1, 3):
            assert _refusal(w, start=start, n_threads=n_threads) == text
    heavy = np.where(w < 0, 1e300, 1.0)
    assert _refusal(np.where(w < 0, 1e10, 1.0), importance=heavy, start=[0.0]) == (
        "OverflowError: weights: expected costs I (w - c)^2 + H (w - c)^4 below 1.8e308 about some "
        "centroid, got 10000000000.0 at index (1, 7); scale the weights or importances down"
    )
    assert _refusal([1.0], start=[0.0, 1e200]) == (
        "OverflowError: start: expected magnitudes below 2^500 = 3.3e150, got 1e+200 at index 1"
    )


def test_a_value_that_is_none_comes_before_one_that_is_too_large():
    w = np.ones(120_000)
    w[0], w[-1] = 1e200, np.nan
    for n_threads in (1, 3):
        assert "got nan at index 119999" in _refusal(w, start=[0.0], n_threads=n_threads)
