"""Safetensors files of any dtype, written by hand: no library writes all of the specification."""

from __future__ import annotations

import json
import struct

import numpy as np


def write_safetensors(path, arrays, metadata=None):
    """`arrays` maps names to (dtype of the specification, shape, bytes)."""
    header = {} if metadata is None else {"__metadata__": metadata}
    position = 0
    for name, (dtype, shape, data) in arrays.items():
        end = position + len(data)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    body = b"".join(data for _, _, data in arrays.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def read_safetensors(path):
    """The same back, and the metadata."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    body = data[8 + size :]
    return {
        name: (entry["dtype"], tuple(entry["shape"]), body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }, metadata


BITS = {
    **{"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "C64": 64, "BOOL": 8},
    **{"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4},
    **{"I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8},
}
"""Every dtype of the safetensors specification, and the bits of one value."""
COMPRESSED = ("F64", "F32", "F16", "BF16")


def one_of_each_dtype(shape=(32, 24)):
    """A tensor of every dtype; those that are compressed hold normal numbers."""
    rng = np.random.default_rng(0)
    size = int(np.prod(shape))
    arrays = {}
    for dtype, bits in BITS.items():
        data = rng.integers(0, 2, size * bits // 8, np.uint8).tobytes()
        if dtype in COMPRESSED:
            values = rng.standard_normal(size)
            floats = values.astype("<f8" if bits == 64 else "<f2" if dtype == "F16" else "<f4")
            data = floats.tobytes()
            if dtype == "BF16":
                data = (floats.view("<u4") >> 16).astype("<u2").tobytes()
        arrays[f"layer.{dtype.lower()}"] = (dtype, shape, data)
    return arrays
