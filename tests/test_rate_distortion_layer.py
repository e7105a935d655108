"""`layer_bound`: Theorem 2 in the eigenbasis of the inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rate_distortion_cases import EXACT, random_covariance
from strategies import seeds

from wkmeans.rate_distortion import layer_bound, linear_bound, linear_bound_full


@given(seed=seeds, n=st.integers(1, 8), share=st.floats(1e-4, 2), variance=st.floats(1e-3, 1e3))
def test_uncorrelated_inputs_are_those_of_linear_bound(seed, n, share, variance):
    data = np.random.default_rng(seed).uniform(0.1, 10, n)
    distortion = share * variance * data.sum()
    layer = layer_bound(distortion, variance, np.diag(data))
    plain = linear_bound(distortion, np.full(n, variance), np.sort(data))
    assert layer.rate == pytest.approx(plain.rate, rel=EXACT, abs=EXACT)
    assert layer.water_level == pytest.approx(plain.water_level, rel=EXACT)
    np.testing.assert_allclose(layer.levels, plain.levels, rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_closed_forms(seed):
    rng = np.random.default_rng(seed)
    n, variance = 7, rng.uniform(0.1, 5)
    covariance = random_covariance(rng, n)
    eigenvalues = np.linalg.eigvalsh(covariance)
    # The water below every eigenvalue: R = (log2 det(s^2 C) - n log2(D / n)) / 2.
    distortion = n * variance * eigenvalues[0] / 2
    expected = np.log2(np.prod(variance * eigenvalues) / (distortion / n) ** n) / 2
    assert layer_bound(distortion, variance, covariance).rate == pytest.approx(expected, rel=EXACT)
    # Any water level tau, as the formulas have it.
    tau = variance * np.sqrt(eigenvalues[2] * eigenvalues[3])
    distortion = np.minimum(variance * eigenvalues, tau).sum()
    bound = layer_bound(distortion, variance, covariance)
    rate = np.log2(np.maximum(1, variance * eigenvalues / tau)).sum() / 2
    assert bound.rate == pytest.approx(rate, rel=1e-9)
    assert bound.water_level == pytest.approx(tau, rel=1e-9)
    np.testing.assert_allclose(bound.levels @ eigenvalues, distortion, rtol=1e-9)
    # From the whole variance on nothing need be sent.
    assert layer_bound(variance * eigenvalues.sum() * 1.01, variance, covariance).rate == 0


@given(seed=seeds)
def test_agrees_with_the_bound_for_any_two_covariances(seed):
    rng = np.random.default_rng(seed)
    covariance = random_covariance(rng, 5)
    distortions = np.geomspace(0.01, 2, 9) * np.trace(covariance)
    layer = layer_bound(distortions, 0.7, covariance)
    full = linear_bound_full(distortions, 0.7 * np.eye(5), covariance)
    np.testing.assert_allclose(layer.rate, full.rate, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(layer.water_level, full.water_level, rtol=1e-8)
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    turned = layer_bound(distortions, 0.7, rotation @ covariance @ rotation.T)
    np.testing.assert_allclose(turned.rate, layer.rate, rtol=1e-8, atol=1e-8)


def test_directions_without_inputs_are_free():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 8))
    covariance = x.T @ x / 3
    seen = np.linalg.eigvalsh(covariance)[-3:]
    bound = layer_bound([0.1, 0.5], 2.0, covariance)
    plain = linear_bound([0.1, 0.5], np.full(3, 2.0), seen)
    np.testing.assert_allclose(bound.rate, plain.rate, rtol=1e-9)
    assert bound.levels.shape == (2, 8)
    np.testing.assert_array_equal(bound.levels[:, :5], 2.0)
    np.testing.assert_allclose(bound.levels[:, 5:], plain.levels, rtol=1e-9)
    nothing = layer_bound(0.1, 2.0, np.zeros((3, 3)))
    assert nothing.rate == 0
    np.testing.assert_array_equal(nothing.levels, 2.0)


def test_bad_arguments():
    fine = {"distortion": 1.0, "weight_variance": 1.0, "input_covariance": np.eye(3)}
    for name, value, message in (
        ("distortion", 0.0, "distortion: expected positive"),
        ("weight_variance", -1.0, "weight_variance: expected positive"),
        ("weight_variance", np.ones(3), "weight_variance: expected one number"),
        ("input_covariance", np.ones((2, 3)), "input_covariance: expected a square matrix"),
        ("input_covariance", [[1, 2], [0, 1]], "input_covariance: expected a symmetric"),
        (
            "input_covariance",
            [[1, 2], [2, 1]],
            "input_covariance: expected a positive semidef",
        ),
        ("input_covariance", np.full((2, 2), np.nan), "input_covariance: expected finite"),
    ):
        with pytest.raises(ValueError, match=message):
            layer_bound(**{**fine, name: value})
