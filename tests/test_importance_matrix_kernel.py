"""`wkmeans.wkmeans(importance_matrix=...)`: true costs, never above the diagonal optimum's."""

from __future__ import annotations

import itertools

import feedback_oracle as oracle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

import wkmeans
from wkmeans import _core

AXES = (None, -1)


def covariance(rng, n, samples=None, decay=2.0):
    x = rng.normal(size=(samples or 2 * n, n)) * np.exp(-decay * rng.permutation(n) / n)
    x = x + rng.normal(size=(len(x), 1))
    return x.T @ x / len(x)


def objective(w, result, S, importance=1.0):
    errors = np.asarray(w, np.float64) - np.asarray(result.dequantize(), np.float64)
    matrices = np.broadcast_to(S, (len(errors), *np.shape(S)[-2:]))
    rows = np.einsum("ri,rij,rj->r", errors, np.asarray(matrices, np.float64), errors)
    return rows * np.broadcast_to(np.ravel(importance), rows.shape)


def diagonal_optimum(w, k, S, importance=1.0, **options):
    diagonal = np.diagonal(S, axis1=-2, axis2=-1).astype(np.float64)
    rows = np.reshape(importance, (-1, 1)) if np.ndim(importance) else importance
    return wkmeans.wkmeans(w, k, importance=np.broadcast_to(rows * diagonal, w.shape), **options)


@given(
    seed=seeds,
    rows=st.integers(1, 6),
    n=st.integers(1, 12),
    k=st.sampled_from([1, 2, 3, 5, 16]),
    axis=st.sampled_from(AXES),
    own=st.booleans(),
    samples=st.sampled_from([2, 40]),
    options=st.sampled_from(
        [{}, {"include_zero": True}, {"centroid_dtype": "float16"}, {"centroid_dtype": "float64"}]
    ),
)
def test_cost_is_recomputed_and_never_above_the_diagonal_optimum(
    seed, rows, n, k, axis, own, samples, options
):
    rng = np.random.default_rng(seed)
    S = (
        np.stack([covariance(rng, n, samples) for _ in range(rows)])
        if own
        else covariance(rng, n, samples)
    )
    w = rng.normal(size=(rows, n))
    importance = rng.uniform(0.1, 3, (rows, 1))
    result = wkmeans.wkmeans(w, k, importance_matrix=S, importance=importance, axis=axis, **options)
    exact = objective(w, result, S, importance)
    # What is left where errors cancel under S is rounding of larger terms.
    errors = np.abs(w - result.dequantize())
    terms = np.einsum("ri,rij,rj->r", errors, np.abs(np.broadcast_to(S, (rows, n, n))), errors)
    allowed = 1e-9 * exact + 1e-14 * terms * importance.ravel()
    cost = result.cost if axis == -1 else np.sum(result.cost)
    if axis is None:
        exact, allowed = exact.sum(), allowed.sum()
    assert np.all(np.abs(cost - exact) <= allowed)
    diagonal = diagonal_optimum(w, k, S, importance, axis=axis, **options)
    before = objective(w, diagonal, S, importance)
    before = before if axis == -1 else before.sum()
    assert np.all(cost <= before * (1 + 1e-9) + allowed)
    assert result.lower_bound is None
    assert np.all(np.diff(result.centroids.astype(float), axis=-1) >= 0)
    assert result.labels.max() < k
    if options.get("include_zero"):
        assert np.all((result.centroids == 0).any(axis=-1))
    if options.get("centroid_dtype"):
        assert result.centroids.dtype == options["centroid_dtype"]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("k", [2, 4, 16, 300])
def test_a_diagonal_matrix_gives_the_certified_optimum(axis, k):
    rng = np.random.default_rng(k)
    w, diagonal = rng.normal(size=(9, 120)), rng.uniform(0, 5, 120)
    diagonal[:3] = 0
    importance = rng.uniform(0.1, 2, (9, 1))
    result = wkmeans.wkmeans(
        w, k, importance_matrix=np.diag(diagonal), importance=importance, axis=axis
    )
    optimum = wkmeans.wkmeans(w, k, importance=importance * diagonal, axis=axis)
    np.testing.assert_allclose(result.cost, optimum.cost, rtol=1e-9)


