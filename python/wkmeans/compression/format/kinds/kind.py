"""What a kind of tensor is to a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wkmeans._kernels.arrays import Array
from wkmeans.compression.format.fields import Fields, Payload


@dataclass(frozen=True)
class Kind:
    """One way to store a tensor.

    Attributes
    ----------
    name : str
        What the description calls it.
    holds : type
        The tensors that are stored in this way.
    describe : callable
        From a tensor to the JSON members of its description, `kind` apart.
    parts : callable
        From a tensor to the arrays that make its payload, in order.
    read : callable
        From the description and the payload, which stands where the tensor begins, back to it;
        raises `FormatError` for anything that `describe` and `parts` did not make.
    """

    name: str
    holds: type
    describe: Callable[[Any], dict[str, Any]]
    parts: Callable[[Any], list[Array]]
    read: Callable[[Fields, Payload], Any]
