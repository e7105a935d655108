"""prune against a stable sort of the scores."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import problems

from wkmeans import prune

densities = st.one_of(st.sampled_from([0.0, 0.05, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@given(data=st.data())
def test_keeps_exactly_the_largest_scores(dtype, data):
    problem = data.draw(problems(dtype=dtype))
    density = data.draw(densities)
    mask = prune(problem.weights, density, **problem.keywords)
    assert mask.dtype == np.bool_
    assert mask.shape == problem.weights.shape
    np.testing.assert_array_equal(
        mask, oracle.prune_mask(problem.weights, density, *problem.data[1:])
    )


@pytest.mark.parametrize("n", [1, 7, 64, 1001, 100_003])
@pytest.mark.parametrize("quantum", [None, 0.25, 4.0])
def test_many_weights(n, quantum):
    """Continuous scores, some ties, and almost nothing but ties at the threshold."""
    rng = np.random.default_rng(n)
    w = rng.standard_t(3, n)
    if quantum is not None:
        w = np.round(w / quantum) * quantum
    I, H = rng.integers(0, 3, (2, n)).astype(float)
    for density in (0.0, 0.01, 1 / 3, 0.5, 0.9, 0.999, 1.0):
        np.testing.assert_array_equal(
            prune(w, density, importance=I, quartic_importance=H),
            oracle.prune_mask(w, density, I, H),
        )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_are_in_double_precision(dtype):
    """Squares overflow and underflow the weights' own type, their scores must not."""
    limits = np.finfo(dtype)
    largest = min(float(limits.max), 1e70)
    w = np.array(
        [largest, largest / 2, float(limits.tiny), float(limits.tiny) * 2, 0.0, -1.0], dtype
    )
    for count in range(len(w) + 1):
        density = count / len(w)
        np.testing.assert_array_equal(
            prune(w, density, quartic_importance=np.full(len(w), 1e-3)),
            oracle.prune_mask(w, density, None, np.full(len(w), 1e-3)),
        )


def test_a_score_beyond_float64_is_refused_where_it_stands():
    w = np.ones((2, 50_000))  # more than one thread's share
    w[0, 41_000] = w[1, 7] = -1e160
    text = (
        r"^weights: expected scores I w\^2 \+ H w\^4 below 1.8e308, got -1e\+160 at index "
        r"\(0, 41000\); scale the weights or importances down$"
    )
    for options in ({"density": 0.5}, {"density": 0.5, "axis": 1}, {"pattern": (2, 4)}):
        for n_threads in (1, 3):
            with pytest.raises(OverflowError, match=text):
                prune(w, **options, n_threads=n_threads)


def test_an_infinite_power_counts_nothing_where_its_importance_is_zero():
    mask = prune(
        [1e200, 3.0, 1e100, 2.0], 0.5, importance=[0, 1, 1, 1.0], quartic_importance=[0, 1, 0, 1.0]
    )
    np.testing.assert_array_equal(mask, [False, True, True, False])


def test_the_count_is_pythons_round():
    for n in range(1, 30):
        w = np.random.default_rng(n).normal(size=n)
        for density in np.linspace(0, 1, 41):
            assert prune(w, density).sum() == round(density * n)
    assert prune(np.ones(5), 0.5).sum() == 2, "a half goes to the even count"
    assert prune(np.ones(7), 0.5).sum() == 4


def test_ties_go_to_the_smaller_index():
    np.testing.assert_array_equal(prune(np.array([1.0, -1, 1, -1]), 0.5), [1, 1, 0, 0])
    np.testing.assert_array_equal(prune(np.array([-0.0, 0, 0, 0]), 0.5), [1, 1, 0, 0])
    np.testing.assert_array_equal(prune(np.array([1.0, 2, -1, 1, 3]), 0.6), [1, 1, 0, 0, 1])


def test_importances_decide():
    w = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(prune(w, 1 / 3), [0, 0, 1])
    np.testing.assert_array_equal(prune(w, 1 / 3, importance=[10.0, 1.0, 1.0]), [1, 0, 0])
    np.testing.assert_array_equal(
        prune(w, 1 / 3, importance=[0.0, 0, 0], quartic_importance=[100.0, 7.0, 1.0]), [0, 1, 0]
    )