def best_of_all(w, S, k):
    """The least objective of one row over every labelling, codebooks by least squares."""
    least = np.inf
    for labels in itertools.product(range(k), repeat=len(w)):
        P = np.eye(k)[list(labels)]
        c = np.linalg.lstsq(P.T @ S @ P, P.T @ S @ w, rcond=None)[0]
        least = min(least, float(oracle.objective(w - P @ c, S)))
    return least


def test_near_the_best_of_all_labellings():
    gaps = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n, k = 6, 2 + seed % 2
        S, w = covariance(rng, n) + 0.05 * np.eye(n), rng.normal(size=(1, n))
        result = wkmeans.wkmeans(w, k, importance_matrix=S)
        best = best_of_all(w[0], S, k)
        assert result.cost >= best * (1 - 1e-9)
        gaps.append(result.cost / best)
    assert np.median(gaps) < 1.1
    assert sum(gap < 1 + 1e-9 for gap in gaps) >= 12


@pytest.mark.parametrize("axis", AXES)
def test_correlations_are_worth_much(axis):
    rng = np.random.default_rng(0)
    S, w = covariance(rng, 128, 400), rng.normal(size=(64, 128))
    for k, share in ((2, 0.8), (4, 0.8), (16, 0.8)):
        cost = np.sum(wkmeans.wkmeans(w, k, importance_matrix=S, axis=axis).cost)
        before = objective(w, diagonal_optimum(w, k, S, axis=axis), S).sum()
        assert cost < share * before


@pytest.mark.parametrize("axis", AXES)
def test_threads_change_no_bit(axis):
    rng = np.random.default_rng(1)
    S, w = covariance(rng, 130), rng.normal(size=(150, 130)).astype(np.float32)
    results = [
        wkmeans.wkmeans(w, 8, importance_matrix=S, axis=axis, n_threads=t) for t in (1, 2, 7)
    ]
    for other in results[1:]:
        for name in ("centroids", "labels", "cost"):
            one, two = getattr(results[0], name), getattr(other, name)
            assert np.asarray(one).tobytes() == np.asarray(two).tobytes(), name


@given(seed=seeds, exponent=st.integers(-30, 30), other=st.integers(-30, 30))
def test_scales_with_weights_and_matrix(seed, exponent, other):
    """By powers of two whose roots are powers of two, to the last bit."""
    rng = np.random.default_rng(seed)
    S, w = covariance(rng, 10), rng.normal(size=(4, 10))
    one = wkmeans.wkmeans(w, 4, importance_matrix=S, axis=-1)
    two = wkmeans.wkmeans(w * 2.0**exponent, 4, importance_matrix=S * 4.0**other, axis=-1)
    np.testing.assert_array_equal(two.labels, one.labels)
    np.testing.assert_array_equal(two.centroids, one.centroids * 2.0**exponent)
    np.testing.assert_array_equal(two.cost, one.cost * 4.0 ** (exponent + other))


def test_rows_with_their_own_codebooks_do_not_meet():
    rng = np.random.default_rng(2)
    S, w = covariance(rng, 40), rng.normal(size=(20, 40))
    order = rng.permutation(20)
    one = wkmeans.wkmeans(w, 4, importance_matrix=S, axis=-1)
    two = wkmeans.wkmeans(w[order], 4, importance_matrix=S, axis=1)
    np.testing.assert_allclose(two.cost.sum(), one.cost.sum(), rtol=1e-2)
    assert (two.labels == one.labels[order]).mean() > 0.9


def test_a_matrix_for_each_row_is_that_row_alone():
    rng = np.random.default_rng(3)
    S = np.stack([covariance(rng, 9) for _ in range(7)])
    w = rng.normal(size=(7, 9)).astype(np.float32)
    together = wkmeans.wkmeans(w, 3, importance_matrix=S, axis=-1)
    alone = sum(wkmeans.wkmeans(w[i : i + 1], 3, importance_matrix=S[i]).cost for i in range(7))
    assert together.cost.sum() <= alone * 1.2
    single = wkmeans.wkmeans(w, 3, importance_matrix=S.astype(np.float32), axis=-1)
    np.testing.assert_allclose(single.cost.sum(), together.cost.sum(), rtol=0.05)


