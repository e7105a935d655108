"""Per-example gradients of a parameter, not yet multiplied out, and their sums over examples.

``g[s, n]`` is the derivative of seed ``s`` at example ``n`` with respect to the parameter, ``q =
sign * g^2``; `_reductions` says what is summed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from wkmeans.importance.first.reductions import Reduction, combined, from_sums

# Per-example gradients multiplied out at one time: what a core's cache holds.
_BYTES_AT_ONCE = 2 * 2**20

# Values that are added to a sum at one time.
_PIECE = 2**16


@dataclass(frozen=True)
class Total:
    """A float64 sum of the parameter's shape, to which ``scale`` times what comes is added."""

    values: torch.Tensor
    scale: float = 1.0

    def add(self, values: torch.Tensor) -> None:
        """Large sums in pieces, as torch would cast all of ``values`` first."""
        if values.numel() <= _PIECE or not self.values.is_contiguous():
            self.values.add_(values, alpha=self.scale)
            return
        target, source = self.values.view(-1), values.reshape(-1)
        for piece in slices(len(target), _PIECE):
            target[piece].add_(source[piece], alpha=self.scale)

    def add_rows(self, rows: torch.Tensor, values: torch.Tensor) -> None:
        """Add to some rows, repeated ones too."""
        self.values.index_add_(0, rows, values.to(self.values.dtype), alpha=self.scale)


class Contribution(Protocol):
    """The gradient that one use of a parameter adds, for ``n_seeds`` seeds and all examples."""

    @property
    def n_seeds(self) -> int:
        """The number of seeds."""
        ...

    @property
    def n_examples(self) -> int:
        """The number of examples."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the gradients."""
        ...

    @property
    def bytes_of_one(self) -> int:
        """What multiplying out one seed and example takes."""
        ...

    def dense(self, seeds: slice, examples: slice) -> torch.Tensor:
        """Gradients ``(seeds, examples, *parameter)``."""
        ...

    def reduce_alone(self, signs: torch.Tensor | None, reduction: Reduction, total: Total) -> bool:
        """Add the reduction to ``total`` without ``dense``; ``False`` where there is no such way.

        Valid only where this is the parameter's only contribution.
        """
        ...


