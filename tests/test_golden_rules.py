"""The paper's golden rules (5.1) for everything the package returns, and Theorem 4 (5.2)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds, tame_problems

from wkmeans import prune, wkmeans
from wkmeans.rate_distortion import relu_distortion

EXACT = 1e-12
Z_LIMIT = 4.5  # standard errors; the seeds are fixed, so a pass here stays a pass


def golden_rule_gap(weights, compressed, importance):
    """``|w_hat' I (w_hat - w)|`` in units of what rounding alone may make of it."""
    w, w_hat, I = (np.asarray(x, dtype=np.longdouble) for x in (weights, compressed, importance))
    terms = I * w_hat * (w_hat - w)
    centroid_error = np.spacing(np.abs(compressed)).astype(np.longdouble)
    rounding = 2 * I * np.abs(w_hat) * centroid_error
    # Means are taken about an origin among the weights, and sums in double.
    sums = 1e-13 * I * np.abs(w_hat) * (np.abs(w_hat - w) + np.finfo(np.float64).eps * np.ptp(w))
    allowed = rounding.sum() + sums.sum() + 1e-300
    return float(np.abs(terms.sum()) / allowed)


def random_problem(seed, n=400):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(n), rng.lognormal(sigma=2, size=n)


# --- rule 1: w_hat' I (w_hat - w) = 0 ------------------------------------------------------------


@given(tame_problems(), st.sampled_from(["optimal", "lloyd"]))
def test_every_clustering_obeys_rule_1(problem, solver):
    importance = (
        np.ones(problem.weights.shape) if problem.importance is None else problem.importance
    )
    clustering = wkmeans(problem.weights, problem.k, importance=importance, solver=solver)
    assert golden_rule_gap(problem.weights, clustering.dequantize(), importance) <= 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 2, 7, 64])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"include_zero": True},
        {"solver": "lloyd", "init": "linear"},
        {"solver": "lloyd", "init": "kmeans++"},
    ],
)
def test_rule_1_in_every_precision_with_every_solver(dtype, k, options):
    weights, importance = random_problem(k)
    weights = weights.astype(dtype)
    clustering = wkmeans(weights, k, importance=importance, max_iter=10_000, **options)
    assert golden_rule_gap(weights, clustering.dequantize(), importance) <= 1


def test_rule_1_for_each_problem_along_an_axis():
    weights, importance = (x.reshape(8, 50) for x in random_problem(0))
    compressed = wkmeans(weights, 5, importance=importance, axis=1).dequantize()
    for row in zip(weights, compressed, importance, strict=True):
        assert golden_rule_gap(*row) <= 1


@pytest.mark.parametrize("solver", ["optimal", "lloyd"])
def test_rule_1_is_broken_by_ones_in_place_of_the_importances(solver):
    weights, importance = random_problem(1)
    compressed = wkmeans(weights, 8, solver=solver).dequantize()
    assert golden_rule_gap(weights, compressed, importance) > 1e6


@given(tame_problems(), st.floats(0, 1))
def test_every_pruning_obeys_rule_1_exactly(problem, density):
    mask = prune(problem.weights, density, importance=problem.importance)
    compressed = problem.weights * mask
    assert np.all(compressed * (compressed - problem.weights) == 0)


def test_patterns_and_mappings_obey_rule_1_exactly():
    weights, importance = (x.reshape(20, 20) for x in random_problem(2))
    named = prune({"a": weights}, 0.3, importance={"a": importance})["a"]
    for mask in (named, prune(weights, 0.5, importance=importance, pattern=(2, 4))):
        compressed = weights * mask
        assert np.all(compressed * (compressed - weights) == 0)


# --- Theorem 4: rule 2 makes a ReLU unit's mean squared error least ------------------------------


