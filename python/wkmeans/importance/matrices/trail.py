"""What torch gave to a pass through a model, to be given again to the next one.

Every call of torch's functions is noted with its result, weakly: a tensor that nobody refers to any
more when the pass ends is not held. Another pass is given the same, and in the place of such a
tensor one of its shape without values, on the device "meta". Nothing is computed from it.

That holds only of what the calls alone have made. A pass is not noted where values may have come or
gone another way: from a generator of random numbers, through memory that NumPy shares, from or to a
tensor that outlasts the pass.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from types import EllipsisType, NoneType
from typing import Any

import numpy as np
import torch

Function = Callable[..., Any]
Call = tuple[Function, Any]
"""A function of torch's and its result."""

ANEW = object()
"""In the place of a result: nothing was computed, but a setting changed, such as autograd's."""

_FORM = (
    *("device", "dtype", "is_cpu", "is_cuda", "is_leaf", "is_meta", "is_nested", "is_quantized"),
    *("is_sparse", "layout", "ndim", "requires_grad", "shape"),
    *("dim", "element_size", "is_complex", "is_contiguous", "is_floating_point", "ndimension"),
    *("numel", "size", "stride", "__len__"),
)
FORM: frozenset[Function] = frozenset(
    getattr(found, "__get__", found) if not callable(found) else found
    for found in (getattr(torch.Tensor, name) for name in _FORM)
)
"""What tells nothing of a tensor's values."""

# Nothing else is written to or taken from through these.
_PLAIN = (
    NoneType, int, float, complex, str, bytes, EllipsisType, range, torch.dtype, torch.device,
    torch.layout, torch.memory_format, np.generic, Enum, type,
)  # fmt: skip

_HOLDERS = tuple, list, dict, slice


class LostError(BaseException):
    """The model does not do again what it did. Not for the model's own handlers."""


