"""What ``batches`` may yield, as tensors that the engine can cut into examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

_TARGET_KEY = "labels"


@dataclass(frozen=True)
class _Slot:
    """The place of a tensor in the structure that the user gave."""

    index: int


@dataclass(frozen=True)
class Inputs:
    """A model's input: tensors with examples along their first dimension, in any nesting.

    ``structure`` is the input with every tensor replaced by its position in ``tensors``; whatever
    is no tensor (a flag, ``None``) stays in it.
    """

    tensors: tuple[torch.Tensor, ...]
    structure: Any

    def __len__(self) -> int:
        return self.tensors[0].shape[0]  # len() of a tensor takes longer

    def __getitem__(self, part: slice) -> Inputs:
        return self.holding(tuple(tensor[part] for tensor in self.tensors))

    def holding(self, tensors: tuple[torch.Tensor, ...]) -> Inputs:
        """The same structure around other tensors."""
        return Inputs(tensors, self.structure)

    def value(self) -> Any:
        """The input as the user gave it."""
        return _map(self.structure, _Slot, lambda slot: self.tensors[slot.index])

    def call(self, function: Callable[..., Any]) -> Any:
        """``function`` of a tensor, ``(*tuple)`` or ``(**dict)``."""
        value = self.value()
        if isinstance(value, Mapping):
            return function(**value)
        if isinstance(value, (tuple, list)):
            return function(*value)
        return function(value)


@dataclass(frozen=True)
class Batch:
    """Inputs and, unless there are none, targets."""

    inputs: Inputs
    targets: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, part: slice) -> Batch:
        return Batch(self.inputs[part], None if self.targets is None else self.targets[part])

    @property
    def labelled(self) -> torch.Tensor:
        """The targets; ``TypeError`` where there are none."""
        if self.targets is None:
            raise TypeError(
                "batches: expected targets as tensors, got none; only fisher needs no target"
            )
        return self.targets

    def chunks(self, size: int) -> Iterator[Batch]:
        """The examples in order, at most ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


def read_batch(position: int, batch: Any) -> Batch:
    """Check a batch and take it apart; see ``estimate`` for what it may be."""
    if isinstance(batch, Mapping):
        value: Any = {key: part for key, part in batch.items() if key != _TARGET_KEY}
        targets = batch.get(_TARGET_KEY)
    elif isinstance(batch, (tuple, list)) and len(batch) == 2:
        value, targets = batch
    else:
        raise TypeError(
            f"batches: expected pairs (input, target), or dicts with the target under "
            f"{_TARGET_KEY!r}, got {type(batch).__name__} as batch {position}"
        )
    inputs = _read_inputs(position, value)
    if not isinstance(targets, torch.Tensor):
        return Batch(inputs, None)
    if targets.shape[:1] != (len(inputs),):
        raise ValueError(
            f"batches: expected {len(inputs)} targets, one for each input, got shape "
            f"{tuple(targets.shape)} in batch {position}"
        )
    return Batch(inputs, targets)


def _read_inputs(position: int, value: Any) -> Inputs:
    tensors: list[torch.Tensor] = []

    def store(tensor: torch.Tensor) -> _Slot:
        tensors.append(tensor)
        return _Slot(len(tensors) - 1)

    structure = _map(value, torch.Tensor, store)
    if not tensors or any(tensor.ndim == 0 for tensor in tensors):
        raise TypeError(
            f"batches: expected a tensor with examples along its first dimension, or a tuple or "
            f"dict of such, got {type(value).__name__} as the input of batch {position}"
        )
    for tensor in tensors:
        if len(tensor) != len(tensors[0]):
            raise ValueError(
                f"batches: expected input tensors of as many examples each, got {len(tensors[0])} "
                f"and {len(tensor)} in batch {position}"
            )
    return Inputs(tuple(tensors), structure)


def _map(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """``value`` with ``function`` applied to every ``kind`` in it."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, Mapping):
        return {key: _map(part, kind, function) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(_map(part, kind, function) for part in value)
    return value
