"""Rounding to a lattice with feedback of errors, against the definition in long doubles."""

from __future__ import annotations

import itertools

import feedback_oracle as oracle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from integer_oracle import next_state
from strategies import seeds

from wkmeans import _core
from wkmeans._kernels.feedback import TRELLIS_ERROR, factorised, lattice_feedback


def covariance(rng, n, decay=0.2):
    """Well-conditioned enough that no rounding decision of the oracle's hangs on the last bits."""
    factor = rng.normal(size=(n, n)) * np.exp(-decay * np.arange(n) * 8 / n)
    return factor @ factor.T + 0.05 * np.eye(n)


def near_a_tie(units):
    return np.any(np.abs(np.abs(units - np.floor(units)) - 0.5) < 1e-9)


@given(seed=seeds, n=st.integers(1, 9), rows=st.integers(1, 3), shuffled=st.booleans())
def test_rounds_as_the_definition_says(seed, n, rows, shuffled):
    rng = np.random.default_rng(seed)
    S, w = covariance(rng, n), rng.normal(size=(rows, n))
    order = rng.permutation(n) if shuffled else None
    steps, row_steps = rng.uniform(0.2, 2, n), rng.uniform(0.5, 2, rows)
    factor = factorised(S, damping=0.01, order=order)
    result = lattice_feedback(w, factor, row_steps=row_steps, column_steps=steps)
    damped = S + 0.01 * np.eye(n)
    columns = np.arange(n)[::-1] if order is None else order
    for r in range(rows):
        size = steps * row_steps[r]

        def choose(i, target, size=size):
            return np.rint(target / size[i]) * size[i]

        values, targets = oracle.feed_back(w[r], damped, columns, choose)
        if near_a_tie(targets / size):
            continue
        np.testing.assert_array_equal(result.integers[r], np.rint(values / size))
        expected = oracle.objective(w[r] - values, damped)
        np.testing.assert_allclose(result.costs[r], float(expected), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("n", [1, 7, 63, 64, 65, 129, 200])
def test_diagonal_of_the_factor_is_the_weight_of_a_column(n):
    S = covariance(np.random.default_rng(n), n)
    factor = factorised(S)
    inverse = [1 / np.linalg.inv(S[: i + 1, : i + 1])[i, i] for i in range(n)]
    np.testing.assert_allclose(factor.diagonal**2, inverse, rtol=1e-8)
    reordered = factorised(S[::-1, ::-1], order=np.arange(n))
    np.testing.assert_allclose(reordered.diagonal[::-1], factor.diagonal, rtol=1e-12)


@pytest.mark.parametrize("n", [65, 700])
def test_cost_is_that_of_the_values_across_blocks(n):
    rng = np.random.default_rng(n)
    S, w = covariance(rng, n), rng.normal(size=(101, n))
    factor = factorised(S)
    result = lattice_feedback(w, factor, row_steps=np.ones(101), column_steps=0.3 / factor.diagonal)
    values = result.integers * (0.3 / factor.diagonal)
    errors = w - values
    np.testing.assert_allclose(result.costs, np.einsum("ri,ij,rj->r", errors, S, errors), rtol=1e-9)
    # Waterfilling: c^2 / 12 a weight where steps are small against the spread, and less elsewhere.
    assert result.costs.mean() < 1.05 * n * 0.3**2 / 12


@given(seed=seeds, exponent=st.integers(-20, 20))
def test_scales_with_weights_and_matrix(seed, exponent):
    rng = np.random.default_rng(seed)
    S, w = covariance(rng, 12), rng.normal(size=(5, 12))
    scale = 2.0**exponent
    plain = factorised(S)
    options = {"row_steps": rng.uniform(0.5, 2, 5), "column_steps": 0.5 / plain.diagonal}
    one = lattice_feedback(w, plain, **options)
    other = lattice_feedback(w, factorised(S * scale**2), **options)
    np.testing.assert_array_equal(other.integers, one.integers)
    np.testing.assert_array_equal(other.costs, one.costs * scale**2)
    options["row_steps"] = options["row_steps"] * scale
    np.testing.assert_array_equal(
        lattice_feedback(w * scale, plain, **options).integers, one.integers
    )


def test_rows_are_independent_and_threads_change_nothing():
    rng = np.random.default_rng(5)
    S, w = covariance(rng, 150), rng.normal(size=(203, 150))
    row_steps = rng.uniform(0.5, 2, 203)
    results = []
    for threads in (1, 2, 5):
        factor = factorised(S, n_threads=threads)
        steps = 0.7 / factor.diagonal
        results.append(
            lattice_feedback(w, factor, row_steps=row_steps, column_steps=steps, n_threads=threads)
        )
    for other in results[1:]:
        np.testing.assert_array_equal(other.integers, results[0].integers)
        assert other.costs.tobytes() == results[0].costs.tobytes()
        assert other.best_factors.tobytes() == results[0].best_factors.tobytes()
    order = rng.permutation(203)
    permuted = lattice_feedback(w[order], factor, row_steps=row_steps[order], column_steps=steps)
    np.testing.assert_array_equal(permuted.integers, results[0].integers[order])


def test_factors_leave_the_least_error_to_the_integers_of_a_column():
    rng = np.random.default_rng(6)
    steps = rng.uniform(0.5, 2, 5)
    steps[0] = 100
    w = rng.normal(size=(400, 5))
    factor = factorised(np.diag(rng.uniform(1, 2, 5)))  # nothing to feed back: targets are weights
    found = lattice_feedback(w, factor, row_steps=np.ones(400), column_steps=steps)
    assert found.best_factors[0] == 1
    for i in range(1, 5):
        values = steps[i] * found.integers[:, i]
        least = np.linalg.lstsq(values[:, None], w[:, i])[0]
        np.testing.assert_allclose(found.best_factors[i], least[0], rtol=1e-12)


def every_path(rows):
    """Parities and second bits of all paths from state 0."""
    for seconds in itertools.product((0, 1), repeat=rows):
        state, path = 0, []
        for second in seconds:
            path.append((state & 1) + 2 * second)
            state = next_state(state, second)
        yield np.array(path)


def test_the_trellis_is_the_code_of_its_parity_checks():
    paths = list(every_path(9))
    assert len({tuple(path) for path in paths}) == 2**9
    for path in paths:
        p, s = np.pad(path & 1, (3, 0)), np.pad(path >> 1, (3, 0))
        assert not ((p[3:] + p[2:-1] + p[:-3] + s[1:-2]) % 2).any()


@given(seed=seeds, rows=st.integers(1, 8), spread=st.sampled_from([0.5, 2.0, 50.0]))
def test_no_path_of_a_trellis_is_nearer(seed, rows, spread):
    rng = np.random.default_rng(seed)
    w, steps = rng.normal(size=(rows, 1)) * spread, rng.uniform(0.5, 2, rows)
    found = lattice_feedback(
        w, factorised(np.eye(1)), row_steps=steps, column_steps=[0.7], block=rows
    )
    units = w[:, 0] / (0.7 * steps)
    least = min(
        np.square(units - (path + 4 * np.rint((units - path) / 4))).sum()
        for path in every_path(rows)
    )
    assert np.square(units - found.integers[:, 0]).sum() == pytest.approx(least, rel=1e-9)
    path = found.integers[:, 0] % 4
    assert any(np.array_equal(path, other) for other in every_path(rows))


@pytest.mark.parametrize("block", [1, 3, 50, 60, 203, 1000])
def test_blocks_do_not_matter_to_one_another(block):
    rng = np.random.default_rng(7)
    S, w = covariance(rng, 70), rng.normal(size=(203, 70))
    factor, row_steps = factorised(S), rng.uniform(0.5, 2, 203)
    steps = 0.7 / factor.diagonal
    results = [
        lattice_feedback(
            w, factor, row_steps=row_steps, column_steps=steps, block=block, n_threads=threads
        )
        for threads in (1, 3)
    ]
    assert results[1].costs.tobytes() == results[0].costs.tobytes()
    assert results[1].products.tobytes() == results[0].products.tobytes()
    values = results[0].integers * row_steps[:, np.newaxis] * steps
    errors = w - values
    np.testing.assert_allclose(
        results[0].costs, np.einsum("ri,ij,rj->r", errors, S, errors), rtol=1e-9
    )
    for start in range(0, 203, block):
        rows = slice(start, start + block)
        alone = lattice_feedback(
            w[rows], factor, row_steps=row_steps[rows], column_steps=steps, block=block
        )
        np.testing.assert_array_equal(results[0].integers[rows], alone.integers)


@pytest.mark.parametrize("rows", [40, 200])
def test_errors_of_rows_add_to_the_targets_of_rows_after_them(rows):
    """More rows than a path keeps errors of its own for."""
    rng = np.random.default_rng(rows)
    S, w = covariance(rng, 20), rng.normal(size=(rows, 20))
    G = covariance(rng, rows, decay=0.05)
    lower = np.linalg.cholesky(G[::-1, ::-1])  # the last is the first
    coefficients = np.ascontiguousarray((lower / np.diagonal(lower)).T[::-1, ::-1])
    own = np.diagonal(lower)[::-1] ** 2
    factor = factorised(S)
    options = {"row_steps": 0.7 / np.sqrt(own), "column_steps": 1 / factor.diagonal, "block": rows}
    found = lattice_feedback(w, factor, row_coefficients=coefficients, **options)
    alone = lattice_feedback(w, factor, **options)

    def cost(found):
        steps = options["row_steps"][:, np.newaxis] * options["column_steps"]
        errors = w - found.integers * steps
        return np.trace(G @ errors @ S @ errors.T)

    assert (own * found.costs).sum() == pytest.approx(cost(found), rel=1e-9)
    assert cost(found) < 1.2 * 20 * rows * TRELLIS_ERROR * 0.7**2 < cost(alone)


def test_a_long_trellis_errs_as_much_as_is_said():
    rng = np.random.default_rng(8)
    w = rng.normal(size=(20000, 1))
    found = lattice_feedback(
        w, factorised(np.eye(1)), row_steps=np.ones(20000), column_steps=[0.05], block=20000
    )
    assert found.costs.mean() == pytest.approx(TRELLIS_ERROR * 0.05**2, rel=0.02)


def test_refuses_what_it_cannot_do():
    factor = factorised(np.eye(3))
    fine = {"row_steps": [1.0], "column_steps": np.ones(3)}
    w = np.ones((1, 3))
    with pytest.raises(ValueError, match="importance_matrix: expected a positive definite"):
        factorised(np.diag([1.0, -1.0, 1.0]))
    with pytest.raises(ValueError, match="up to column 1 is not"):
        factorised(np.diag([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="order: expected a permutation of 0 to 2"):
        factorised(np.eye(3), order=[0, 0, 1])
    with pytest.raises(ValueError, match=r"weights: expected shape \(rows, 3\), got \(1, 2\)"):
        lattice_feedback(w[:, :2], factor, **fine)
    with pytest.raises(ValueError, match="weights: expected finite"):
        lattice_feedback(w * np.nan, factor, **fine)
    with pytest.raises(ValueError, match=r"row_steps: .*got 0.0 at index 0"):
        lattice_feedback(w, factor, **{**fine, "row_steps": [0.0]})
    with pytest.raises(ValueError, match=r"column_steps: expected shape \(3,\), got \(2,\)"):
        lattice_feedback(w, factor, **{**fine, "column_steps": [1.0, 1.0]})
    for wrong in ({"block": 0}, {"block": 1, "row_coefficients": np.zeros((2, 2))}):
        with pytest.raises(ValueError, match="block: expected at least one row"):
            lattice_feedback(np.ones((2, 3)), factor, **{**fine, "row_steps": [1, 1]}, **wrong)
    with pytest.raises(ValueError, match="row_coefficients: expected 1 values"):
        lattice_feedback(w, factor, **fine, block=1, row_coefficients=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="does not fit 32 bits"):
        lattice_feedback(w * 1e12, factor, **fine)


def test_a_matrix_is_not_modified():
    S = np.eye(70)
    factorised(S, damping=1.0)
    np.testing.assert_array_equal(S, np.eye(70))
    assert _core.cholesky(S.copy(), 1) is None
