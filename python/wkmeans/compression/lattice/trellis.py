"""Where integers follow a trellis: in which order, and how many rows at a time.

Rows of one scale stand together: a trellis stays at zero where all integers are, and costs bits
where they alternate with large ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wkmeans._kernels.feedback import TRELLIS_ERROR
from wkmeans.compression.format.coding import CHUNK
from wkmeans.compression.lattice.scales import IntArray

_BLOCK = 256  # rows; each beginning costs a column about a bit

Indices = npt.NDArray[np.intp]


def block_of(groups: int, rows: int, *, together: bool) -> int:
    """Rows of a trellis, for groups of so many: those that matter together, or a thread's share.

    No block has rows of two groups.
    """
    if together:
        return rows
    most = min(rows, _BLOCK)
    return most if groups == 1 else next(n for n in range(most, rows + 1) if rows % n == 0)


def error_of(block: int) -> float:
    """Mean squared error of integers on such a trellis, in squared steps, where steps are small."""
    return 4 / 12 if block == 1 else TRELLIS_ERROR  # one row: even integers alone


def trellis_order(row_exponents: IntArray, block: int) -> Indices:
    """The rows as they follow one another: in each block those of the largest scale first."""
    blocks = np.arange(len(row_exponents)) // block
    return np.lexsort((-row_exponents, blocks))


def chunk_of(block: int, rows: int, columns: int) -> int:
    """Weights that are coded independently of others: the fewest whole blocks that are enough."""
    blocks = -(-CHUNK // (block * columns))
    return min(blocks * block, rows) * columns