def test_zero_matrices_and_importances_count_one():
    rng = np.random.default_rng(4)
    w = rng.normal(size=(3, 8))
    plain = wkmeans.wkmeans(w, 3, axis=-1)
    zero = wkmeans.wkmeans(w, 3, importance_matrix=np.zeros((8, 8)), axis=-1)
    np.testing.assert_allclose(zero.cost, plain.cost, rtol=1e-9)
    unweighted = wkmeans.wkmeans(w, 3, importance_matrix=np.eye(8), importance=np.zeros((3, 1)))
    np.testing.assert_allclose(unweighted.cost, wkmeans.wkmeans(w, 3).cost, rtol=1e-9)


def test_int8_and_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    S, w = covariance(rng, 16), rng.normal(size=(5, 16)).astype(np.float32)
    result = wkmeans.wkmeans(
        torch.from_numpy(w).bfloat16(),
        4,
        importance_matrix=torch.from_numpy(S),
        axis=-1,
        centroid_dtype="int8",
    )
    assert result.centroids.dtype == torch.int8
    assert result.labels.dtype == torch.uint8
    assert result.scale.shape == (5,)
    values = torch.from_numpy(w).bfloat16().double() - result.dequantize().double()
    np.testing.assert_allclose(result.cost, np.einsum("ri,ij,rj->r", values, S, values), rtol=1e-5)
    wide = wkmeans.wkmeans(torch.from_numpy(w), 300, importance_matrix=torch.from_numpy(S))
    assert wide.labels.dtype == torch.int32


def test_weights_and_matrix_are_not_modified_and_strides_do_not_matter():
    rng = np.random.default_rng(6)
    S, w = covariance(rng, 12), rng.normal(size=(12, 10)).T
    before = S.copy(), w.copy()
    one = wkmeans.wkmeans(w, 3, importance_matrix=S)
    np.testing.assert_array_equal(S, before[0])
    np.testing.assert_array_equal(w, before[1])
    two = wkmeans.wkmeans(np.ascontiguousarray(w), 3, importance_matrix=np.asfortranarray(S))
    np.testing.assert_array_equal(one.labels, two.labels)


