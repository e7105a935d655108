"""Theorem 2 for a row of a layer: independent weights of one variance, inputs of any covariance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from wkmeans.rate_distortion._arguments import SYMMETRY, FloatArray, positive, symmetric_matrix
from wkmeans.rate_distortion._water_filling import LinearBound, linear_bound


def layer_bound(
    distortion: ArrayLike, weight_variance: float, input_covariance: ArrayLike
) -> LinearBound:
    """Rate-distortion function of one row of a layer whose inputs are correlated.

    In the eigenbasis of the covariance the inputs are uncorrelated, and weights that are
    independent with equal variances stay so. There Theorem 2 holds as it stands, and its bound is
    attained (Theorem 3): no code of Gaussian rows does better, whatever it is.

    Parameters
    ----------
    distortion : float or array of floats
        Allowed ``E[(w - v) C (w - v)'] > 0``, summed over the row.
    weight_variance : float
        ``E[W_i**2] > 0``, the same for all weights of the row.
    input_covariance : array, shape (n, n)
        ``C = E[x x']``, symmetric and positive semidefinite. Directions that no input has, of an
        eigenvalue that is zero to rounding, cost neither bits nor distortion.

    Returns
    -------
    LinearBound
        ``rate`` in bits a row: divided by n, bits a weight. ``levels`` are the squared errors along
        the eigenvectors, in ascending order of eigenvalues as `numpy.linalg.eigh` has them.

    Raises
    ------
    TypeError
        If an argument is not real numbers that float64 holds.
    ValueError
        If a distortion or the variance is not positive and finite, or the covariance not a finite,
        symmetric, positive semidefinite matrix.

    Notes
    -----
    O(n**3) time for the eigenvalues, then O(n) for each distortion.

    Examples
    --------
    Two bits a weight leave a sixteenth of the variance where inputs are alike in all directions:

    >>> import numpy as np
    >>> from wkmeans.rate_distortion import layer_bound
    >>> float(layer_bound(8 / 16, 1.0, np.eye(8)).rate)
    16.0
    """
    target = positive("distortion", distortion)
    variance = positive("weight_variance", weight_variance)
    if variance.ndim:
        raise ValueError(f"weight_variance: expected one number, got shape {variance.shape}")
    eigenvalues = _eigenvalues(input_covariance)
    n_zero = int(np.count_nonzero(eigenvalues == 0))
    levels = np.broadcast_to(variance, (*target.shape, len(eigenvalues))).copy()
    if n_zero == len(eigenvalues):
        nothing = np.zeros(target.shape)
        return LinearBound(rate=nothing[()], levels=levels, water_level=nothing[()])
    seen = eigenvalues[n_zero:]
    bound = linear_bound(target, np.full(len(seen), variance), seen)
    levels[..., n_zero:] = bound.levels
    return LinearBound(rate=bound.rate, levels=levels, water_level=bound.water_level)


def _eigenvalues(covariance: ArrayLike) -> FloatArray:
    """Ascending; what is zero to rounding is zero."""
    matrix = symmetric_matrix("input_covariance", covariance)
    eigenvalues = np.asarray(np.linalg.eigvalsh(matrix), np.float64)
    if eigenvalues[0] < -len(matrix) * SYMMETRY * np.abs(matrix).max():
        raise ValueError(
            "input_covariance: expected a positive semidefinite matrix, got smallest eigenvalue "
            f"{eigenvalues[0]:g}"
        )
    floor = len(matrix) * np.finfo(np.float64).eps * eigenvalues[-1]
    eigenvalues[eigenvalues <= max(floor, 0.0)] = 0.0
    return eigenvalues
