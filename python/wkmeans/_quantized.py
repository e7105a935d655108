"""`Quantized`: weights as labels into codebooks, whatever made them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import Any

from wkmeans._kernels.dtypes import dtype_name


class Quantized(ABC):
    """Weights as labels into codebooks: each weight is the centroid that its label names.

    A codebook is k centroids, ascending unless fine-tuning has moved them. Each weight has a label,
    the index of its centroid, and belongs to one codebook.
    """

    @abstractmethod
    def _stored(self) -> Any:
        """The codebooks as they are stored, ``(..., k)``."""

    @abstractmethod
    def _described(self) -> dict[str, Any]:
        """What `repr` says besides the codebooks, in this order."""

    @abstractmethod
    def centroid_values(self) -> Any:
        """The codebooks ``(..., k)`` as the numbers they stand for, an int8 codebook's scale in."""

    @abstractmethod
    def dequantize(self) -> Any:
        """Dense weights: the centroid of each label."""

    @property
    def k(self) -> int:
        """Centroids in each codebook."""
        return int(self._stored().shape[-1])

    @property
    def n_codebooks(self) -> int:
        """How many codebooks the weights are shared among."""
        return prod(self._stored().shape[:-1])

    @property
    def codebook_dtype(self) -> str:
        """The name of the dtype that centroids are stored in."""
        return dtype_name(self._stored().dtype)

    def __repr__(self) -> str:
        codebooks = {"n_codebooks": self.n_codebooks} if self.n_codebooks > 1 else {}
        facts = codebooks | {"k": self.k, "codebook_dtype": self.codebook_dtype}
        return described(type(self).__name__, self._described() | facts)


def described(name: str, facts: dict[str, Any]) -> str:
    """One line; numbers to six digits, what is None left out."""
    shown = (
        f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value!r}"
        for key, value in facts.items()
        if value is not None
    )
    return f"{name}({', '.join(shown)})"
