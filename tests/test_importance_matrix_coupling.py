"""Clustering under a matrix where errors of rows matter together, ``sum_rs G_rs E_r S E_s'``."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from wkmeans import _core
from wkmeans._kernels.matrix_cluster import cluster


def covariance(rng, n, share=1.0):
    x = rng.normal(size=(2 * n, n)) + rng.normal(size=(2 * n, 1)) * share
    return x.T @ x / len(x)


def coupling(rng, rows, share=2.0):
    """Correlations, of signs that differ."""
    found = covariance(rng, rows, share) * np.outer(*[rng.choice([-1.0, 1.0], rows)] * 2)
    roots = np.sqrt(np.diagonal(found))
    found = 0.8 * found / np.outer(roots, roots)
    np.fill_diagonal(found, 1.0)
    return found


def solve(w, k, S, g, C, n_threads=1, dtype="float64", include_zero=False):
    return cluster(
        w,
        k,
        importance_matrix=S,
        importance=g[:, None],
        per_row=False,
        centroid_dtype=dtype,
        include_zero=include_zero,
        n_threads=n_threads,
        coupling=C,
    )


def objective(w, found, S, g, C):
    scale = 1.0 if found.scale is None else np.float64(found.scale)
    errors = w - scale * found.centroids.astype(np.float64)[found.labels]
    gram = C * np.sqrt(np.outer(g, g))
    return float(np.sum((gram @ errors) * (errors @ S)))


@given(
    seed=seeds,
    rows=st.integers(1, 9),
    n=st.integers(1, 9),
    k=st.sampled_from([1, 2, 3, 7, 16]),
    dtype=st.sampled_from(["float64", "float32", "float16", "int8"]),
    include_zero=st.booleans(),
)
def test_cost_is_recomputed_and_never_above_that_of_rows_alone(
    seed, rows, n, k, dtype, include_zero
):
    rng = np.random.default_rng(seed)
    S, C = covariance(rng, n), coupling(rng, rows)
    w, g = rng.normal(size=(rows, n)), rng.uniform(0.01, 3, rows)
    found = solve(w, k, S, g, C, dtype=dtype, include_zero=include_zero)
    alone = solve(w, k, S, g, None, dtype=dtype, include_zero=include_zero)
    exact = objective(w, found, S, g, C)
    rounding = (1e-6 if dtype == "int8" else 1e-9) * exact + 1e-13 * float(np.sum(g) * np.trace(S))
    assert abs(found.cost - exact) <= rounding
    assert found.cost <= objective(w, alone, S, g, C) + rounding
    assert np.all(np.diff(found.centroids.astype(float)) >= 0)
    assert found.labels.max() < k
    assert not include_zero or np.any(found.centroids == 0)


def best_of_all(w, S, g, C, k):
    """The least objective over every labelling, codebooks by least squares."""
    whole = np.kron(C * np.sqrt(np.outer(g, g)), S)
    least = np.inf
    for labels in itertools.product(range(k), repeat=w.size):
        P = np.eye(k)[list(labels)]
        c = np.linalg.lstsq(P.T @ whole @ P, P.T @ whole @ w.ravel(), rcond=None)[0]
        errors = w.ravel() - P @ c
        least = min(least, float(errors @ whole @ errors))
    return least


def test_near_the_best_of_all_labellings():
    gaps = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        S, C = covariance(rng, 3), coupling(rng, 3)
        w, g = rng.normal(size=(3, 3)), rng.uniform(0.3, 2, 3)
        found, best = solve(w, 2, S, g, C), best_of_all(w, S, g, C, 2)
        assert found.cost >= best * (1 - 1e-9)
        gaps.append(found.cost / best)
    assert np.median(gaps) < 1.15
    assert sum(gap < 1 + 1e-9 for gap in gaps) >= 5


@pytest.mark.parametrize("k", [2, 4, 16])
def test_rows_together_are_worth_much(k):
    rng = np.random.default_rng(k)
    S, C = covariance(rng, 64), coupling(rng, 300)
    w, g = rng.normal(size=(300, 64)), rng.uniform(0.1, 2, 300)
    assert solve(w, k, S, g, C).cost < 0.75 * objective(w, solve(w, k, S, g, None), S, g, C)


def test_rows_that_do_not_meet_cost_what_they_do_alone():
    rng = np.random.default_rng(1)
    S, w, g = covariance(rng, 40), rng.normal(size=(30, 40)), rng.uniform(0.1, 2, 30)
    together, alone = solve(w, 4, S, g, np.eye(30)), solve(w, 4, S, g, None)
    assert 0.95 * alone.cost < together.cost <= alone.cost * (1 + 1e-12)


def test_threads_change_no_bit():
    rng = np.random.default_rng(2)
    S, C = covariance(rng, 70), coupling(rng, 90)
    w, g = rng.normal(size=(90, 70)), rng.uniform(0.1, 2, 90)
    one, other = (solve(w, 8, S, g, C, n_threads=t) for t in (1, 3))
    assert one.centroids.tobytes() == other.centroids.tobytes()
    assert one.labels.tobytes() == other.labels.tobytes()
    assert one.cost == other.cost


@given(seed=seeds, rows=st.integers(1, 6), n=st.integers(1, 70), k=st.integers(1, 9))
def test_descent_ends_where_no_label_gains_and_products_follow(seed, rows, n, k):
    rng = np.random.default_rng(seed)
    S, C = covariance(rng, n), coupling(rng, rows)
    w, codebook = rng.normal(size=(rows, n)), np.sort(rng.normal(size=k))
    gram = C * np.outer(*[np.sqrt(rng.uniform(0.1, 2, rows))] * 2)
    lower = S + np.eye(n)
    assert _core.cholesky(lower, 1) is None
    matrices = _core.ImportanceMatrices(S[None], lower[None], 1)
    labels = rng.integers(0, k, (rows, n)).astype(np.uint16)
    least = np.inf
    for sweeps in (1, 1, 1000):
        own = (w - codebook[labels]) @ S
        products = gram @ own
        _core.descend_coupled_labels(matrices, gram, codebook, sweeps, labels, products, own)
        errors = w - codebook[labels]
        scale = np.abs(gram).sum() * np.abs(S).sum()
        np.testing.assert_allclose(own, errors @ S, atol=1e-12 * np.abs(S).sum())
        np.testing.assert_allclose(products, gram @ errors @ S, atol=1e-12 * scale)
        total = float(np.sum(errors * products))
        assert total <= least + 1e-12 * scale
        least = total
    # Another centroid for one label: change d there, everything else as it is.
    d = codebook - codebook[labels][..., None]
    own_weight = np.outer(np.diagonal(gram), np.diagonal(S))[..., None]
    assert np.all(d * (d * own_weight - 2 * products[..., None]) >= -1e-10 * scale)


def test_what_the_kernel_is_given_is_checked():
    S = np.eye(3)
    matrices = _core.ImportanceMatrices(S[None], S[None], 1)
    good = {
        "coupling": np.eye(2),
        "codebook": np.array([0.0, 1.0]),
        "sweeps": 1,
        "labels": np.zeros((2, 3), np.uint16),
        "products": np.zeros((2, 3)),
        "own": np.zeros((2, 3)),
    }
    _core.descend_coupled_labels(matrices, **good)
    for name, bad in (
        ("coupling", np.eye(3)),
        ("codebook", np.zeros(0)),
        ("labels", np.full((2, 3), 2, np.uint16)),
        ("labels", np.zeros((1, 3), np.uint16)),
        ("products", np.zeros((2, 4))),
        ("own", np.zeros((3, 3))),
    ):
        with pytest.raises(ValueError, match="expected"):
            _core.descend_coupled_labels(matrices, **(good | {name: bad}))
