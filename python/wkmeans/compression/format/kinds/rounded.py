"""The kind "rounded": numbers of a few bits of mantissa."""

from __future__ import annotations

import math
from typing import Any

from wkmeans._files.errors import FormatError
from wkmeans._kernels.arrays import Array
from wkmeans.compression.format.fields import Fields, Payload
from wkmeans.compression.format.kinds.kind import Kind
from wkmeans.compression.tensors.rounded import (
    LEAST_BITS,
    MOST_BITS,
    MOST_VALUES,
    EncodedFloats,
    RoundedTensor,
    rounded_tensor,
)

_MOST_ORIGIN = 254


def _describe(tensor: RoundedTensor) -> dict[str, Any]:
    encoded = tensor.encoded
    described: dict[str, Any] = {
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "mantissa": encoded.bits,
        "origin": encoded.origin,
        "bytes": int(encoded.exponents.size),
    }
    if encoded.signed:
        described["signed"] = True
    return described | {"reason": tensor.reason}


def _parts(tensor: RoundedTensor) -> list[Array]:
    return [tensor.encoded.exponents, tensor.encoded.tails]


def _read(fields: Fields, payload: Payload) -> RoundedTensor:
    fields.choice("dtype", ("float32",))
    shape = fields.shape()
    size = math.prod(shape)
    if not 1 <= size <= MOST_VALUES:
        raise fields.unexpected("shape", shape)
    bits = fields.count("mantissa", most=MOST_BITS)
    if bits < LEAST_BITS:
        raise fields.unexpected("mantissa", bits)
    origin = fields.count_or_none("origin")
    if origin > _MOST_ORIGIN:
        raise fields.unexpected("origin", origin)
    n_bytes = fields.count_or_none("bytes")  # one exponent everywhere takes none
    if n_bytes % 4:
        raise fields.unexpected("bytes", n_bytes)
    exponents = payload.take(fields, "exponents", "uint8", (n_bytes,))
    signed = fields.flag("signed")
    bare = EncodedFloats(exponents, exponents[:0], bits, origin, size, signed)
    tails = payload.take(fields, "mantissas", "uint8", (bare.tail_bytes,))
    encoded = EncodedFloats(exponents, tails, bits, origin, size, signed)
    try:
        return rounded_tensor(encoded, shape, fields.text("reason"))
    except FormatError as error:
        raise FormatError(f"{fields.where}: {error}") from None


ROUNDED = Kind("rounded", RoundedTensor, _describe, _parts, _read)
