"""Half-precision weights in numbers that fill a histogram, against the same weights in float32.

Single precision holds them exactly and takes the way of the sort.
"""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from wkmeans import cost_curve, wkmeans

torch = pytest.importorskip("torch")

N = 70_001


def halves(dtype, shape=N, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(0.02 * rng.standard_t(5, shape)).to(dtype)


def importances(shape=N, seed=1):
    rng = np.random.default_rng(seed)
    return np.exp(rng.normal(-8, 3, shape)), np.exp(rng.normal(-4, 3, shape))


def assert_same(weights, k, **options):
    """As in single precision, up to the order in which importances are added.

    Which of two neighbours a centroid is stored as hangs on that order, too, where their costs
    differ by less than float64 can tell: near zero a step is that small.
    """
    half = wkmeans(weights, k, **options)
    single = wkmeans(weights.float(), k, **options)
    np.testing.assert_array_equal(half.labels, single.labels)
    found, expected = (c.centroids.float().numpy() for c in (half, single))
    np.testing.assert_array_max_ulp(found, expected, maxulp=1)
    np.testing.assert_allclose(half.cost, single.cost, rtol=2e-12)
    if single.lower_bound is not None:
        assert np.all(np.asarray(half.lower_bound) <= np.asarray(half.cost))
        np.testing.assert_allclose(half.lower_bound, single.lower_bound, rtol=1e-9)
    return half


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("quartic", [False, True])
@pytest.mark.parametrize("k", [1, 16, 300])
def test_every_weight_is_clustered_as_in_single_precision(dtype, quartic, k):
    I, H = importances()
    assert_same(halves(dtype), k, importance=I, quartic_importance=H if quartic else None)


@pytest.mark.parametrize(
    "options",
    [
        {"include_zero": True},
        {"centroid_dtype": "float8_e4m3fn"},
        {"centroid_dtype": "int8", "include_zero": True},
        {"solver": "lloyd"},
        {"importance": np.float32(2.0)},
        {"importance": np.zeros(1), "quartic_importance": np.zeros(N)},
        {"quartic_importance": np.ones(N, np.float32)},
    ],
)
def test_options(options):
    assert_same(halves(torch.bfloat16), 8, **options)


def test_numpy_and_torch_agree():
    weights = halves(torch.float16)
    assert wkmeans(weights.numpy(), 5).cost == wkmeans(weights, 5).cost


@pytest.mark.parametrize("axis", [0, 1])
def test_each_long_row_or_column_is_a_problem(axis):
    shape = (3, N) if axis == 1 else (N, 3)
    weights = halves(torch.bfloat16, shape)
    channel = np.exp(np.random.default_rng(2).normal(size=shape[1]))
    assert_same(weights, 7, axis=axis, importance=channel)
    assert_same(weights.t(), 7, axis=1 - axis, importance=importances(shape[::-1])[0])


def test_cost_curve():
    weights = halves(torch.bfloat16)
    I, H = importances()
    options = {"importance": I, "quartic_importance": H}
    np.testing.assert_allclose(
        cost_curve(weights, 6, **options), cost_curve(weights.float(), 6, **options), rtol=1e-10
    )


def test_both_zeros_are_one_weight():
    weights = torch.zeros(N, dtype=torch.bfloat16)
    weights[::2] = -0.0
    weights[7] = 1.0
    result = wkmeans(weights, 2)
    assert result.cost == result.lower_bound == 0
    np.testing.assert_array_equal(result.centroids, [0, 1])
    np.testing.assert_array_equal(result.labels, (weights == 1).to(torch.uint8))


def test_labels_are_the_nearest_of_tied_centroids():
    """Every bfloat16 between -2 and 2 a power of two apart, and the midpoints of the codebook."""
    grid = torch.linspace(-2, 2, 257).to(torch.bfloat16)
    weights = grid.repeat(300)
    init = np.linspace(-2, 2, 17)
    result = wkmeans(weights, 17, solver="lloyd", init=init, max_iter=0)
    np.testing.assert_array_equal(
        result.labels[:257], oracle.nearest_labels(grid.double().numpy(), result.centroids.numpy())
    )


def test_a_cost_is_that_of_its_terms():
    weights = halves(torch.float16)
    I, H = importances()
    result = wkmeans(weights, 16, importance=I, quartic_importance=H)
    distance = weights.numpy().astype(np.longdouble) - result.dequantize().numpy()
    cost = np.sum(I * distance**2 + H * distance**4)
    assert result.cost == pytest.approx(float(cost), rel=1e-13)
    assert result.cost >= cost


def test_results_are_the_same_for_every_number_of_threads():
    n = 5_000_000  # two parts
    weights = halves(torch.bfloat16, n)
    I = np.exp(np.random.default_rng(3).normal(-8, 3, n)).astype(np.float32)
    one, many = (wkmeans(weights, 16, importance=I, n_threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.centroids, many.centroids)
    np.testing.assert_array_equal(one.labels, many.labels)
    assert (one.cost, one.lower_bound) == (many.cost, many.lower_bound)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(dtype, bad):
    weights = halves(dtype)
    weights[50_000] = bad
    with pytest.raises(ValueError, match=r"weights: expected finite values.* at index 50000"):
        wkmeans(weights, 4)


@pytest.mark.parametrize("name", ["importance", "quartic_importance"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_importances_that_are_not_finite_and_non_negative(name, bad):
    values = np.ones(N)
    values[50_000] = bad
    with pytest.raises(ValueError, match=rf"^{name}: expected finite, non-neg.* at index 50000"):
        wkmeans(halves(torch.float16), 4, **{name: values})