@dataclass(frozen=True)
class _Held:
    """What is known by ``values``, ``(seeds, examples, ...)``."""

    values: torch.Tensor

    @property
    def n_seeds(self) -> int:
        """The number of seeds."""
        return len(self.values)

    @property
    def n_examples(self) -> int:
        """The number of examples."""
        return self.values.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Of the gradients."""
        return self.values.dtype


@dataclass(frozen=True)
class Values(_Held):
    """Gradients that are small enough to hold: biases and scales, ``(seeds, examples, *shape)``."""

    @property
    def bytes_of_one(self) -> int:
        """They are held."""
        return self.values[0, 0].nbytes

    def dense(self, seeds: slice, examples: slice) -> torch.Tensor:
        """A view."""
        return self.values[seeds, examples]

    def reduce_alone(self, signs: torch.Tensor | None, reduction: Reduction, total: Total) -> bool:
        """They are held already: no chunks."""
        total.add(reduced(self.values, signs, reduction))
        return True


@dataclass(frozen=True)
class Rows(_Held):
    """Gradients of single rows of a table: row ``indices[n, t]`` gets ``values[s, n, t]``.

    ``indices`` is negative where nothing is read.
    """

    indices: torch.Tensor
    shape: tuple[int, ...]

    @property
    def bytes_of_one(self) -> int:
        """A whole table."""
        return math.prod(self.shape) * self.dtype.itemsize

    def dense(self, seeds: slice, examples: slice) -> torch.Tensor:
        """The whole table for each seed and example."""
        values, indices = self.values[seeds, examples], self.indices[examples]
        n_seeds, n = values.shape[:2]
        n_rows, width = self.shape
        used = indices >= 0
        which = torch.arange(n, device=indices.device).unsqueeze(1).expand_as(indices)
        table = values.new_zeros(n_seeds, n * n_rows, width)
        table.index_add_(1, (which * n_rows + indices)[used], values[:, used])
        return table.reshape(n_seeds, n, n_rows, width)

    def reduce_alone(self, signs: torch.Tensor | None, reduction: Reduction, total: Total) -> bool:
        """Sum the positions that read one row, then square: nothing of the table's size but it."""
        rows, examples, gradients = self.gathered()
        squares = gradients.square_()
        if signs is not None:
            squares *= signs[:, examples].unsqueeze(2).to(squares.dtype)
        total.add_rows(rows, combined(squares, reduction))
        return True

    def gathered(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Each row that an example reads, which example, and its gradients ``(seeds, rows, _)``."""
        used = self.indices >= 0
        n_rows = self.shape[0]
        which = torch.arange(len(self.indices), device=used.device).unsqueeze(1)
        keys, slots = torch.unique((which * n_rows + self.indices)[used], return_inverse=True)
        gradients = self.values.new_zeros(self.n_seeds, len(keys), self.shape[1])
        gradients.index_add_(1, slots, self.values[:, used])
        return keys % n_rows, keys.div(n_rows, rounding_mode="floor"), gradients


def reduce(
    contributions: Sequence[Contribution],
    signs: torch.Tensor | None,
    reduction: Reduction,
    total: Total,
) -> None:
    """Add the reduction of the contributions' sum to ``total``.

    ``signs`` is ``(seeds, examples)``, ``None`` where all are positive. Contributions are summed
    before they are squared, a few examples and seeds at a time.
    """
    if len(contributions) == 1 and contributions[0].reduce_alone(signs, reduction, total):
        return
    n_seeds, n_examples = contributions[0].n_seeds, contributions[0].n_examples
    bytes_of_one = sum(contribution.bytes_of_one for contribution in contributions)
    at_once = max(1, _BYTES_AT_ONCE // bytes_of_one)
    # Windows are copied out once for all seeds, where the seeds' gradients are small enough.
    bytes_of_gradient = total.values.numel() * contributions[0].dtype.itemsize
    together = min(n_seeds, max(1, _BYTES_AT_ONCE // bytes_of_gradient))
    subtotal = torch.zeros_like(total.values, dtype=reduction.dtype(contributions[0].dtype))
    for examples in slices(n_examples, max(1, at_once // together)):
        if together == n_seeds:
            gradients = _summed(contributions, slice(None), examples)
            subtotal += reduced(gradients, _cut(signs, slice(None), examples), reduction)
        else:
            subtotal += _one_seed_at_a_time(contributions, signs, reduction, examples, n_seeds)
    total.add(subtotal)


def summed_gradients(contribution: Contribution) -> torch.Tensor:
    """The gradients of the first seed, summed over examples."""
    examples = slices(contribution.n_examples, 1)
    total = contribution.dense(slice(0, 1), next(examples))[0, 0]
    for example in examples:
        total = total + contribution.dense(slice(0, 1), example)[0, 0]
    return total


def reduced(
    gradients: torch.Tensor, signs: torch.Tensor | None, reduction: Reduction
) -> torch.Tensor:
    """The reduction of ``(seeds, examples, *parameter)``."""
    squares = gradients.square()
    if signs is not None:
        squares *= signs.reshape(*signs.shape, *[1] * (squares.ndim - 2)).to(squares.dtype)
    return combined(squares, reduction).sum(0)


def slices(n: int, size: int) -> Iterator[slice]:
    """``range(n)`` in pieces."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _one_seed_at_a_time(
    contributions: Sequence[Contribution],
    signs: torch.Tensor | None,
    reduction: Reduction,
    examples: slice,
    n_seeds: int,
) -> torch.Tensor:
    sums: list[torch.Tensor] = []  # of the squares and, for probes, of their squares
    for seed in slices(n_seeds, 1):
        square = _summed(contributions, seed, examples)[0].square()
        square = square.to(reduction.dtype(square.dtype))
        if signs is not None:
            square *= _column(signs[seed.start, examples], square)
        powers = [square, square.square()] if reduction.sees_probes else [square]
        sums = [a.add_(b) for a, b in zip(sums, powers, strict=True)] if sums else powers
    return from_sums(sums[0], sums[1] if reduction.sees_probes else None, n_seeds, reduction).sum(0)


def _summed(contributions: Sequence[Contribution], seeds: slice, examples: slice) -> torch.Tensor:
    gradients = contributions[0].dense(seeds, examples)
    for contribution in contributions[1:]:
        gradients = gradients + contribution.dense(seeds, examples)
    return gradients


def _cut(signs: torch.Tensor | None, seeds: slice, examples: slice) -> torch.Tensor | None:
    return None if signs is None else signs[seeds, examples]


def _column(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1)).to(like.dtype)
