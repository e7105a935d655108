"""Whole models as labels and codebooks, and the files that hold them."""

from wkmeans._files.errors import FormatError
from wkmeans.compression._compress import compress
from wkmeans.compression._model import CompressedModel, load
from wkmeans.compression._report import Report, TensorReport
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor

__all__ = [
    "CompressedModel",
    "CompressedTensor",
    "DenseTensor",
    "FormatError",
    "Report",
    "TensorReport",
    "compress",
    "load",
]
