"""Rows of a layer in the order they are rounded, each to make up for those before it.

Errors E of rows that matter together cost ``sum_rs G_rs E_r S E_s'``. With ``G = M M'``, M lower
triangular, that is the sum over rows of ``M_rr^2 e_r S e_r'``, e_r the error from a target: the
row's weights and ``M_sr / M_rr`` of the error of each row s below it, which is rounded before. So
errors are fed back from row to row as ``S = L L'`` has them fed back from column to column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wkmeans.compression.calibration.objective import FloatArray, gram_of

_MOST_BLOCKS = 256  # of rows; those of one block are rounded as if they did not matter together

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class RowOrder:
    """The rows of one group.

    Attributes
    ----------
    importances : float64 array (rows,)
        What a row's error from its own target counts.
    """

    importances: FloatArray
    _order: Indices | None = None
    _factor: FloatArray | None = None

    @classmethod
    def of(cls, importances: FloatArray, coupling: FloatArray | None) -> RowOrder:
        """From a target's outputs and their coupling."""
        if coupling is None:
            return cls(importances)
        order = np.argsort(importances, kind="stable")  # the last is the first to be rounded
        gram = gram_of(importances, coupling)[np.ix_(order, order)]
        factor = np.asarray(np.linalg.cholesky(gram), np.float64)
        conditional = np.empty_like(importances)
        for block in _blocks(len(order)):
            conditional[order[block]] = np.square(factor[block, block]).sum(axis=1)
        return cls(conditional, order, factor)

    @property
    def is_coupled(self) -> bool:
        """Whether what some rows are to reach hangs on the errors of others."""
        return self._factor is not None

    def targets(
        self, weights: FloatArray, errors: FloatArray | None
    ) -> Iterator[tuple[Indices | slice, FloatArray]]:
        """Rows and what they are to reach, in turn: `errors` are to hold those of rows before."""
        if self._factor is None or self._order is None or errors is None:
            yield slice(None), weights
            return
        for block in _blocks(len(self._order)):
            rows, before = self._order[block], slice(block.stop, None)
            added = self._factor[before, block].T @ errors[self._order[before]]
            own = self._factor[block, block]
            yield rows, weights[rows] + np.linalg.solve(own.T, added)


def _blocks(rows: int) -> Iterator[slice]:
    """The last first."""
    size = -(-rows // _MOST_BLOCKS)
    for stop in range(rows, 0, -size):
        yield slice(max(0, stop - size), stop)
