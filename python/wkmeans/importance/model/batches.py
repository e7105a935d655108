"""What ``batches`` may yield, as tensors that the engine can cut into examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

# Where a dict has its targets, as transformers names them.
TARGET_KEY = "labels"


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

    def with_item(self, key: str, tensor: torch.Tensor) -> Inputs:
        """An input that is a dict, with one more tensor in it."""
        return Inputs((*self.tensors, tensor), {**self.structure, key: _Slot(len(self.tensors))})

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
    """Inputs and, unless there are none, targets.

    ``is_declared``: they came in a dict, so that they are what the model means by ``labels``.
    """

    inputs: Inputs
    targets: torch.Tensor | None
    is_declared: bool = False

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, part: slice) -> Batch:
        targets = None if self.targets is None else self.targets[part]
        return Batch(self.inputs[part], targets, self.is_declared)

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


def check_iterable(argument: str, batches: Any) -> None:
    """``TypeError`` where it yields no batches: a batch by itself, or nothing of the kind."""
    if isinstance(batches, (torch.Tensor, Mapping)):
        raise TypeError(
            f"{argument}: expected an iterable of batches, got one {type(batches).__name__}; "
            "pass [it] where it is a batch"
        )
    if not (hasattr(batches, "__iter__") or hasattr(batches, "__getitem__")):
        raise TypeError(
            f"{argument}: expected an iterable of batches, got {type(batches).__name__}"
        )


def read_batch(
    position: int, batch: Any, *, needs_targets: bool = True, argument: str = "batches"
) -> Batch:
    """Check a batch of ``argument`` and take it apart; see ``estimate`` for what it may be.

    Targets that are not needed and do not fit are left out, whatever they are.
    """
    value, targets = _taken_apart(position, batch, needs_targets, argument)
    inputs = _read_inputs(position, value, argument)
    is_declared = isinstance(batch, Mapping)
    if not isinstance(targets, torch.Tensor):
        return Batch(inputs, None, is_declared)
    if targets.shape[:1] != (len(inputs),):
        if not needs_targets:
            return Batch(inputs, None, is_declared)
        raise ValueError(
            f"{argument}: expected {len(inputs)} targets in batch {position}, one for each input, "
            f"got shape {tuple(targets.shape)}"
        )
    return Batch(inputs, targets, is_declared)


def _taken_apart(position: int, batch: Any, needs_targets: bool, argument: str) -> tuple[Any, Any]:
    """The input, and the target or ``None``."""
    if isinstance(batch, Mapping):
        value = {key: part for key, part in batch.items() if key != TARGET_KEY}
        return value, batch.get(TARGET_KEY)
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    if not needs_targets:
        if isinstance(batch, torch.Tensor):
            return batch, None
        if isinstance(batch, (tuple, list)) and len(batch) == 1:  # a TensorDataset of inputs
            return batch[0], None
    alone = "" if needs_targets else "input tensors, "
    raise TypeError(
        f"{argument}: expected {alone}pairs (input, target), or dicts with the target under "
        f"{TARGET_KEY!r}, got {type(batch).__name__} as batch {position}"
    )


def _read_inputs(position: int, value: Any, argument: str) -> Inputs:
    tensors: list[torch.Tensor] = []

    def store(tensor: torch.Tensor) -> _Slot:
        tensors.append(differentiable(tensor))
        return _Slot(len(tensors) - 1)

    structure = _map(value, torch.Tensor, store)
    if not tensors or any(tensor.ndim == 0 for tensor in tensors):
        raise TypeError(
            f"{argument}: expected a tensor with examples along its first dimension, or a tuple or "
            f"dict of such, got {type(value).__name__} as the input of batch {position}"
        )
    for tensor in tensors:
        if len(tensor) != len(tensors[0]):
            raise ValueError(
                f"{argument}: expected input tensors of as many examples each, got "
                f"{len(tensors[0])} and {len(tensor)} in batch {position}"
            )
    return Inputs(tuple(tensors), structure)


def differentiable(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy where it was made in inference mode, which nothing can derive."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


def _map(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """``value`` with ``function`` applied to every ``kind`` in it."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, Mapping):
        return {key: _map(part, kind, function) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(_map(part, kind, function) for part in value)
    return value
