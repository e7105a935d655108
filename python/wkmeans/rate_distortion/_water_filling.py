"""Theorem 2: weighted water-filling for independent weights and uncorrelated data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from wkmeans.rate_distortion._arguments import (
    FloatArray,
    check,
    positive,
    same_shape,
    variance_vector,
)


@dataclass(frozen=True, eq=False)
class LinearBound:
    """A point of the rate-distortion curve, or an array of them.

    Attributes
    ----------
    rate : float64, shape of the distortion
        Least rate ``R(D)`` in bits, for all the weights together.
    levels : float64 array, shape of the distortion followed by ``(m,)``
        Expected squared error ``D_i`` of each weight.
    water_level : float64, shape of the distortion
        Distortion ``mu = lambda_i D_i`` that each weight still worth coding contributes; the
        slope of the curve is ``dR/dD = -1 / (2 ln(2) mu)`` bits.
    """

    rate: np.float64 | FloatArray
    levels: FloatArray
    water_level: np.float64 | FloatArray


def linear_bound(
    distortion: ArrayLike, weight_variances: ArrayLike, data_variances: ArrayLike
) -> LinearBound:
    """Rate-distortion function of a linear model by weighted water-filling (Theorem 2).

    Weights are independent Gaussians and the data uncorrelated; then the bound of Theorem 2 is
    attained (Theorem 3), and is the rate-distortion function.

    Parameters
    ----------
    distortion : float or array of floats
        Allowed distortion ``D > 0``. An array gives the curve, point by point.
    weight_variances : array, shape (m,)
        ``E[W_i**2] > 0``.
    data_variances : array, shape (m,)
        ``lambda_i = E[x_i**2] > 0``.

    Returns
    -------
    LinearBound
        With ``sum_i lambda_i D_i = D``. From ``D_max = sum_i lambda_i E[W_i**2]`` on, sending
        nothing is good enough (as in the paper's Example 1): the rate is 0, the levels stay at the
        variances, their distortion at ``D_max``, and the water level where it last rose.

    Raises
    ------
    TypeError
        If an argument is not real numbers that float64 holds.
    ValueError
        If an argument is not positive and finite, or the two variances differ in shape.

    Notes
    -----
    Exact, up to rounding: one sort of the weights, then a closed form on the segment of the curve
    that holds ``D``. O(m log m) time, and O(m) time and memory for each distortion.
    """
    target = positive("distortion", distortion)
    variances = variance_vector("weight_variances", weight_variances)
    data = positive("data_variances", data_variances)
    same_shape("data_variances", data, "weight_variances", variances)
    water_level = _water_level(target, _capacities(variances, data))
    levels = _levels(water_level, variances, data)
    rate = _rate(target, variances, levels)
    return LinearBound(rate=rate, levels=levels, water_level=water_level[()])


def _capacities(variances: FloatArray, data: FloatArray) -> FloatArray:
    """Distortion ``lambda_i E[W_i**2]`` that each weight contributes once it is discarded."""
    with np.errstate(over="ignore", under="ignore"):
        capacities = variances * data
    summable = np.finfo(np.float64).max / len(capacities)
    check(
        "weight_variances * data_variances",
        capacities,
        (capacities > 0) & (capacities <= summable),
        "positive with a sum that float64 holds",
    )
    return capacities


def _water_level(distortion: FloatArray, capacities: FloatArray) -> FloatArray:
    """Level ``mu`` at which rectangles of these capacities hold ``distortion`` in all.

    What they hold, ``sum_i min(mu, capacity_i)``, is piecewise linear in ``mu`` with a knot where a
    rectangle fills, so its inverse is a linear interpolation between knots, exact on each segment.
    """
    filled = np.sort(capacities)
    still_open = np.arange(len(filled) - 1, -1, -1)
    held = np.cumsum(filled) + still_open * filled
    # Rounding may let knots of nearly equal rectangles trade places: interpolation needs order.
    held = np.maximum.accumulate(held)
    return np.asarray(np.interp(distortion, np.append(0.0, held), np.append(0.0, filled)))


def _levels(water_level: FloatArray, variances: FloatArray, data: FloatArray) -> FloatArray:
    """Squared error ``D_i`` of each weight: the water in its rectangle, or its whole height."""
    water = water_level[..., np.newaxis]
    # Compared with the very products that were sorted, a full rectangle is full to the last bit.
    return np.where(water < variances * data, water / data, variances)


def _rate(
    distortion: FloatArray, variances: FloatArray, levels: FloatArray
) -> np.float64 | FloatArray:
    with np.errstate(divide="ignore", over="ignore"):
        rate = np.asarray(np.log2(variances / levels).sum(axis=-1) / 2)
    check("distortion", distortion, np.isfinite(rate), "large enough for levels in float64's range")
    return rate[()]