def clusterings(weights, data_variances, k):
    """All k**m assignments, each with the centroids that obey rule 1."""
    for labels in itertools.product(range(k), repeat=weights.size):
        members = np.array(labels) == np.arange(k)[:, np.newaxis]
        used = members[members.any(axis=1)]
        centroids = (used @ (data_variances * weights)) / (used @ data_variances)
        yield centroids @ used


def prunings(weights, n_kept):
    for kept in itertools.combinations(range(weights.size), n_kept):
        compressed = np.zeros_like(weights)
        compressed[list(kept)] = weights[list(kept)]
        yield compressed


def relu_problem(seed, size):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(size), rng.lognormal(sigma=1.5, size=size)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("k", [1, 2, 3])
def test_weighted_clustering_has_the_least_mean_squared_error(seed, k):
    weights, data_variances = relu_problem(seed, 6)
    optimum = wkmeans(weights, k, importance=data_variances).dequantize()
    others = np.array(list(clusterings(weights, data_variances, k)))
    errors = relu_distortion(weights, others, data_variances)
    assert relu_distortion(weights, optimum, data_variances) <= errors.min() * (1 + EXACT)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n_kept", [1, 3, 6])
def test_weighted_pruning_has_the_least_mean_squared_error(seed, n_kept):
    weights, data_variances = relu_problem(seed, 8)
    optimum = weights * prune(weights, n_kept / weights.size, importance=data_variances)
    errors = relu_distortion(weights, np.array(list(prunings(weights, n_kept))), data_variances)
    assert relu_distortion(weights, optimum, data_variances) <= errors.min() * (1 + EXACT)


def test_ones_in_place_of_the_data_variances_lose():
    """So the two tests above fail where importances are ignored."""
    worse = {"clustering": 0, "pruning": 0}
    for seed in range(10):
        weights, data_variances = relu_problem(seed, 8)
        for name, compress in (
            ("clustering", lambda I, w=weights: wkmeans(w, 2, importance=I).dequantize()),
            ("pruning", lambda I, w=weights: w * prune(w, 3 / 8, importance=I)),
        ):
            weighted, plain = (
                relu_distortion(weights, compress(I), data_variances)
                for I in (data_variances, np.ones(8))
            )
            assert weighted <= plain * (1 + EXACT)
            worse[name] += plain > 1.01 * weighted
    assert min(worse.values()) >= 5


@pytest.mark.parametrize("seed", range(10))
def test_theorem_4_needs_rule_1_of_every_competitor(seed):
    """Centroids free of rule 1 do better, against the letter of Theorem 4 and Corollary 2.

    With one centroid the direction of ``w_hat = c 1``, and so the angle to ``w``, is fixed. The
    error is then a parabola in ``c`` whose minimum lies beyond the weighted mean. (The proof
    expands ``E[relu(w'x) relu(w_hat'x)]`` in powers of ``w' Sigma w_hat``; the lemma that it cites
    is for unit vectors, and for others the norms come out of each power.)
    """
    weights, data_variances = relu_problem(seed, 6)
    (mean,) = wkmeans(weights, 1, importance=data_variances).centroids
    moved = mean * np.linspace(1, 1.5, 500)[1:, np.newaxis] * np.ones(6)
    errors = relu_distortion(weights, moved, data_variances)
    weighted_error = relu_distortion(weights, np.full(6, mean), data_variances)
    assert errors.min() < weighted_error
    objective = (data_variances * (weights - moved) ** 2).sum(axis=1)
    assert objective.min() > float(data_variances @ (weights - mean) ** 2)


