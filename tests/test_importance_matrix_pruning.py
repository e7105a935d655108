"""Pruning under a whole importance matrix, and compensation for what was pruned."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

import wkmeans


def covariance(rng, n, samples=None):
    x = rng.normal(size=(samples or 2 * n, n)) * rng.uniform(0.3, 2, n)
    x = x + rng.normal(size=(len(x), 1))
    return x.T @ x / len(x)


def objective(errors, S, importance=1.0):
    matrices = np.broadcast_to(S, (len(errors), *np.shape(S)[-2:]))
    return np.einsum("ri,rij,rj->r", errors, matrices, errors) * np.ravel(importance)


@given(
    seed=seeds,
    rows=st.integers(1, 5),
    n=st.sampled_from([4, 8, 12]),
    density=st.floats(0, 1),
    axis=st.sampled_from([None, -1]),
    own=st.booleans(),
)
def test_keeps_as_many_and_is_never_above_the_diagonal_mask(seed, rows, n, density, axis, own):
    rng = np.random.default_rng(seed)
    S = np.stack([covariance(rng, n) for _ in range(rows)]) if own else covariance(rng, n)
    w, g = rng.normal(size=(rows, n)), rng.uniform(0.1, 2, (rows, 1))
    mask = wkmeans.prune(w, density, importance_matrix=S, importance=g, axis=axis)
    diagonal = g * np.diagonal(S, axis1=-2, axis2=-1)
    before = wkmeans.prune(w, density, importance=diagonal, axis=axis)
    np.testing.assert_array_equal(mask.sum(axis=axis), before.sum(axis=axis))
    now = objective(np.where(mask, 0, w), S, g)
    then = objective(np.where(before, 0, w), S, g)
    if axis is None:
        now, then = now.sum(), then.sum()
    assert np.all(now <= then * (1 + 1e-12))


@given(seed=seeds, own=st.booleans())
def test_patterns(seed, own):
    rng = np.random.default_rng(seed)
    S = np.stack([covariance(rng, 8) for _ in range(6)]) if own else covariance(rng, 8)
    w = rng.normal(size=(6, 8))
    mask = wkmeans.prune(w, pattern=(2, 4), importance_matrix=S)
    np.testing.assert_array_equal(mask.reshape(6, 2, 4).sum(-1), 2)
    diagonal = np.broadcast_to(np.diagonal(S, axis1=-2, axis2=-1), w.shape)
    before = wkmeans.prune(w, pattern=(2, 4), importance=diagonal)
    now, then = (objective(np.where(m, 0, w), S) for m in (mask, before))
    assert np.all(now <= then * (1 + 1e-12))


def test_finds_most_of_what_the_best_mask_gains():
    found, best, before = 0.0, 0.0, 0.0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        S, w = covariance(rng, 8), rng.normal(size=(1, 8))
        mask = wkmeans.prune(w, 0.5, importance_matrix=S)
        diagonal = wkmeans.prune(w, 0.5, importance=np.diag(S)[None])
        found += objective(np.where(mask, 0, w), S)[0]
        before += objective(np.where(diagonal, 0, w), S)[0]
        best += min(
            objective(np.where(np.isin(np.arange(8), gone), w, 0), S)[0]
            for gone in itertools.combinations(range(8), 4)
        )
    assert best <= found <= before
    assert before - found > 0.7 * (before - best)


def test_a_diagonal_matrix_prunes_as_importances_do():
    rng = np.random.default_rng(1)
    w, d = rng.normal(size=(10, 30)), rng.uniform(0.1, 2, 30)
    for axis in (None, -1):
        np.testing.assert_array_equal(
            wkmeans.prune(w, 0.3, importance_matrix=np.diag(d), axis=axis),
            wkmeans.prune(w, 0.3, importance=d, axis=axis),
        )


@given(seed=seeds, own=st.booleans(), singular=st.booleans(), equal=st.booleans())
def test_compensation_solves_the_normal_equations(seed, own, singular, equal):
    rng = np.random.default_rng(seed)
    rows, n = 5, 9
    samples = 4 if singular else 30
    S = (
        np.stack([covariance(rng, n, samples) for _ in range(rows)])
        if own
        else covariance(rng, n, samples)
    )
    w = rng.normal(size=(rows, n))
    mask = rng.random((1 if equal else rows, n)) < 0.6
    mask = np.ascontiguousarray(np.broadcast_to(mask, w.shape))
    v = wkmeans.compensate(w, mask, importance_matrix=S)
    assert not v[~mask].any()
    for r in range(rows):
        one, kept = (S[r] if own else S), mask[r]
        gradient = one[kept] @ (w[r] - v[r])
        assert np.abs(gradient).max(initial=0) < 1e-9 * np.abs(one).max()
        expected = np.linalg.pinv(one[np.ix_(kept, kept)], hermitian=True) @ one[kept] @ w[r]
        if not singular:
            np.testing.assert_allclose(v[r][kept], expected, rtol=1e-7, atol=1e-9)
    assert np.all(objective(w - v, S) <= objective(np.where(mask, 0, w), S) * (1 + 1e-9) + 1e-12)


def test_nothing_pruned_changes_nothing_and_inputs_stay():
    rng = np.random.default_rng(3)
    S, w = covariance(rng, 6), rng.normal(size=(4, 6)).astype(np.float32)
    mask = np.ones(w.shape, bool)
    mask[1] = False
    before = w.copy(), S.copy(), mask.copy()
    v = wkmeans.compensate(w, mask, importance_matrix=S)
    assert v.dtype == np.float32
    np.testing.assert_array_equal(v[[0, 2, 3]], w[[0, 2, 3]])
    np.testing.assert_array_equal(v[1], 0)
    for now, then in zip((w, S, mask), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    S, w = covariance(rng, 8), torch.from_numpy(rng.normal(size=(3, 8))).bfloat16()
    mask = wkmeans.prune(w, 0.5, importance_matrix=torch.from_numpy(S))
    assert mask.dtype == torch.bool
    v = wkmeans.compensate(w, mask, importance_matrix=torch.from_numpy(S))
    assert v.dtype == torch.bfloat16
    assert not v[~mask].any()


def test_bad_arguments():
    w, S = np.arange(8.0).reshape(2, 4), np.eye(4)
    mask = np.ones((2, 4), bool)
    for call, message in (
        (lambda: wkmeans.prune(w, 0.5, importance_matrix=-S), "importance_matrix: .*semidefinite"),
        (lambda: wkmeans.prune(w, 0.5, importance_matrix=S[:3]), "importance_matrix: .*shape"),
        (lambda: wkmeans.prune(w, 1.5, importance_matrix=S), "density: expected 0 to 1"),
        (lambda: wkmeans.prune(w, 0.5, importance_matrix=S, axis=0), "axis: expected None or -1"),
        (lambda: wkmeans.prune(w, pattern=(2, 3), importance_matrix=S), "pattern: expected m to"),
        (lambda: wkmeans.prune({"a": w}, 0.5, importance_matrix=S), "importance_matrix: .*mapping"),
        (lambda: wkmeans.compensate(w, mask[:1], importance_matrix=S), "mask: .*shape"),
        (lambda: wkmeans.compensate(w - np.inf, mask, importance_matrix=S), "weights: .*finite"),
        (lambda: wkmeans.compensate(w, mask, importance_matrix=S * np.nan), "importance_matrix: "),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="mask: expected booleans, got float64"):
        wkmeans.compensate(w, w, importance_matrix=S)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_what_a_singular_matrix_does_not_see_is_zero(rank):
    """By the pseudo-inverse in every row: where all is kept, and where what goes was zero."""
    rng = np.random.default_rng(rank)
    x = rng.normal(size=(rank, 7))
    S, w = x.T @ x, rng.normal(size=(4, 7))
    mask = rng.random((4, 7)) < 0.6
    mask[0] = True
    w[1, ~mask[1]] = 0
    found = wkmeans.compensate(w, mask, importance_matrix=S)
    for row, kept, got in zip(w, mask, found, strict=True):
        expected = np.linalg.pinv(S[np.ix_(kept, kept)], rcond=1e-12) @ S[kept] @ row
        np.testing.assert_allclose(got[kept], expected, rtol=1e-9, atol=1e-12)
        assert not got[~kept].any()


def test_importances_of_zero_count_one_where_nothing_else_does():
    rng = np.random.default_rng(5)
    S, w = covariance(rng, 8), rng.normal(size=(3, 8))
    plain = wkmeans.prune(w, 0.5, importance_matrix=S, axis=-1)
    some = wkmeans.prune(w, 0.5, importance_matrix=S, axis=-1, importance=[[1.0], [0.0], [2.0]])
    np.testing.assert_array_equal(some, plain)
    together = wkmeans.prune(w, 0.5, importance_matrix=S, importance=np.zeros((3, 1)))
    np.testing.assert_array_equal(together, wkmeans.prune(w, 0.5, importance_matrix=S))
    # A row that does not matter goes where all rows compete.
    mixed = wkmeans.prune(w, 0.5, importance_matrix=S, importance=[[1.0], [0.0], [1.0]])
    assert mixed.sum() == 12 and mixed[1].sum() <= 2
    nothing = wkmeans.prune(w, 0.5, importance_matrix=np.zeros((8, 8)))
    np.testing.assert_array_equal(nothing, wkmeans.prune(w, 0.5))
