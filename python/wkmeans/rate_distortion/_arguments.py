"""Checks of the arguments: each names the argument, what was expected and what came instead."""

from __future__ import annotations

from contextlib import suppress
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wkmeans._kernels.checks import shown_index
from wkmeans._kernels.plain import check_plain_array

FloatArray: TypeAlias = NDArray[np.float64]
SYMMETRY = 1e-10
"""What entries may differ by from those opposite, as a share of the largest: products of data that
were summed in another order do."""


def real(name: str, values: ArrayLike) -> FloatArray:
    """Real numbers as float64; a dtype that would lose digits on the way is refused."""
    check_plain_array(name, values)
    array = np.asarray(values)
    if array.dtype.kind not in "fiu" or not np.can_cast(array.dtype, np.float64):
        raise TypeError(f"{name}: expected real numbers in float64, got dtype {array.dtype}")
    return array.astype(np.float64)


def check(name: str, values: FloatArray, good: NDArray[np.bool_], expected: str) -> None:
    """Raise ValueError for the first of ``values`` that is not ``good``."""
    if np.all(good):
        return
    index = tuple(int(i) for i in np.argwhere(~good)[0])
    place = f" at index {shown_index(index)}" if index else ""
    raise ValueError(f"{name}: expected {expected}, got {values[index]}{place}")


def finite(name: str, values: ArrayLike) -> FloatArray:
    array = real(name, values)
    check(name, array, np.isfinite(array), "finite numbers")
    return array


def positive(name: str, values: ArrayLike) -> FloatArray:
    array = real(name, values)
    check(name, array, (array > 0) & np.isfinite(array), "positive, finite numbers")
    return array


def same_shape(name: str, array: FloatArray, other_name: str, other: FloatArray) -> None:
    if array.shape != other.shape:
        raise ValueError(
            f"{name}: expected the shape of {other_name}, {other.shape}, got {array.shape}"
        )


def variance_vector(name: str, values: ArrayLike) -> FloatArray:
    array = positive(name, values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: expected one dimension, not empty, got shape {array.shape}")
    return array


def gaussian_weights(
    weight_covariance: ArrayLike, errors_name: str, errors: ArrayLike
) -> tuple[FloatArray, FloatArray | None, FloatArray]:
    """Variances of the weights, their covariance where it is given, and an error for each."""
    if np.ndim(weight_covariance) == 2:
        covariance = real("weight_covariance", weight_covariance)
        cholesky("weight_covariance", covariance)
        variances = np.diagonal(covariance)
    else:
        covariance = None
        variances = variance_vector("weight_covariance", weight_covariance)
    squared_errors = positive(errors_name, errors)
    same_shape(errors_name, squared_errors, "the weights' variances", variances)
    return variances, covariance, squared_errors


def symmetric_matrix(name: str, values: ArrayLike) -> FloatArray:
    """A square matrix, not empty and symmetric to rounding."""
    matrix = finite(name, values)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"{name}: expected a square matrix, got shape {matrix.shape}")
    rounding = SYMMETRY * np.abs(matrix).max()
    check(name, matrix, np.abs(matrix - matrix.T) <= rounding, "a symmetric matrix")
    return matrix


def cholesky(name: str, values: ArrayLike) -> FloatArray:
    """Lower Cholesky factor of a covariance, refused unless it is clearly positive definite."""
    matrix = symmetric_matrix(name, values)
    with suppress(np.linalg.LinAlgError):
        factor = np.linalg.cholesky(matrix).astype(np.float64, copy=False)
        # A pivot that is nothing but rounding hides a singular matrix.
        lost = len(matrix) * np.finfo(np.float64).eps * np.diagonal(matrix)
        if np.all(np.diagonal(factor) ** 2 > lost):
            return factor
    smallest = np.linalg.eigvalsh(matrix)[0]
    raise ValueError(
        f"{name}: expected a positive definite matrix, got smallest eigenvalue {smallest:g}"
    )
