"""The kind "codebook": a code for each weight, and the codebooks that they point into."""

from __future__ import annotations

import math
from typing import Any

from wkmeans._files.errors import FormatError
from wkmeans._kernels.arrays import Array
from wkmeans._kernels.checks import MAX_K
from wkmeans._kernels.dtypes import FLOAT_DTYPES
from wkmeans._kernels.formats import FORMATS
from wkmeans.compression.format.coding import MAX_CLASSES, EncodedCodes, packed_size, read_counts
from wkmeans.compression.format.fields import Fields, Payload
from wkmeans.compression.format.kinds.kind import Kind
from wkmeans.compression.tensors.layout import layout_of
from wkmeans.compression.tensors.tensor import CompressedTensor

CODINGS = ("packed", "ans")


def _describe(tensor: CompressedTensor) -> dict[str, Any]:
    described: dict[str, Any] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "k": tensor.k}
    if tensor.granularity != "tensor":
        described["granularity"] = tensor.granularity
    if tensor.codebook.dtype.name != tensor.dtype:
        described["codebook"] = tensor.codebook.dtype.name
    if tensor.channel_scale is not None:
        described["channel_scale"] = True
    encoded = tensor.encoded
    if encoded.coding != "packed":
        described |= {"coding": encoded.coding, "bytes": int(encoded.payload.size)}
    if encoded.classes is not None:
        described["classes"] = list(encoded.classes)
    if encoded.chunk is not None:
        described["chunk"] = encoded.chunk
    return described if math.isinf(tensor.cost) else described | {"cost": tensor.cost}


def _parts(tensor: CompressedTensor) -> list[Array]:
    scales = (tensor.codebook_scale, tensor.channel_scale)
    return [
        tensor.codebook,
        *(scale for scale in scales if scale is not None),
        tensor.encoded.payload,
    ]


def _read(fields: Fields, payload: Payload) -> CompressedTensor:
    dtype = fields.choice("dtype", FLOAT_DTYPES)
    shape = fields.shape()
    if 0 in shape:
        raise fields.unexpected("shape", shape)
    granularity = fields.granularity("tensor")
    layout = layout_of(shape, granularity)
    k = fields.count("k", most=MAX_K)
    codebook_dtype = fields.choice("codebook", FORMATS, dtype)
    codebook = payload.take(fields, "codebooks", codebook_dtype, (layout.n_codebooks, k))
    codebook_scale = channel_scale = None
    if codebook_dtype == "int8":
        codebook_scale = payload.take(fields, "scales", "float32", (layout.n_codebooks,))
    if fields.flag("channel_scale"):
        channel_scale = payload.take(fields, "scales", "float32", (layout.n_channels,))
    coding = fields.choice("coding", CODINGS, "packed")
    size = (
        packed_size(layout.n_channels * layout.channel_size, k)
        if coding == "packed"
        else fields.count("bytes")
    )
    codes = payload.take(fields, "codes", "uint8", (size,))
    classes = _classes(fields, coding)
    chunk = fields.chunk() if coding == "ans" else None
    encoded = EncodedCodes(codes, layout.n_channels, layout.channel_size, k, coding, classes, chunk)
    check_codes(fields.where, encoded)
    return CompressedTensor(
        shape, dtype, granularity, encoded, codebook, codebook_scale, channel_scale, fields.cost()
    )


def _classes(fields: Fields, coding: str) -> tuple[int, int] | None:
    """The axis whose lines have tables of their own, and how many tables there are."""
    classes = fields.take("classes")
    if classes is None:
        return None
    is_pair = type(classes) is list and len(classes) == 2
    if not is_pair or not all(type(n) is int for n in classes) or classes[0] not in (0, 1):
        raise fields.unexpected("classes", classes)
    if coding != "ans":
        raise FormatError(f"{fields.where}: classes of lines belong to the coding 'ans'")
    if not 2 <= classes[1] <= MAX_CLASSES:
        raise FormatError(f"{fields.where}: expected 2 to {MAX_CLASSES} classes, got {classes[1]}")
    return classes[0], classes[1]


def check_codes(where: str, encoded: EncodedCodes) -> None:
    """That tables of counts fit the lines that they stand for, before anything is decoded."""
    if encoded.coding == "ans":
        try:
            read_counts(encoded)
        except FormatError as error:
            raise FormatError(f"{where}: {error}") from None


CODEBOOK = Kind("codebook", CompressedTensor, _describe, _parts, _read)
