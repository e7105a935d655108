"""Where integers follow a trellis: in which order, and how many rows at a time.

Rows of one scale stand together: a trellis stays at zero where all integers are, and costs bits
where they alternate with large ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wkmeans.compression.format.coding import CHUNK
from wkmeans.compression.lattice.scales import IntArray

_BLOCK = 256  # rows; each beginning costs a column about a bit

Indices = npt.NDArray[np.intp]


def block_of(groups: int, rows: int, columns: int, *, together: bool) -> int:
    """Rows of a trellis, for groups of so many: whole ones, and a few blocks to share out."""
    if groups > 1 or together:
        return rows
    return min(rows, max(_BLOCK, -(-CHUNK // columns)))


def trellis_order(row_exponents: IntArray, block: int) -> Indices:
    """The rows as they follow one another: in each block those of the largest scale first."""
    blocks = np.arange(len(row_exponents)) // block
    return np.lexsort((-row_exponents, blocks))


def chunk_of(block: int, rows: int, columns: int) -> int:
    """Weights that are coded independently of others: the fewest whole blocks that are enough."""
    blocks = -(-CHUNK // (block * columns))
    return min(blocks * block, rows) * columns
