"""Correlated weights and data: rotations, and the order of the bounds."""

import math

import numpy as np
import pytest
from hypothesis import given
from rate_distortion_cases import (
    EXACT,
    N_SAMPLES,
    Z_LIMIT,
    model_distortion,
    problems,
    random_covariance,
)

from wkmeans.rate_distortion import (
    channel_information,
    compress_linear,
    decorrelate,
    gaussian_bound,
    linear_bound,
    linear_bound_full,
)


@given(problems())
def test_diagonal_covariances_need_no_rotation(problem):
    distortion, weight_variances, data_variances = problem
    bound = linear_bound(*problem)
    full = linear_bound_full(distortion, np.diag(weight_variances), np.diag(data_variances))
    assert full.rate == pytest.approx(bound.rate, rel=EXACT, abs=EXACT)
    assert full.water_level == pytest.approx(bound.water_level, rel=EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_small_distortion_closed_form(seed):
    """All rectangles open: R = (log2 det(Sigma_W Sigma_X) - m log2(D / m)) / 2."""
    rng = np.random.default_rng(seed)
    size, distortion = 6, 0.5
    weights, data = (random_covariance(rng, size) for _ in range(2))
    expected = np.log2(np.linalg.det(weights @ data) / (distortion / size) ** size) / 2
    assert linear_bound_full(distortion, weights, data).rate == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_rate_does_not_depend_on_the_coordinates(seed):
    """f_w(x) = w'x keeps its value under w -> A'w, x -> A^{-1}x, so R(D) keeps its own."""
    rng = np.random.default_rng(seed)
    weights, data = (random_covariance(rng, 4) for _ in range(2))
    change = rng.standard_normal((4, 4)) + 3 * np.eye(4)
    inverse = np.linalg.inv(change)
    distortions = np.geomspace(0.01, 2 * np.trace(weights @ data), 20)
    moved = linear_bound_full(distortions, change.T @ weights @ change, inverse @ data @ inverse.T)
    here = linear_bound_full(distortions, weights, data)
    np.testing.assert_allclose(moved.rate, here.rate, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_decorrelate(seed):
    rng = np.random.default_rng(seed)
    weights, data = random_covariance(rng, 5, 1e4), random_covariance(rng, 5, 1e4)
    rotation = decorrelate(weights, data)
    np.testing.assert_allclose(rotation.forward @ rotation.backward, np.eye(5), atol=1e-10)
    rotated = rotation.forward.T @ weights @ rotation.forward
    scale = rotation.weight_variances[0]
    np.testing.assert_allclose(rotated, np.diag(rotation.weight_variances), atol=1e-11 * scale)
    distortion_matrix = rotation.backward @ data @ rotation.backward.T
    np.testing.assert_allclose(distortion_matrix, np.eye(5), atol=1e-10)


@pytest.mark.parametrize("distortion", [0.5, 5.0, 40.0])
def test_algorithm_1_in_rotated_coordinates_attains_the_rate_distortion_function(distortion):
    rng = np.random.default_rng(int(distortion))
    weight_covariance, data_covariance = random_covariance(rng, 4), random_covariance(rng, 4)
    weights = rng.multivariate_normal(np.zeros(4), weight_covariance, N_SAMPLES)
    rotation = decorrelate(weight_covariance, data_covariance)
    variances, ones = rotation.weight_variances, np.ones(4)
    rotated = compress_linear(weights @ rotation.forward, distortion, variances, ones, rng)
    measured = model_distortion(weights, rotated @ rotation.backward, data_covariance)
    assert abs(measured.mean() - distortion) < Z_LIMIT * measured.std() / math.sqrt(N_SAMPLES)
    bound = linear_bound_full(distortion, weight_covariance, data_covariance)
    assert channel_information(variances, bound.levels) == pytest.approx(bound.rate, abs=1e-11)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.001, 0.1, 0.4, 0.9])
def test_order_of_the_bounds_for_correlated_weights(seed, share):
    """Theorem 2 <= R(D) < Algorithm 1's independent channels; tight while D is small."""
    rng = np.random.default_rng(seed)
    covariance, data = random_covariance(rng, 4), rng.uniform(0.5, 2, 4)
    variances = np.diagonal(covariance)
    distortion = share * float(variances @ data)
    levels = linear_bound(distortion, variances, data).levels
    theorem_2 = gaussian_bound(covariance, levels)
    exact = linear_bound_full(distortion, covariance, np.diag(data)).rate
    attainable = np.linalg.eigvalsh(covariance - np.diag(levels))[0] >= 0
    assert attainable == (abs(exact - theorem_2) < 1e-10)
    assert theorem_2 <= exact + 1e-10
    assert exact < channel_information(covariance, levels)
