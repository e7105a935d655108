"""The distortion that Theorem 4 speaks of: a ReLU unit on Gaussian data, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from wkmeans.rate_distortion._arguments import FloatArray, finite, variance_vector

# Below it the difference of sines loses more digits than the first three terms of its series.
_SMALL_ANGLE = 0.1


def relu_distortion(
    weights: ArrayLike, compressed: ArrayLike, data_variances: ArrayLike
) -> np.float64 | FloatArray:
    """Mean squared error ``E[(relu(w'x) - relu(w_hat'x))**2]`` for ``x ~ N(0, diag(lambda))``.

    Theorem 4 (Gao, Liu, Wang, Oh 2019, section 5.2): of all compressed weights that obey the first
    golden rule, ``w_hat' Sigma_X (w - w_hat) = 0``, those of least
    ``sum_i lambda_i (w_i - w_hat_i)**2`` have the least error. All prunings obey it, and all
    clusterings whose centroids are the weighted means of their clusters.

    Parameters
    ----------
    weights, compressed : array, shape (..., m)
        Weight vectors along the last axis, broadcast against each other.
    data_variances : array, shape (m,)
        ``lambda_i = E[x_i**2] > 0``.

    Returns
    -------
    float64, or float64 array of the broadcast shape without its last axis

    Raises
    ------
    TypeError
        If an argument is not real numbers that float64 holds.
    ValueError
        If a weight is not finite, a variance not positive and finite, or the shapes do not fit.

    Notes
    -----
    With ``a = sqrt(lambda) w``, ``b = sqrt(lambda) w_hat`` and the angle ``theta`` between them,
    ``|a - b|**2 / 2 - |a| |b| (sin(theta) - theta cos(theta)) / pi``: the first term is half of
    Theorem 4's objective, the second what the kink at zero takes off. On vectors that obey the
    first rule both depend on the objective alone, and their difference rises with it. The paper
    asks the rule of the optimum only and not of its competitors; that is not enough: lengthening
    ``w_hat`` beyond the rule raises the objective to second order and lowers the error to first.
    """
    data = variance_vector("data_variances", data_variances)
    a, b = (
        _vectors(name, values, data.size) * np.sqrt(data)
        for name, values in (("weights", weights), ("compressed", compressed))
    )
    norm_a, norm_b = (np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    # The angle of half-difference and half-sum is exact where the cosine is flat.
    p, q = a * norm_b, b * norm_a
    theta = 2 * np.arctan2(np.linalg.norm(p - q, axis=-1), np.linalg.norm(p + q, axis=-1))
    lens = (norm_a * norm_b)[..., 0] * _sine_gap(theta) / np.pi
    return np.asarray(((a - b) ** 2).sum(axis=-1) / 2 - lens)[()]


def _sine_gap(theta: FloatArray) -> FloatArray:
    """``sin(theta) - theta cos(theta)``, to full precision near 0."""
    square = theta**2
    series = theta * square * (1 / 3 - square * (1 / 30 - square / 840))
    return np.where(theta < _SMALL_ANGLE, series, np.sin(theta) - theta * np.cos(theta))


def _vectors(name: str, values: ArrayLike, length: int) -> FloatArray:
    array = finite(name, values)
    if array.shape[-1:] != (length,):
        raise ValueError(
            f"{name}: expected a last axis of {length}, one number for each of data_variances, "
            f"got shape {array.shape}"
        )
    return array
