"""Correlated weights and data: the change of coordinates that leaves them independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from wkmeans.rate_distortion._arguments import FloatArray, cholesky, same_shape
from wkmeans.rate_distortion._water_filling import LinearBound, linear_bound


@dataclass(frozen=True, eq=False)
class Rotation:
    """A change of variables that makes weights independent and the distortion a plain sum.

    In the coordinates ``z = w @ forward`` the weights are independent, with variances
    ``weight_variances``, and the distortion is ``sum((z - z_hat)**2)``; ``w = z @ backward``.

    Attributes
    ----------
    weight_variances : float64 array, shape (m,), descending
    forward, backward : float64 array, shape (m, m)
    """

    weight_variances: FloatArray
    forward: FloatArray
    backward: FloatArray


def linear_bound_full(
    distortion: ArrayLike, weight_covariance: ArrayLike, data_covariance: ArrayLike
) -> LinearBound:
    """Rate-distortion function of a linear model whose weights and data may be correlated.

    In the coordinates of `decorrelate` the problem is that of `linear_bound` with unit data
    variances, and an invertible change of coordinates leaves mutual information as it is. The
    result is therefore exact, not only a bound, and assumes only that the weights are Gaussian and
    that both covariances are positive definite.

    Parameters
    ----------
    distortion : float or array of floats
        Allowed distortion ``D > 0``.
    weight_covariance, data_covariance : array, shape (m, m)
        Symmetric and positive definite: ``E[W W']`` and ``E[x x']``.

    Returns
    -------
    LinearBound
        Its ``levels`` belong to the rotated coordinates, in the order of
        ``decorrelate(weight_covariance, data_covariance).weight_variances``.

    Raises
    ------
    TypeError, ValueError
        As `linear_bound` and `decorrelate`.

    Notes
    -----
    Where the data are uncorrelated and the weights are not, Theorem 2's expression (see the
    module) is a lower bound of this one. They agree exactly where ``Sigma_W - diag(D_i)`` is
    positive semi-definite, as it is for small ``D``. O(m**3) time.
    """
    variances = decorrelate(weight_covariance, data_covariance).weight_variances
    return linear_bound(distortion, variances, np.ones_like(variances))


def decorrelate(weight_covariance: ArrayLike, data_covariance: ArrayLike) -> Rotation:
    """Coordinates in which correlated weights and data become independent ones.

    The optimal compressor for correlated weights is Algorithm 1 in these coordinates::

        rotation = decorrelate(weight_covariance, data_covariance)
        variances = rotation.weight_variances
        ones = np.ones_like(variances)
        z_hat = compress_linear(w @ rotation.forward, distortion, variances, ones, rng)
        w_hat = z_hat @ rotation.backward

    Parameters
    ----------
    weight_covariance, data_covariance : array, shape (m, m)
        Symmetric and positive definite: ``E[W W']`` and ``E[x x']``.

    Returns
    -------
    Rotation

    Raises
    ------
    TypeError
        If an argument is not real numbers that float64 holds.
    ValueError
        If a covariance is not a finite, symmetric, positive definite matrix, or the shapes differ.

    Notes
    -----
    O(m**3) time.
    """
    weight_factor = cholesky("weight_covariance", weight_covariance)
    data_factor = cholesky("data_covariance", data_covariance)
    same_shape("data_covariance", data_factor, "weight_covariance", weight_factor)
    # The variances are the eigenvalues of L_x' Sigma_W L_x. As squared singular values of L_w' L_x
    # the small ones keep twice the digits that an eigensolver of the product would leave them.
    _, deviations, right = np.linalg.svd(weight_factor.T @ data_factor)
    return Rotation(
        weight_variances=deviations**2,
        forward=data_factor @ right.T,
        backward=np.linalg.solve(data_factor.T, right.T).T,
    )
