"""Files of version 1, read only: one safetensors array for each part of each tensor.

Each tensor is handed to its kind as version 2 would have described it.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from wkmeans._files.errors import FormatError
from wkmeans._files.safetensors import SafetensorsFile, as_bytes
from wkmeans._kernels.arrays import Array
from wkmeans._kernels.dtypes import FLOAT_DTYPES
from wkmeans.compression.format.fields import Fields, Payload, expect
from wkmeans.compression.format.kinds.codebook import CODEBOOK
from wkmeans.compression.format.kinds.dense import DENSE
from wkmeans.compression.tensors.dtypes import array_of

_SEAL = len(',"crc32":"00000000"}')


def read_tensors(file: SafetensorsFile, header: dict[str, Any]) -> dict[str, Any]:
    """Tensors by name; raises `FormatError` for anything that version 1 did not write."""
    where = str(file.path)
    arrays = {
        name: array_of(file.read(name), stored.dtype, stored.shape)
        for name, stored in file.arrays.items()
    }
    text = file.metadata["wkmeans"]
    if text[-_SEAL:] != sealed(text[:-_SEAL], arrays):
        raise FormatError(f"{where}: damaged: the checksum is not that of the contents")
    described = expect(where, header.get("tensors"), dict, "a mapping of tensors")
    tensors = {}
    for name, members in described.items():
        at = f"{where}: tensor {name!r}"
        entry = dict(expect(at, members, dict, "a description"))
        kind, translate = (DENSE, _dense) if "reason" in entry else (CODEBOOK, _codebook)
        parts = translate(at, name, entry, arrays)
        fields = Fields(at, entry)
        payload = Payload(np.concatenate([as_bytes(part) for part in parts]))
        tensors[name] = kind.read(fields, payload)
        payload.check_nothing_is_left(at)
        fields.check_nothing_is_left()
    if arrays:
        raise FormatError(f"{where}: {min(arrays)!r} belongs to no tensor")
    return tensors


def sealed(text: str, arrays: dict[str, Array]) -> str:
    """The last member of the metadata: CRC-32 of all before it, then of arrays by name."""
    crc = zlib.crc32(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        crc = zlib.crc32(f"{name} {array.dtype.name} {list(array.shape)}".encode(), crc)
        crc = zlib.crc32(array.tobytes(), crc)
    return f',"crc32":"{crc:08x}"}}'


def _dense(where: str, name: str, entry: dict[str, Any], arrays: dict[str, Array]) -> list[Array]:
    values = _take(where, name, arrays)
    stored = values.dtype.name
    dtype = entry.setdefault("dtype", stored)
    if dtype != stored and dtype in FLOAT_DTYPES:
        entry["stored"] = stored
    elif dtype != stored:
        raise FormatError(f"{where}: unexpected dtype {str(dtype)[:80]!r}")
    entry["shape"] = list(values.shape)
    return [values]


def _codebook(
    where: str, name: str, entry: dict[str, Any], arrays: dict[str, Array]
) -> list[Array]:
    codebook = _take(where, f"{name}:codebook", arrays)
    codes = _take(where, f"{name}:codes", arrays)
    if codebook.ndim != 2:
        raise FormatError(f"{where}: unexpected codebooks of shape {codebook.shape}")
    if codes.dtype != np.uint8 or codes.ndim != 1:
        raise FormatError(f"{where}: codes are {codes.dtype} {codes.shape}, not bytes")
    parts = [codebook]
    entry |= {"k": codebook.shape[1], "codebook": codebook.dtype.name}
    if codebook.dtype == np.int8:
        parts.append(_scale(where, f"{name}:codebook_scale", arrays))
    if f"{name}:channel_scale" in arrays:
        parts.append(_scale(where, f"{name}:channel_scale", arrays))
        entry["channel_scale"] = True
    if entry.setdefault("coding", None) == "ans":
        entry["bytes"] = codes.size
    return [*parts, codes]


def _scale(where: str, name: str, arrays: dict[str, Array]) -> Array:
    scale = _take(where, name, arrays)
    if scale.dtype != np.float32 or scale.ndim != 1:
        raise FormatError(f"{where}: {name!r} is {scale.dtype} {scale.shape}, not a scale")
    return scale


def _take(where: str, name: str, arrays: dict[str, Array]) -> Array:
    if name not in arrays:
        raise FormatError(f"{where}: no stored array {name!r}")
    return arrays.pop(name)
