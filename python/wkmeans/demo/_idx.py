"""Reader of the IDX format that MNIST and its relatives come in."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

_UNSIGNED_BYTES = 0x08


def read_idx(path: Path, ndim: int) -> npt.NDArray[np.uint8]:
    """The array of unsigned bytes in a gzipped IDX file.

    Raises ``ValueError`` naming the file where it is not gzip, not an IDX file of unsigned bytes
    with ``ndim`` dimensions, or not exactly as long as its header says. Memory stays within the
    file's own claim, which is checked first against what was read.
    """
    try:
        with gzip.open(path, "rb") as file:
            magic = file.read(4)
            expected = bytes([0, 0, _UNSIGNED_BYTES, ndim])
            if magic != expected:
                raise ValueError(
                    f"{path}: expected {expected.hex()} at its start (IDX, unsigned bytes, {ndim} "
                    f"dimensions), got {magic.hex()}"
                )
            header = file.read(4 * ndim)
            if len(header) < 4 * ndim:
                raise ValueError(f"{path}: ends within its header")
            shape = struct.unpack(f">{ndim}I", header)
            size = math.prod(shape)
            data = file.read(size) if size < 2**31 else b""
            if len(data) != size or file.read(1):
                raise ValueError(f"{path}: does not hold the {size} bytes its header announces")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a readable gzip file: {error}") from error
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
