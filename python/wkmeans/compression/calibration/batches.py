"""Calibration batches: inputs alone, and some of their examples, such as those that judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from wkmeans.importance.model.batches import Inputs, check_iterable, read_batch

_EVERY = 5  # one of so many examples is held out


def read_inputs(batches: Iterable[Any]) -> list[Inputs]:
    """The inputs of all batches, in order; targets are left aside, whatever they are.

    Raises
    ------
    TypeError
        For what yields no batches, and a batch that is no tensor, dict, or pair of an input and a
        target.
    ValueError
        Where there is no example.
    """
    check_iterable("calibration", batches)
    read = [
        read_batch(position, batch, needs_targets=False, argument="calibration").inputs
        for position, batch in enumerate(batches)
    ]
    inputs = [one for one in read if len(one)]
    if not inputs:
        raise ValueError("calibration: expected at least one example, got none")
    return inputs


def held_out(inputs: list[Inputs]) -> tuple[list[Inputs], list[Inputs]]:
    """Examples to calibrate on, and a fifth of all, one at least, to judge by.

    The fifth of every five, counted through all batches, the last where there are fewer. A single
    example does both.
    """
    n = sum(map(len, inputs))
    if n == 1:
        return inputs, inputs
    judging = torch.zeros(n, dtype=torch.bool)
    judging[_EVERY - 1 :: _EVERY] = True
    if n < _EVERY:
        judging[-1] = True
    return _those(inputs, ~judging), _those(inputs, judging)


def some_of_all(inputs: list[Inputs], most: int) -> list[Inputs]:
    """So many examples, evenly from all batches; all where there are no more."""
    n = sum(map(len, inputs))
    count = min(most, n)
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[torch.arange(count) * n // count] = True
    return _those(inputs, chosen)


def shuffled(inputs: Sequence[Inputs], most: int, generator: torch.Generator) -> Iterator[Inputs]:
    """All examples, so many at a time, of one batch each, in random order."""
    parts = [
        (one, part)
        for one in inputs
        for part in torch.split(torch.randperm(len(one), generator=generator), most)
    ]
    for chosen in torch.randperm(len(parts), generator=generator).tolist():
        one, part = parts[chosen]
        yield one.holding(tuple(tensor[part.to(tensor.device)] for tensor in one.tensors))


def _those(inputs: list[Inputs], which: torch.Tensor) -> list[Inputs]:
    """The examples chosen among all, batch by batch; batches of which none is are left out."""
    parts = torch.split(which, [len(one) for one in inputs])
    return [some for one, part in zip(inputs, parts, strict=True) for some in _some(one, part)]


def _some(inputs: Inputs, which: torch.Tensor) -> list[Inputs]:
    """The examples chosen, as one batch, or none."""
    if not bool(which.any()):
        return []
    if bool(which.all()):
        return [inputs]
    return [inputs.holding(tuple(t[which.to(t.device)] for t in inputs.tensors))]
