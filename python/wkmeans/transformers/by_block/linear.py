"""Which weights a block multiplies by, and what it multiplies: linear layers in any disguise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from wkmeans.importance.first.tape import Slot
from wkmeans.importance.matrices.layers import Layer


@dataclass(frozen=True)
class LinearUse:
    """One product of inputs with a weight, or with one of the matrices that a weight stacks.

    Attributes
    ----------
    layer : Layer
    group : int
        Which of the weight's matrices.
    inputs : tensor (..., inputs)
    outputs : tensor (..., outputs)
    """

    layer: Layer
    group: int
    inputs: torch.Tensor
    outputs: torch.Tensor

    @property
    def name(self) -> str:
        return self.layer.slot.name

    def reads_the_same(self, other: LinearUse) -> bool:
        """Whether both multiply one tensor."""
        one, two = self.inputs, other.inputs
        return (
            one.data_ptr() == two.data_ptr()
            and one.shape == two.shape
            and one.stride() == two.stride()
        )


class Watch(TorchFunctionMode):
    """Tells of every product with one of `weights`, as it is done.

    A weight is known by its memory: a layer's own, a matrix out of a stack of experts'.
    """

    def __init__(
        self, weights: Mapping[str, torch.Tensor], tell: Callable[[LinearUse], None]
    ) -> None:
        super().__init__()
        self._weights = weights
        self._names = {w.untyped_storage().data_ptr(): name for name, w in weights.items()}
        self._tell = tell

    def __torch_function__(
        self, func: Any, _: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is functional.linear:
            inputs, weight, bias = (*args, None)[:3]
            bias = (kwargs or {}).get("bias", bias)
            self._told(inputs, weight, bias, output, transposed=False)
        elif func is torch.addmm and not kwargs:
            bias, inputs, weight = args
            self._told(inputs, weight, bias, output, transposed=True)
        return output

    def _told(
        self,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        output: torch.Tensor,
        *,
        transposed: bool,
    ) -> None:
        name = self._name_of(weight)
        if name is None:
            return
        whole = self._weights[name]
        rows, columns = weight.shape[::-1] if transposed else weight.shape
        if whole.shape == weight.shape:
            groups, group = 1, 0
        elif whole.ndim == 3 and whole.shape[1:] == weight.shape and whole.is_contiguous():
            groups, group = len(whole), weight.storage_offset() // whole.stride(0)
        else:
            return
        known = None if bias is None else self._name_of(bias)
        slot = None if known is None else Slot(known)
        layer = Layer(Slot(name), groups, rows, columns, transposed, slot)
        self._tell(LinearUse(layer, group, inputs, output))

    def _name_of(self, tensor: torch.Tensor) -> str | None:
        return self._names.get(tensor.untyped_storage().data_ptr())
