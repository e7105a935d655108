"""What torch gave to a pass through a model, to be given again to the next one.

Every call of torch's functions is noted with its result, weakly: a tensor that nobody refers to any
more when the pass ends is not held. Another pass is given the same, and in the place of such a
tensor one of its shape without values, on the device "meta". Whatever would compute from it fails.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

Function = Callable[..., Any]
Call = tuple[Function, Any]
"""A function of torch's and its result."""

ANEW = object()
"""In the place of a result: nothing was computed, but a setting changed, such as autograd's."""


class LostError(BaseException):
    """The model does not do again what it did. Not for the model's own handlers."""


@dataclass(frozen=True)
class Trail:
    """What torch gave up to some call.

    Attributes
    ----------
    calls : sequence of Call
    following : function
        The one that was called next.
    held : sequence of (tensor, int)
        What takes memory, and how often it had been written to.
    """

    calls: Sequence[Call]
    following: Function
    held: Sequence[tuple[torch.Tensor, int]]

    @cached_property
    def nbytes(self) -> int:
        """Of the memory that is held."""
        memories = (tensor.untyped_storage() for tensor, _ in self.held)
        return sum({memory.data_ptr(): memory.nbytes() for memory in memories}.values())

    @property
    def is_intact(self) -> bool:
        """Whether no pass that went on from here has written to what is held."""
        return all(tensor._version == version for tensor, version in self.held)


class Calls:
    """Those of one pass: first what a trail holds, which is given again, then what is noted.

    Parameters
    ----------
    lasting : iterable of tensor
        What outlasts the pass and is the same in the next one: parameters and inputs.
    trail : Trail, optional
    """

    def __init__(self, lasting: Iterable[torch.Tensor], trail: Trail | None) -> None:
        self._lasting = {id(tensor): tensor for tensor in lasting}
        self._trail = trail
        self.are_known = trail is not None
        """Whether what comes next is held."""
        self._noted: list[Call] = []
        self._can_note = True
        self._given: weakref.WeakValueDictionary[int, torch.Tensor] = weakref.WeakValueDictionary()
        self._faint: dict[int, _Faint] = {}

    def again(self, function: Function) -> Any:
        """What the call gave; ANEW where it is to be made."""
        assert self._trail is not None
        position = len(self._noted)
        if position == len(self._trail.calls):
            self.are_known = False
            known, result = self._trail.following, ANEW
        else:
            known, result = self._trail.calls[position]
        if known != function:
            raise LostError(f"called {function} where it had called {known}")
        if result is not ANEW:
            result = _mapped(result, torch.Tensor, self._given_again)
            self._note(function, result)
        return result

    def note(self, function: Function, arguments: Iterable[Any], result: Any) -> None:
        """A call that was made."""
        is_setting = result is None and not any(isinstance(a, torch.Tensor) for a in arguments)
        self._note(function, ANEW if is_setting else result)

    def trail_to(self, function: Function) -> Trail | None:
        """Up to here, before this call; the one that was given where that does not go further."""
        if self._trail is not None and len(self._noted) == len(self._trail.calls):
            return self._trail
        if not self._can_note:
            return None
        calls = [(known, _mapped(result, _Faint, _Faint.now)) for known, result in self._noted]
        tensors: dict[int, torch.Tensor] = {}
        for _, result in calls:
            _mapped(result, torch.Tensor, lambda tensor: tensors.setdefault(id(tensor), tensor))
        held = [
            (tensor, tensor._version)
            for name, tensor in tensors.items()
            if not tensor.is_meta and name not in self._lasting
        ]
        return Trail(calls, function, held)

    def _note(self, function: Function, result: Any) -> None:
        self._noted.append((function, _mapped(result, torch.Tensor, self._fainted)))

    def _given_again(self, tensor: torch.Tensor) -> torch.Tensor:
        """Another object for the same memory: the trail's own would not tell who refers to it."""
        if tensor.is_meta or id(tensor) in self._lasting:
            return tensor
        return self._given.setdefault(id(tensor), tensor.detach())

    def _fainted(self, tensor: torch.Tensor) -> torch.Tensor | _Faint:
        if tensor.is_meta or id(tensor) in self._lasting:
            return tensor
        if tensor.layout is not torch.strided or tensor.is_inference():
            self._can_note = False  # nothing tells who writes to it
            return tensor
        known = self._faint.get(id(tensor))
        if known is None or known.tensor() is not tensor:
            known = self._faint[id(tensor)] = _Faint(tensor)
        return known


class _Faint:
    """A tensor that may go."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = weakref.ref(tensor)
        self._like = tensor.shape, tensor.stride(), tensor.dtype
        self._empty: torch.Tensor | None = None

    def now(self) -> torch.Tensor:
        """The tensor, or one without values."""
        tensor = self.tensor()
        if tensor is not None:
            return tensor
        if self._empty is None:
            shape, stride, dtype = self._like
            self._empty = torch.empty_strided(shape, stride, dtype=dtype, device="meta")
        return self._empty


def _mapped(result: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """A result with ``function`` applied to every ``kind`` in it."""
    if isinstance(result, kind):
        return function(result)
    if isinstance(result, (tuple, list)):
        parts = [_mapped(part, kind, function) for part in result]
        is_named = hasattr(result, "_fields")
        return type(result)(*parts) if is_named else type(result)(parts)
    return result