BAD = {
    "asymmetric": (
        np.array([[2.0, 1.0], [0.5, 2.0]]),
        r"symmetric matrix, got 1.0 at index \(0, 1\)",
    ),
    "indefinite": (np.array([[1.0, 2.0], [2.0, 1.0]]), "smallest eigenvalue is -1"),
    "negative": (-np.eye(2), "positive semidefinite"),
    "nan": (np.array([[1.0, 0.0], [0.0, np.nan]]), r"finite values, got nan at index \(1, 1\)"),
    "wide": (np.ones((2, 3)), r"shape \(2, 2\) or \(4, 2, 2\), got \(2, 3\)"),
    "vector": (np.ones(2), "shape"),
    "rows": (np.ones((3, 2, 2)), "shape"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_matrices_are_refused_by_name(name):
    matrix, message = BAD[name]
    w = np.arange(8.0).reshape(4, 2)
    for call in (
        lambda: wkmeans.wkmeans(w, 2, importance_matrix=matrix),
        lambda: wkmeans.wkmeans(w, 2, importance_matrix=matrix, axis=-1),
    ):
        with pytest.raises(ValueError, match=f"importance_matrix: expected .*{message}"):
            call()


def test_which_of_several_matrices_is_bad_is_said():
    S = np.stack([np.eye(2)] * 3)
    S[1] = [[1, 2], [2, 1]]
    with pytest.raises(ValueError, match=r"importance_matrix: .*one at index 1 whose"):
        wkmeans.wkmeans(np.ones((3, 2)), 2, importance_matrix=S)


def test_what_goes_with_a_matrix():
    w, S = np.arange(8.0).reshape(4, 2), np.eye(2)
    for options, message in (
        ({"quartic_importance": 1.0}, "quartic_importance: expected None with importance_matrix"),
        ({"solver": "lloyd"}, "solver: expected 'optimal' with importance_matrix"),
        ({"init": "linear"}, "init: expected None with importance_matrix"),
        ({"certify": True}, "certify: expected False with importance_matrix"),
        ({"axis": 0}, "axis: expected None or -1 with importance_matrix, got 0"),
        ({"importance": np.ones((4, 2))}, r"importance: expected one a row .*\(4, 1\)"),
        ({"importance": [[1.0], [1.0], [-1.0], [1.0]]}, "importance: expected finite, non-neg"),
    ):
        with pytest.raises(ValueError, match=message):
            wkmeans.wkmeans(w, 2, importance_matrix=S, **options)
    with pytest.raises(ValueError, match=r"weights: expected shape \(rows, n\)"):
        wkmeans.wkmeans(w.ravel(), 2, importance_matrix=np.eye(8))
    for other in (np.float16, np.int64):
        with pytest.raises(TypeError, match="importance_matrix: expected dtype float32 or float64"):
            wkmeans.wkmeans(w, 2, importance_matrix=S.astype(other))
    with pytest.raises(ValueError, match="weights: expected finite"):
        wkmeans.wkmeans(w * np.nan, 2, importance_matrix=S)


def test_matrices_indefinite_by_rounding_are_taken():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(20, 60)).astype(np.float32)
    S = x.T @ x
    assert np.linalg.eigvalsh(S.astype(np.float64))[0] < 0
    result = wkmeans.wkmeans(rng.normal(size=(4, 60)), 4, importance_matrix=S)
    assert result.cost > 0


def refit(w, S, labels, codebooks, importances, zero_stays=False):
    n = w.shape[1]
    lower = S + np.eye(n)
    assert _core.cholesky(lower, 1) is None
    matrices = _core.ImportanceMatrices(S[None], lower[None], 1)
    return _core.refit_codebooks(matrices, w, codebooks, labels, importances, zero_stays, 1)


@pytest.mark.parametrize("n", [5, 64, 131])
@pytest.mark.parametrize("shared", [True, False])
def test_refit_is_least_squares(n, shared):
    rng = np.random.default_rng(n)
    rows, k = 50, 5
    S, w = covariance(rng, n), rng.normal(size=(rows, n))
    labels = rng.integers(0, k - 1, (rows, n)).astype(np.uint16)  # the last cluster is empty
    g = rng.uniform(0.5, 2, rows)
    codebooks = np.sort(rng.normal(size=(1 if shared else rows, k)), axis=1)
    refitted = refit(w, S, labels, codebooks, g)
    np.testing.assert_array_equal(refitted[:, -1], codebooks[:, -1])
    left, right = np.zeros((rows, k, k)), np.zeros((rows, k))
    for r in range(rows):
        P = np.eye(k)[labels[r]]
        left[r], right[r] = g[r] * P.T @ S @ P, g[r] * P.T @ S @ w[r]
    if shared:
        left, right = left.sum(0, keepdims=True), right.sum(0, keepdims=True)
    for i in range(len(codebooks)):
        used = np.flatnonzero(np.diagonal(left[i]))
        expected = np.linalg.lstsq(left[i][np.ix_(used, used)], right[i][used], rcond=None)[0]
        np.testing.assert_allclose(refitted[i, used], expected, rtol=1e-6, atol=1e-8)


def test_refit_of_a_singular_system_still_attains_the_least():
    rng = np.random.default_rng(11)
    direction = rng.normal(size=12)
    S = np.outer(direction, direction)  # one equation for three centroids
    w, labels = rng.normal(size=(1, 12)), rng.integers(0, 3, (1, 12)).astype(np.uint16)
    codebook = np.sort(rng.normal(size=(1, 3)))
    refitted = refit(w, S, labels, codebook, np.ones(1))
    assert np.isfinite(refitted).all()
    error = w[0] - refitted[0][labels[0]]
    assert abs(direction @ error) < 1e-9
    codebook[0, 1] = 0.0
    assert refit(w, S, labels, codebook, np.ones(1), zero_stays=True)[0, 1] == 0.0
