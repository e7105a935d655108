"""A compressed model as a plain safetensors file: dense tensors, each decoded as it is written."""

from __future__ import annotations

from collections.abc import Iterator

from wkmeans._files.safetensors import METADATA, Piece, bits_of, file_of
from wkmeans._kernels.arrays import Array
from wkmeans.compression.format.file import Contents
from wkmeans.compression.tensors.dtypes import PACKED
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor


def plain_file(contents: Contents) -> Iterator[memoryview]:
    """The bytes of the file, part by part.

    A tied tensor is written once; its further names stand in the metadata, as safetensors'
    `save_model` puts them there, and `wkmeans.compress` ties them again. Wide dtypes come first, so
    that each array is aligned.
    """
    if METADATA in contents.tensors:
        raise ValueError(f"a safetensors file cannot hold a tensor called {METADATA!r}: rename it")
    metadata = {"format": "pt"} if contents.framework == "torch" else {}
    tensors = sorted(contents.tensors.items(), key=lambda item: -bits_of(item[1].dtype))
    pieces = {name: Piece(tensor.dtype, tensor.shape, _decoded(tensor)) for name, tensor in tensors}
    return file_of(pieces, metadata | dict(contents.aliases))


def _decoded(tensor: CompressedTensor | DenseTensor) -> Iterator[Array]:
    if isinstance(tensor, DenseTensor) and tensor.dtype in PACKED:
        yield tensor.values
    else:
        yield tensor.dequantize()
