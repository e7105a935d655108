"""Safetensors files: their header in full, their arrays one by one as bytes.

Read here rather than through a library because a library reads what NumPy has a dtype for, and the
specification names more. Nothing of the header is believed before it is checked, and what reading
allocates is the header and the one array asked for.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from wkmeans._files.errors import FormatError
from wkmeans._files.json_text import strict_json
from wkmeans._files.recognise import described_as

Bytes = npt.NDArray[np.uint8]

CODES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu"},
    **{"F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz"},
    **{"F6_E2M3": "float6_e2m3fn", "F6_E3M2": "float6_e3m2fn", "F4": "float4_e2m1fn"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8"},
    **{"C64": "complex64", "BOOL": "bool"},
}
"""Every dtype of the specification, and what NumPy, ml_dtypes and torch call it."""
_CODE_OF = {name: code for code, name in CODES.items()}

METADATA = "__metadata__"
"""What a header calls the entry that is no array."""
_MAX_HEADER = 100_000_000  # the specification's own limit
_MAX_SIZE = 2**48
_MAX_DIMENSIONS = 64


def bits_of(dtype: str) -> int:
    """Bits that one value of a dtype of the specification takes in a file."""
    code = _CODE_OF[dtype]
    return 8 if code == "BOOL" else int(code.split("_")[0].lstrip("BFIUC"))


def size_in_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a whole array; values narrower than a byte are packed."""
    size = 1
    for length in shape:
        size *= length
    return (size * bits_of(dtype) + 7) // 8


@dataclass(frozen=True)
class Stored:
    """One array of a file: what it is, and the bytes of the file that hold it."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class SafetensorsFile:
    """The header of a file, checked."""

    path: Path
    metadata: dict[str, str]
    arrays: dict[str, Stored]

    def read(self, name: str) -> Bytes:
        """The bytes of an array, in memory of their own."""
        stored = self.arrays[name]
        size = stored.end - stored.start
        with open(self.path, "rb") as file:
            file.seek(stored.start)
            data = np.fromfile(file, np.uint8, size)
        if data.size != size:
            raise FormatError(f"{self.path}: the file became shorter while it was being read")
        return data


def open_safetensors(path: Path) -> SafetensorsFile:
    """Read and check a file's header.

    Raises
    ------
    FormatError
        For anything that is not a sound safetensors file, saying what it is where that is known.
    OSError
        Where it cannot be read.
    """
    if path.is_dir():
        held = sorted(file.name for file in path.glob("*.safetensors"))
        hint = f"; name a file of it, such as {held[0]}" if held else ""
        raise IsADirectoryError(f"{path}: expected a safetensors file, got a directory{hint}")
    if path.exists() and not path.is_file():
        raise FormatError(f"{path}: expected a regular file, which can be read more than once")
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        header, data_start = _header(path, file, size)
        data_size = size - data_start
    metadata = header.pop(METADATA, {})
    if not _is_text(metadata):
        raise _unreadable(path, "its metadata is not a mapping of strings")
    arrays = {name: _stored(path, name, entry, data_start) for name, entry in header.items()}
    position = data_start
    for stored in sorted(arrays.values(), key=lambda stored: (stored.start, stored.end)):
        if stored.start != position:
            raise _unreadable(path, "its arrays overlap or leave holes")
        position = stored.end
    if position != data_start + data_size:
        raise _unreadable(
            path, f"expected {position - data_start} bytes of arrays, got {data_size}"
        )
    return SafetensorsFile(path, metadata, arrays)


def _header(path: Path, file: BinaryIO, file_size: int) -> tuple[dict[str, Any], int]:
    file.seek(0)
    head = file.read(8)
    size = int.from_bytes(head, "little")
    if len(head) < 8 or not 2 <= size <= _MAX_HEADER or file.read(1) != b"{":
        file.seek(0)
        raise _unreadable(path, described_as(path, file.read(512)))
    if size > file_size - 8:  # before room is made for it
        raise _unreadable(path, f"expected a header of {size} bytes, got {file_size - 8}")
    file.seek(8)
    try:
        header = strict_json(file.read(size))
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f"its header is not JSON: {error}") from None
    return header, 8 + size


def _is_text(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())


def _stored(path: Path, name: str, entry: Any, data_start: int) -> Stored:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _unreadable(path, f"{name!r} has no dtype, shape and data_offsets")
    if type(entry["dtype"]) is not str or entry["dtype"] not in CODES:
        raise _unreadable(path, f"{name!r} has unknown dtype {str(entry['dtype'])[:80]!r}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise _unreadable(path, f"{name!r} has an unexpected shape or data_offsets")
    dtype = CODES[entry["dtype"]]
    if (
        len(shape) > _MAX_DIMENSIONS
        or math.prod(length or 1 for length in shape) > _MAX_SIZE  # NumPy counts past a 0
        or offsets[1] - offsets[0] != size_in_bytes(dtype, tuple(shape))
    ):
        raise _unreadable(path, f"{name!r}: {offsets} are not the bytes of {dtype} {shape}")
    return Stored(dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < _MAX_SIZE for v in values)


def _unreadable(path: Path, found: str) -> FormatError:
    return FormatError(f"{path}: not a readable safetensors file: {found}")


@dataclass(frozen=True)
class Piece:
    """An array to be written; its parts, one behind the other, are its bytes, and may be lazy."""

    dtype: str
    shape: tuple[int, ...]
    parts: Iterable[npt.NDArray[Any]]

    @property
    def nbytes(self) -> int:
        return size_in_bytes(self.dtype, self.shape)


def header_of(pieces: Mapping[str, Piece], metadata: Mapping[str, str]) -> bytes:
    """What stands in front of the arrays: the header and its length."""
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    position = 0
    for name, piece in pieces.items():
        offsets = [position, position := position + piece.nbytes]
        header[name] = {
            "dtype": _CODE_OF[piece.dtype],
            "shape": list(piece.shape),
            "data_offsets": offsets,
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def file_of(pieces: Mapping[str, Piece], metadata: Mapping[str, str]) -> Iterator[memoryview]:
    """The bytes of a whole file, array by array."""
    yield memoryview(header_of(pieces, metadata))
    for piece in pieces.values():
        for part in piece.parts:
            yield as_bytes(part).data


def as_bytes(array: npt.NDArray[Any]) -> Bytes:
    """The bytes of an array in C order, in place where they are so already."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
