"""Lemma 1, the general lower bound, where the weights are Gaussian."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from wkmeans.rate_distortion._arguments import FloatArray, gaussian_weights


def gaussian_bound(weight_covariance: ArrayLike, coordinate_distortions: ArrayLike) -> float:
    """Lemma 1 for Gaussian weights: a rate that no compressor with these squared errors goes below.

    Lemma 1 holds for any model: what the model and its data decide is only which squared errors
    its distortion allows. For the linear model, `linear_bound` finds the best of them.

    Parameters
    ----------
    weight_covariance : array, shape (m,) or (m, m)
        Variances of independent weights, or a symmetric positive definite covariance.
    coordinate_distortions : array, shape (m,)
        ``E_i = E[(W_i - W_hat_i)**2] > 0`` of each weight; above the variance it counts as that.

    Returns
    -------
    float
        ``h(W) - sum_i min(h(W_i), log2(2 pi e E_i) / 2)`` in bits, which is
        ``(log2 det Sigma_W - sum_i log2 min(E[W_i**2], E_i)) / 2``. Correlated weights can make it
        negative; it then says no more than that rates are not.

    Raises
    ------
    TypeError
        If an argument is not real numbers that float64 holds.
    ValueError
        If a variance or an error is not positive and finite, a covariance not symmetric and
        positive definite, or the shapes do not fit.

    Notes
    -----
    O(m**3) time for a matrix.
    """
    variances, covariance, errors = gaussian_weights(
        weight_covariance, "coordinate_distortions", coordinate_distortions
    )
    independent = float(np.log2(variances / np.minimum(variances, errors)).sum() / 2)
    return independent if covariance is None else independent - _total_correlation(covariance)


def _total_correlation(covariance: FloatArray) -> float:
    """Bits ``sum_i h(W_i) - h(W)`` that correlated Gaussian weights share; 0 if independent."""
    deviations = np.sqrt(np.diagonal(covariance))
    correlation = covariance / deviations / deviations[:, np.newaxis]
    return float(-np.linalg.slogdet(correlation)[1] / np.log(4))