@dataclass(frozen=True, eq=False)
class Foreign:
    """A tensor, such as a module's own, and how often it had been written to."""

    tensor: weakref.ref[torch.Tensor]
    version: int

    def __eq__(self, other: object) -> bool:
        """Whether it is the same object, whatever its values, which references would compare."""
        return (
            isinstance(other, Foreign)
            and self.tensor is other.tensor
            and self.version == other.version
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def is_intact(self) -> bool:
        """Whether it is there and has not been written to since."""
        tensor = self.tensor()
        return tensor is not None and _version_of(tensor) == self.version


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
    given : sequence of sequence of (Foreign or plain value)
        For each call its arguments but for tensors that a call had made or that are known to last.
    read : set of int
        The identities of those that last and whose values some call was given.
    """

    calls: Sequence[Call]
    following: Function
    held: Sequence[tuple[torch.Tensor, int]]
    given: Sequence[Sequence[Any]]
    read: Set[int]

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
        self.can_note = True
        """Whether nothing has happened that is not seen here."""
        self._noted: list[Call] = []
        self._arguments: list[list[Any]] = []
        self._read = set(trail.read) if trail is not None else set()
        self._random = self._random_states()
        self._given: weakref.WeakValueDictionary[int, torch.Tensor] = weakref.WeakValueDictionary()
        self._faint: dict[int, _Faint] = {}

    def again(self, function: Function, arguments: Any) -> Any:
        """What the call gave; ANEW where it is to be made."""
        assert self._trail is not None
        position = len(self._noted)
        if position == len(self._trail.calls):
            self.are_known = False
            if not self._trail.is_intact:
                raise LostError("wrote by another way than by functions of torch's")
            known, result = self._trail.following, ANEW
        else:
            known, result = self._trail.calls[position]
        if known != function:
            raise LostError(f"called {function} where it had called {known}")
        if not self.are_known:
            return ANEW
        given = [] if function in FORM else self.given(_leaves(arguments))
        if given != self._trail.given[position]:
            raise LostError(f"gave {function} something else than before")
        if result is not ANEW:
            result = _mapped(result, torch.Tensor, self._given_again)
            self._note(function, given, result)
        return result

    def begin(self, arguments: Any) -> list[Any]:
        """The arguments of a call that is to be made, taken out of what holds them."""
        found = _leaves(arguments)
        for one in found:
            if not isinstance(one, torch.Tensor):
                self.can_note &= isinstance(one, _PLAIN)
            elif one.is_meta and self._trail is not None:  # some functions would not fail
                raise LostError("computes from what is gone")
        return found

    def given(self, arguments: Iterable[Any]) -> list[Any]:
        """What is to be the same in the next pass, as it is before the call."""
        return [
            Foreign(weakref.ref(one), _version_of(one)) if isinstance(one, torch.Tensor) else one
            for one in arguments
            if not isinstance(one, torch.Tensor)
            or not (id(one) in self._lasting or self._is_made_here(one))
        ]

    def note(
        self, function: Function, arguments: Iterable[Any], given: list[Any], result: Any
    ) -> None:
        """A call that was made; ``given`` is as it was before."""
        for one in () if isinstance(result, torch.Tensor) else _leaves(result):
            self.can_note &= isinstance(one, (torch.Tensor, _PLAIN))
        tensors = [id(one) for one in arguments if isinstance(one, torch.Tensor)]
        if function in FORM:
            given = []
        else:
            self._read.update(name for name in tensors if name in self._lasting)
        self._note(function, given, ANEW if result is None and not tensors else result)

    def trail_to(self, function: Function) -> Trail | None:
        """Up to here, before this call; the one that was given where that does not go further."""
        if self._trail is not None and len(self._noted) == len(self._trail.calls):
            return self._trail
        if not self.can_note or self._random_states() != self._random:
            return None
        foreign = (one for each in self._arguments for one in each if isinstance(one, Foreign))
        if not all(one.is_intact for one in foreign):
            return None  # the next pass would read what this one or another has written
        calls = [(known, _mapped(result, _Faint, _Faint.now)) for known, result in self._noted]
        tensors: dict[int, torch.Tensor] = {}
        for _, result in calls:
            _mapped(result, torch.Tensor, lambda tensor: tensors.setdefault(id(tensor), tensor))
        held = [
            (tensor, tensor._version)
            for name, tensor in tensors.items()
            if not tensor.is_meta and name not in self._lasting
        ]
        return Trail(calls, function, held, list(self._arguments), frozenset(self._read))

    def _note(self, function: Function, given: list[Any], result: Any) -> None:
        self._arguments.append(given)
        self._noted.append((function, _mapped(result, torch.Tensor, self._fainted)))

    def _is_made_here(self, tensor: torch.Tensor) -> bool:
        known = self._faint.get(id(tensor))
        return tensor.is_meta or (known is not None and known.tensor() is tensor)

    def _random_states(self) -> list[bytes]:
        devices = {one.device for one in self._lasting.values() if one.is_cuda}
        states = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, sorted(devices, key=str))]
        return [state.numpy().tobytes() for state in states]

    def _given_again(self, tensor: torch.Tensor) -> torch.Tensor:
        """Another object for the same memory: the trail's own would not tell who refers to it."""
        if tensor.is_meta or id(tensor) in self._lasting:
            return tensor
        return self._given.setdefault(id(tensor), tensor.detach())

    def _fainted(self, tensor: torch.Tensor) -> torch.Tensor | _Faint:
        if tensor.is_meta or id(tensor) in self._lasting:
            return tensor
        if not _can_be_noted(tensor):
            self.can_note = False
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
        """Another object for the tensor's memory, or a tensor without values."""
        tensor = self.tensor()
        if tensor is not None:
            return tensor.detach()  # the model may give its own object another memory
        if self._empty is None:
            shape, stride, dtype = self._like
            self._empty = torch.empty_strided(shape, stride, dtype=dtype, device="meta")
        return self._empty


def _can_be_noted(tensor: torch.Tensor) -> bool:
    """Whether it is nothing but its memory, and counts who writes to that.

    One that requires a gradient is a place in a graph, a subclass's may have attributes.
    """
    return (
        type(tensor) is torch.Tensor
        and tensor.layout is torch.strided
        and not tensor.requires_grad
        and not tensor.is_inference()
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )


def _version_of(tensor: torch.Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _leaves(value: Any) -> list[Any]:
    """Whatever tuples, lists, dicts and slices hold, in any nesting; in an order of its own."""
    found, rest = [], [value]
    while rest:
        one = rest.pop()
        if not isinstance(one, _HOLDERS):
            found.append(one)
        elif isinstance(one, dict):
            rest += one.items()
        elif isinstance(one, slice):
            rest += one.start, one.stop, one.step
        else:
            rest += one
    return found


def _mapped(result: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """A result with ``function`` applied to every ``kind`` in it."""
    if isinstance(result, kind):
        return function(result)
    if isinstance(result, (tuple, list)):
        parts = [_mapped(part, kind, function) for part in result]
        is_named = hasattr(result, "_fields")
        return type(result)(*parts) if is_named else type(result)(parts)
    return result
