"""Rows of a layer in the order they are rounded, each to make up for those before it.

Errors E of rows that matter together cost ``sum_rs G_rs E_r S E_s'``. With ``G = M M'``, M lower
triangular, that is the sum over rows of ``M_rr^2 e_r S e_r'``, e_r the error from a target: the
row's weights and ``M_sr / M_rr`` of the error of each row s below it, which is rounded before. So
errors are fed back from row to row as ``S = L L'`` has them fed back from column to column.
"""

from __future__ import annotations

import numpy as np

from wkmeans.compression.calibration.objective import FloatArray, gram_of
from wkmeans.compression.lattice.trellis import Indices


def own_importances(outputs: FloatArray, coupling: FloatArray | None) -> FloatArray:
    """``M_rr^2``, what a row's error from its target counts, the least important rounded first."""
    if coupling is None:
        return outputs
    order = np.argsort(-outputs, kind="stable")  # the last is the first to be rounded
    factor = np.linalg.cholesky(gram_of(outputs, coupling)[np.ix_(order, order)])
    own = np.empty_like(outputs)
    own[order] = np.diagonal(factor) ** 2
    return own


def row_coefficients(outputs: FloatArray, coupling: FloatArray, order: Indices) -> FloatArray:
    """What the error of each row adds to the targets of those after it, in the order given."""
    last_first = order[::-1]
    gram = gram_of(outputs, coupling)[np.ix_(last_first, last_first)]
    factor = np.linalg.cholesky(gram)
    return np.ascontiguousarray((factor / np.diagonal(factor)).T[::-1, ::-1])
