"""Whole models as codes and codebooks, and the files that hold them."""

from wkmeans.compression._errors import FormatError
from wkmeans.compression._tensor import CompressedTensor, DenseTensor

__all__ = ["CompressedTensor", "DenseTensor", "FormatError"]
