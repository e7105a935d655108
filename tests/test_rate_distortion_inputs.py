"""Variances, covariances, distortions and levels that cannot be."""

import math

import numpy as np
import pytest

from wkmeans.rate_distortion import (
    channel_information,
    compress_linear,
    gaussian_bound,
    linear_bound,
    linear_bound_full,
)

GOOD = {"distortion": 1.0, "weight_variances": [1.0, 2.0], "data_variances": [3.0, 1.0]}


@pytest.mark.parametrize("function", ["bound", "compressor"])
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"distortion": 0.0}, ValueError, r"distortion: expected positive.*got 0\.0"),
        ({"distortion": -1.0}, ValueError, r"distortion: expected positive.*got -1\.0"),
        (
            {"distortion": math.nan},
            ValueError,
            "distortion: expected positive, finite .* got nan",
        ),
        (
            {"distortion": math.inf},
            ValueError,
            "distortion: expected positive, finite .* got inf",
        ),
        ({"distortion": 5e-324}, ValueError, "distortion: expected large enough"),
        ({"distortion": "1"}, TypeError, "distortion: expected real"),
        ({"distortion": None}, TypeError, "distortion: expected real"),
        ({"weight_variances": [1, -2]}, ValueError, r"weight_variances: .*got -2\.0 at index 1"),
        ({"weight_variances": [0, 2]}, ValueError, r"weight_variances: .*got 0\.0 at index 0"),
        ({"weight_variances": [1, math.nan]}, ValueError, "weight_variances: .*got nan at index 1"),
        ({"data_variances": [1, math.inf]}, ValueError, "data_variances: .*got inf at index 1"),
        ({"data_variances": [-1, 0]}, ValueError, r"data_variances: .*got -1\.0 at index 0"),
        ({"data_variances": [1]}, ValueError, r"data_variances: .*\(2,\), got \(1,\)"),
        ({"data_variances": 1.0}, ValueError, r"data_variances: .*\(2,\), got \(\)"),
        ({"weight_variances": []}, ValueError, "weight_variances: .*not empty"),
        ({"weight_variances": 1.0}, ValueError, "weight_variances: .*one dimension"),
        ({"weight_variances": np.eye(2)}, ValueError, "weight_variances: expected positive"),
        ({"weight_variances": np.ones((2, 2))}, ValueError, "weight_variances: .*one dimension"),
        ({"weight_variances": [1j, 1]}, TypeError, "weight_variances: .*complex"),
        ({"weight_variances": [True, True]}, TypeError, "weight_variances: .*bool"),
        (
            {"weight_variances": [1.0, 1e200], "data_variances": [1.0, 1e200]},
            ValueError,
            r"weight_variances \* data_variances: .*got inf at index 1",
        ),
    ],
)
def test_bad_variances_and_distortions(function, bad, error, message):
    arguments = {**GOOD, **bad}
    with pytest.raises(error, match=message):
        if function == "bound":
            linear_bound(**arguments)
        else:
            compress_linear([0.0, 1.0], **arguments, rng=0)


def test_bad_entry_of_a_curve_is_named():
    with pytest.raises(ValueError, match=r"distortion: .*got -1\.0 at index \(1, 0\)"):
        linear_bound([[1.0, 2.0], [-1.0, 0.0]], [1.0], [1.0])


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (
            [[1.0, math.nan]],
            ValueError,
            r"weights: expected finite .* nan at index \(0, 1\)",
        ),
        ([-math.inf, 1.0], ValueError, "weights: expected finite numbers, got -inf at index 0"),
        ([1.0, 2.0, 3.0], ValueError, r"weights: expected a last axis of 2.*\(3,\)"),
        (1.0, ValueError, "weights: expected a last axis of 2"),
        (["a", "b"], TypeError, "weights: expected real"),
    ],
)
def test_bad_weights(weights, error, message):
    with pytest.raises(error, match=message):
        compress_linear(weights, **GOOD, rng=0)


def test_the_compressor_takes_one_distortion():
    with pytest.raises(ValueError, match=r"distortion: expected one number, got shape \(2,\)"):
        compress_linear([0.0, 1.0], **{**GOOD, "distortion": [1.0, 2.0]}, rng=0)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        ([[1.0, 0.5]], r"square matrix, got shape \(1, 2\)"),
        ([[1.0, 2.0], [2.0, 1.0]], "positive definite matrix, got smallest eigenvalue -1"),
        ([[1.0, 1.0], [1.0, 1.0]], "positive definite"),
        (np.ones((3, 3)) * 0.1 + 1e-17 * np.eye(3), "positive definite"),
        ([[1.0, 0.5], [0.4, 1.0]], r"symmetric matrix, got 0.5 at index \(0, 1\)"),
        ([[1.0, math.nan], [0.4, 1.0]], r"finite numbers, got nan at index \(0, 1\)"),
    ],
)
def test_bad_covariances(covariance, message):
    with pytest.raises(ValueError, match=f"weight_covariance: expected .*{message}"):
        linear_bound_full(1.0, covariance, np.eye(2))
    with pytest.raises(ValueError, match=f"data_covariance: expected .*{message}"):
        linear_bound_full(1.0, np.eye(2), covariance)
    with pytest.raises(ValueError, match=f"weight_covariance: expected .*{message}"):
        gaussian_bound(covariance, [1.0, 1.0])


def test_covariances_of_different_sizes():
    with pytest.raises(ValueError, match="data_covariance: expected the shape"):
        linear_bound_full(1.0, np.eye(2), np.eye(3))


@pytest.mark.parametrize(
    ("function", "name"),
    [(channel_information, "levels"), (gaussian_bound, "coordinate_distortions")],
)
def test_bad_levels(function, name):
    with pytest.raises(ValueError, match=rf"{name}: expected the shape .*\(2,\), got \(3,\)"):
        function([1.0, 1.0], [0.1, 0.1, 0.1])
    with pytest.raises(ValueError, match=rf"{name}: expected positive.*got 0\.0 at index 1"):
        function(np.eye(2), [0.1, 0.0])


def test_the_channel_adds_no_more_noise_than_there_is_weight():
    with pytest.raises(ValueError, match=r"levels: expected at most .*got 1\.5 at index 1"):
        channel_information([1.0, 1.0], [0.5, 1.5])