def test_a_weight_without_importance_goes_first():
    w = np.array([100.0, 0.001, 0.002])
    np.testing.assert_array_equal(prune(w, 2 / 3, importance=[0.0, 1.0, 1.0]), [0, 1, 1])


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("density", [0.0, 0.3, 0.5, 1.0])
def test_along_an_axis(axis, density):
    rng = np.random.default_rng(1)
    w = np.round(rng.normal(size=(4, 7, 10)), 1)
    I, H = rng.integers(0, 3, (2, 4, 7, 10)).astype(float)
    np.testing.assert_array_equal(
        prune(w, density, importance=I, quartic_importance=H, axis=axis),
        oracle.prune_mask(w, density, I, H, axis=axis),
    )


@pytest.mark.parametrize("pattern", [(1, 4), (2, 4), (3, 4), (4, 8), (1, 1), (0, 2), (4, 4)])
@pytest.mark.parametrize("shape", [(48,), (5, 16), (2, 3, 8)])
def test_patterns(pattern, shape):
    rng = np.random.default_rng(2)
    w = np.round(rng.normal(size=shape), 1)
    I, H = rng.integers(0, 3, (2, *shape)).astype(float)
    np.testing.assert_array_equal(
        prune(w, pattern=pattern, importance=I, quartic_importance=H),
        oracle.pattern_mask(w, pattern, I, H),
    )


@pytest.mark.parametrize("pattern", [(5, 4), (-1, 4), (1, 0), (2, 7)])
def test_patterns_that_cannot_be(pattern):
    """More than m of m, groups of nothing, groups that do not divide the last axis."""
    with pytest.raises(ValueError, match="pattern"):
        prune(np.ones((3, 8)), pattern=pattern)


@pytest.mark.parametrize("pattern", [(2, 4, 8), (4,), 4, "24", (0.5, 4)])
def test_patterns_are_two_whole_numbers(pattern):
    with pytest.raises((TypeError, ValueError), match="pattern"):
        prune(np.ones((3, 8)), pattern=pattern)


def test_a_pattern_and_another_density_contradict():
    with pytest.raises(ValueError, match="density"):
        prune(np.ones((3, 8)), 0.25, pattern=(2, 4))
    np.testing.assert_array_equal(
        prune(np.ones((3, 8)), 0.5, pattern=(2, 4)), prune(np.ones((3, 8)), pattern=(2, 4))
    )


@given(st.lists(problems(max_size=8), min_size=1, max_size=4), densities)
def test_a_mapping_shares_one_budget(parts, density):
    names = [f"layer{i}" for i in range(len(parts))]
    # One column each, so that shapes matter; importances of absent kinds are written out.
    weights = {n: p.weights[:, None] for n, p in zip(names, parts, strict=True)}
    I, H = (
        {
            n: np.full(p.weights[:, None].shape, default) if part is None else part[:, None]
            for n, p, part in zip(names, parts, which, strict=True)
        }
        for which, default in (
            ([p.importance for p in parts], 1.0),
            ([p.quartic for p in parts], 0.0),
        )
    )
    masks = prune(weights, density, importance=I, quartic_importance=H)
    w, i, h = (np.concatenate([x[n].ravel() for n in names]) for x in (weights, I, H))
    expected = oracle.prune_mask(w, density, i, h)
    assert list(masks) == names
    assert all(masks[n].shape == weights[n].shape for n in names)
    np.testing.assert_array_equal(np.concatenate([masks[n].ravel() for n in names]), expected)


def test_a_mapping_of_different_precisions():
    rng = np.random.default_rng(3)
    weights = {
        "half": rng.normal(size=(3, 4)).astype(np.float16),
        "single": rng.normal(size=11).astype(np.float32),
        "double": rng.normal(size=(2, 2, 2)),
    }
    masks = prune(weights, 0.4)
    together = np.concatenate([w.ravel().astype(np.float64) for w in weights.values()])
    np.testing.assert_array_equal(
        np.concatenate([m.ravel() for m in masks.values()]), oracle.prune_mask(together, 0.4)
    )


@pytest.mark.parametrize("density", [-0.01, 1.01, np.nan, np.inf])
def test_density_out_of_range(density):
    with pytest.raises(ValueError, match="density"):
        prune(np.ones(4), density)