@pytest.mark.parametrize("seed", range(3))
def test_theorem_4_by_monte_carlo(seed):
    """Sampled errors agree with the closed form, and no clustering or pruning does better."""
    weights, data_variances = relu_problem(seed, 5)
    optima = [
        wkmeans(weights, 2, importance=data_variances).dequantize(),
        weights * prune(weights, 0.4, importance=data_variances),
    ]
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((40_000, 5)) * np.sqrt(data_variances)

    def squared_errors(compressed):
        return (np.maximum(data @ weights, 0) - np.maximum(data @ compressed, 0)) ** 2

    def standard_error(values):
        return values.std() / math.sqrt(len(values)) + 1e-15

    classes = [list(clusterings(weights, data_variances, 2)), list(prunings(weights, 2))]
    for optimum, members in zip(optima, classes, strict=True):
        best = squared_errors(optimum)
        for member in members:
            errors = squared_errors(member)
            expected = relu_distortion(weights, member, data_variances)
            assert abs(errors.mean() - expected) < Z_LIMIT * standard_error(errors)
            advantage = best - errors
            assert advantage.mean() < Z_LIMIT * standard_error(advantage)


def test_a_relu_units_estimated_importances_are_half_the_data_variances():
    """Appendix B: E[1{w'x >= 0} x_i^2] = lambda_i / 2, so Theorem 4 is about `estimate`'s I."""
    torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")
    from wkmeans.importance import estimate

    weights, data_variances = relu_problem(0, 5)
    net = torch.nn.Sequential(torch.nn.Linear(5, 1, bias=False), torch.nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(torch.from_numpy(weights))
    data = np.random.default_rng(0).standard_normal((5_000, 5)) * np.sqrt(data_variances)
    inputs = torch.from_numpy(data).float()
    importance, _ = estimate(net, [(inputs, None)], objective="fisher", loss="mse")["0.weight"]
    # E x^4 = 3 lambda^2 on half of the examples: a relative variance of 5 for each.
    error = np.asarray(importance)[0] / (data_variances / 2) - 1
    assert np.all(np.abs(error) < Z_LIMIT * math.sqrt(5 / len(data)))


# --- the closed form ------------------------------------------------------------------------------


def test_relu_distortion_of_known_pairs():
    variances = [2.0, 0.5]
    w = np.array([3.0, -1.0])
    energy = 9 * 2.0 + 0.5
    assert relu_distortion(w, w, variances) == 0
    assert relu_distortion(w, 0 * w, variances) == pytest.approx(energy / 2, rel=EXACT)
    assert relu_distortion(w, 2 * w, variances) == pytest.approx(energy / 2, rel=EXACT)
    assert relu_distortion(w, -w, variances) == pytest.approx(energy, rel=EXACT)
    orthogonal = relu_distortion([1.0, 0.0], [0.0, 1.0], [1.0, 1.0])
    assert orthogonal == pytest.approx(1 - 1 / math.pi, rel=EXACT)


@given(seeds, st.floats(1e-9, 3.1))
def test_relu_distortion_of_a_rotation(seed, theta):
    """Against 1 - (sin t + (pi - t) cos t) / pi, rearranged to hold its digits for small t."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 2)))
    u = basis[:, 0]
    v = u * math.cos(theta) + basis[:, 1] * math.sin(theta)
    half = 2 * math.sin(theta / 2) ** 2
    if theta < 0.05:
        gap = theta**3 / 3 - theta**5 / 30
    else:
        gap = math.sin(theta) - theta * math.cos(theta)
    assert relu_distortion(u, v, np.ones(4)) == pytest.approx(half - gap / math.pi, rel=1e-6)


def test_relu_distortion_broadcasts_and_refuses():
    errors = relu_distortion(np.ones((3, 1, 2)), np.zeros((4, 2)), [1.0, 1.0])
    assert errors.shape == (3, 4)
    with pytest.raises(ValueError, match=r"compressed: expected a last axis of 2.*\(3,\)"):
        relu_distortion([1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"data_variances: .*got -1\.0 at index 1"):
        relu_distortion([1.0, 2.0], [1.0, 2.0], [1.0, -1.0])
    with pytest.raises(ValueError, match="weights: expected finite numbers, got nan at index 0"):
        relu_distortion([math.nan, 2.0], [1.0, 2.0], [1.0, 1.0])
