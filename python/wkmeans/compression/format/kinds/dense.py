"""The kind "dense": a tensor as it is."""

from __future__ import annotations

from typing import Any

from wkmeans._kernels.arrays import Array
from wkmeans._kernels.dtypes import FLOAT_DTYPES
from wkmeans.compression.format.fields import Fields, Payload
from wkmeans.compression.format.kinds.kind import Kind
from wkmeans.compression.tensors.dtypes import PACKED, STORABLE
from wkmeans.compression.tensors.tensor import DenseTensor


def _describe(tensor: DenseTensor) -> dict[str, Any]:
    described: dict[str, Any] = {"dtype": tensor.dtype, "shape": list(tensor.shape)}
    if tensor.stored_dtype != tensor.dtype:
        described["stored"] = tensor.stored_dtype
    return described | {"reason": tensor.reason}


def _parts(tensor: DenseTensor) -> list[Array]:
    return [tensor.values]


def _read(fields: Fields, payload: Payload) -> DenseTensor:
    dtype = fields.choice("dtype", STORABLE)
    shape = fields.shape()
    stored = dtype
    if fields.has("stored"):
        stored = fields.choice("stored", FLOAT_DTYPES if dtype in FLOAT_DTYPES else (dtype,))
    values = payload.take(fields, "values", stored, shape)
    packed_shape = shape if dtype in PACKED else None
    return DenseTensor(values, dtype, fields.text("reason"), packed_shape)


DENSE = Kind("dense", DenseTensor, _describe, _parts, _read)
