"""Algorithm 1 against the distortion and the rate that Theorem 2 promises."""

import math

import numpy as np
import pytest
from rate_distortion_cases import (
    FIGURE_6,
    N_SAMPLES,
    Z_LIMIT,
    model_distortion,
)

from wkmeans.rate_distortion import (
    compress_linear,
    linear_bound,
)


@pytest.mark.parametrize("distortion", [1.5, 3.0, 6.0, 9.0, 12.0])
def test_compressor_meets_the_distortion(distortion):
    rng = np.random.default_rng(int(distortion * 10))
    weights = rng.standard_normal((N_SAMPLES, 3)) * np.sqrt(FIGURE_6)
    compressed = compress_linear(weights, distortion, FIGURE_6, FIGURE_6, rng)
    measured = model_distortion(weights, compressed, np.diag(FIGURE_6))
    standard_error = measured.std() / math.sqrt(N_SAMPLES)
    assert abs(measured.mean() - distortion) < Z_LIMIT * standard_error


@pytest.mark.parametrize("distortion", [1.5, 3.0, 6.0, 9.0, 12.0])
def test_compressor_meets_the_rate(distortion):
    """Gaussian information from the sample covariance of (W, W_hat), across coordinates too."""
    rng = np.random.default_rng(int(distortion * 10) + 1)
    weights = rng.standard_normal((N_SAMPLES, 3)) * np.sqrt(FIGURE_6)
    compressed = compress_linear(weights, distortion, FIGURE_6, FIGURE_6, rng)
    bound = linear_bound(distortion, FIGURE_6, FIGURE_6)
    kept = bound.levels < FIGURE_6
    joint = np.hstack([weights, compressed[:, kept]])
    parts = [np.atleast_2d(np.cov(part.T)) for part in (weights, compressed[:, kept], joint)]
    logdets = [np.linalg.slogdet(part)[1] for part in parts]
    measured = (logdets[0] + logdets[1] - logdets[2]) / math.log(4)
    # Fisher: the estimate's variance is the sum of squared correlations over n, in squared nats.
    squared_correlations = 1 - bound.levels / FIGURE_6
    standard_error = math.sqrt(squared_correlations.sum() / N_SAMPLES) / math.log(2)
    bias = 3 * kept.sum() / (2 * N_SAMPLES * math.log(2))
    assert abs(measured - bias - bound.rate) < Z_LIMIT * standard_error


def test_compressed_weights_are_independent_of_their_error():
    """Golden rule 1, as Algorithm 1 has it: E[W_hat (W - W_hat)] = 0, and the variances split."""
    distortion = 6.0
    rng = np.random.default_rng(6)
    weights = rng.standard_normal((N_SAMPLES, 3)) * np.sqrt(FIGURE_6)
    compressed = compress_linear(weights, distortion, FIGURE_6, FIGURE_6, rng)
    levels = linear_bound(distortion, FIGURE_6, FIGURE_6).levels
    products = compressed * (weights - compressed)
    standard_error = products.std(axis=0) / math.sqrt(N_SAMPLES)
    assert np.all(np.abs(products.mean(axis=0)) <= Z_LIMIT * standard_error)
    relative_error = math.sqrt(2 / N_SAMPLES)
    for variance, expected in [
        (compressed.var(axis=0), FIGURE_6 - levels),
        ((weights - compressed).var(axis=0), levels),
    ]:
        assert np.all(np.abs(variance - expected) <= Z_LIMIT * relative_error * expected)


def test_distortion_needs_only_second_moments():
    """Two-valued weights, nothing like Gaussian, meet the same distortion."""
    rng = np.random.default_rng(7)
    weights = rng.choice([-1.0, 1.0], size=(N_SAMPLES, 3)) * np.sqrt(FIGURE_6)
    compressed = compress_linear(weights, 6.0, FIGURE_6, FIGURE_6, rng)
    measured = model_distortion(weights, compressed, np.diag(FIGURE_6))
    assert abs(measured.mean() - 6.0) < Z_LIMIT * measured.std() / math.sqrt(N_SAMPLES)


def test_full_rectangles_are_discarded_and_open_ones_are_not():
    """The algorithm as printed has this the wrong way round."""
    rng = np.random.default_rng(8)
    compressed = compress_linear(rng.standard_normal((100, 3)), 5.0, FIGURE_6, FIGURE_6, rng)
    assert np.all(compressed[:, 2] == 0)
    assert np.all(compressed[:, :2] != 0)


def test_beyond_the_largest_distortion_nothing_is_sent():
    weights = np.ones((4, 3))
    assert not compress_linear(weights, 14.0, FIGURE_6, FIGURE_6, 0).any()
    assert not compress_linear(weights, 99.0, FIGURE_6, FIGURE_6, 0).any()


def test_tiny_distortion_gives_the_weights_back():
    weights = np.array([1.0, -2.0, 0.5])
    compressed = compress_linear(weights, 1e-20, FIGURE_6, FIGURE_6, 0)
    np.testing.assert_allclose(compressed, weights, atol=1e-8)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (0, 3), (2, 4, 3)])
def test_compressor_shapes_and_seeds(shape):
    weights = np.random.default_rng(9).standard_normal(shape).astype(np.float32)
    weights.flags.writeable = False
    before = weights.copy()
    first = compress_linear(weights, 2.0, FIGURE_6, FIGURE_6, np.random.default_rng(1))
    again = compress_linear(weights, 2.0, FIGURE_6, FIGURE_6, 1)
    assert (first.shape, first.dtype) == (shape, np.float64)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(weights, before)
