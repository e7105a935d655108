"""Algorithm 1: the random compressor that attains the bound, and the information it keeps."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wkmeans.rate_distortion._arguments import FloatArray, check, finite, gaussian_weights
from wkmeans.rate_distortion._water_filling import linear_bound

Seed: TypeAlias = np.random.Generator | np.random.BitGenerator | np.random.SeedSequence | int


def compress_linear(
    weights: ArrayLike,
    distortion: ArrayLike,
    weight_variances: ArrayLike,
    data_variances: ArrayLike,
    rng: Seed,
) -> FloatArray:
    """Algorithm 1: the random compressor that attains the bound of `linear_bound`.

    A weight whose rectangle is full, ``mu >= lambda_i E[W_i**2]``, is discarded: ``W_hat_i = 0``.
    Any other is drawn from the posterior of ``W_hat_i`` in ``W_i = W_hat_i + Z_i`` with
    independent ``W_hat_i ~ N(0, s_i - D_i)`` and ``Z_i ~ N(0, D_i)``, where ``s_i = E[W_i**2]``::

        W_hat_i | W_i  ~  N((1 - D_i / s_i) W_i,  D_i (s_i - D_i) / s_i)

    The algorithm as printed in the paper discards the weights with ``D_i = mu / lambda_i``, which
    are those not yet full; its text (Appendix A.3, step 2) and its proof discard the full ones, as
    done here.

    Parameters
    ----------
    weights : array, shape (..., m)
        Weight vectors along the last axis.
    distortion : float
        Expected distortion ``D > 0``, attained exactly up to
        ``D_max = sum_i lambda_i E[W_i**2]``. From there on the answer is all zeros.
    weight_variances, data_variances : array, shape (m,)
        As in `linear_bound`.
    rng : numpy.random.Generator, or a seed as `numpy.random.default_rng` takes it
        Source of the compressor's randomness.

    Returns
    -------
    float64 array, shape of ``weights``

    Raises
    ------
    TypeError, ValueError
        As `linear_bound`, and if ``weights`` is not finite or its last axis is not of length m.

    Notes
    -----
    The distortion depends on second moments alone, so it is ``D`` for weights of any law with
    those; the mutual information is `linear_bound`'s ``rate`` where they are independent and
    Gaussian. One normal variate for each weight that is not discarded.
    """
    if np.ndim(distortion) != 0:
        raise ValueError(f"distortion: expected one number, got shape {np.shape(distortion)}")
    levels = linear_bound(distortion, weight_variances, data_variances).levels
    source = _weight_vectors(weights, levels.size)
    kept, gain, noise = _channel(np.asarray(weight_variances, dtype=np.float64), levels)
    compressed = np.zeros_like(source)
    signal = gain * source[..., kept]
    spread = np.sqrt(noise) * np.random.default_rng(rng).standard_normal(signal.shape)
    compressed[..., kept] = signal + spread
    return compressed


def channel_information(weight_covariance: ArrayLike, levels: ArrayLike) -> float:
    """Mutual information ``I(W; W_hat)`` of Algorithm 1's compressor, in closed form.

    Parameters
    ----------
    weight_covariance : array, shape (m,) or (m, m)
        Variances of independent Gaussian weights, or the covariance of correlated ones.
    levels : array, shape (m,)
        Squared error ``D_i`` that the compressor leaves on each weight, ``0 < D_i <= E[W_i**2]``,
        such as `linear_bound`'s.

    Returns
    -------
    float
        Bits. For independent weights it is ``sum_i log2(E[W_i**2] / D_i) / 2``, Theorem 2's bound.
        For correlated weights it is more than that bound, because compressing each weight by
        itself describes again what its neighbours already told: there Theorem 3 needs the
        rotation of `decorrelate`.

    Raises
    ------
    TypeError, ValueError
        As `gaussian_bound`, and if a level exceeds its weight's variance.

    Notes
    -----
    O(m**3) time for a matrix.
    """
    variances, covariance, errors = gaussian_weights(weight_covariance, "levels", levels)
    check("levels", errors, errors <= variances, "at most the variance of its weight")
    kept, gain, noise = _channel(variances, errors)
    amplification = gain / np.sqrt(noise)
    if covariance is None:
        return float(np.log1p(amplification**2 * variances[kept]).sum() / np.log(4))
    signal = amplification[:, np.newaxis] * covariance[np.ix_(kept, kept)] * amplification
    return float(np.linalg.slogdet(np.eye(len(signal)) + signal)[1] / np.log(4))


def _channel(
    variances: FloatArray, levels: FloatArray
) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
    """Which weights Algorithm 1 keeps, and for those its gain on ``W_i`` and its noise variance."""
    kept = levels < variances
    gain = (variances[kept] - levels[kept]) / variances[kept]
    return kept, gain, levels[kept] * gain


def _weight_vectors(weights: ArrayLike, length: int) -> FloatArray:
    array = finite("weights", weights)
    if array.shape[-1:] != (length,):
        raise ValueError(
            f"weights: expected a last axis of {length}, one number for each of weight_variances, "
            f"got shape {array.shape}"
        )
    return array
