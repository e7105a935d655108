"""What is made of an example's squared gradients: sums over seeds, their squares and variances.

``g[s, n]`` is the derivative of seed ``s`` at example ``n`` with respect to the parameter. With
``q = sign * g^2`` a reduction sums over examples one of

- ``FIRST``: ``sum_s q``, for E[g^2], Fisher and E[h];
- ``SECOND``: ``(sum_s q)^2``, for E[h^2] where the seeds give ``h`` exactly;
- ``PAIRS``: ``((sum_s q)^2 - sum_s q^2) K / (K - 1)``, for E[h^2] where the ``K`` seeds are
  independent probes, each ``q`` an estimate of ``h / K``: unbiased, as no probe meets itself;
- ``VARIANCE``: ``v = (K sum_s q^2 - (sum_s q)^2) / (K - 1)``, that of ``FIRST`` over such probes;
- ``PAIRS_VARIANCE``: ``4 (sum_s q)^2 v + 2 v^2 K / (K - 1)``, that of ``PAIRS``. Where probes are
  few and ``v`` is noisy, too large rather than too small.
"""

from __future__ import annotations

from enum import Enum

import torch


class Reduction(Enum):
    """What is summed over examples; see the module."""

    FIRST = "first"
    SECOND = "second"
    PAIRS = "pairs"
    VARIANCE = "variance"
    PAIRS_VARIANCE = "pairs variance"

    @property
    def degree(self) -> int:
        """The power of ``q`` in it."""
        return {Reduction.FIRST: 1, Reduction.PAIRS_VARIANCE: 4}.get(self, 2)

    @property
    def sees_probes(self) -> bool:
        """Whether it needs each ``q``, not their sum alone."""
        return self not in (Reduction.FIRST, Reduction.SECOND)

    @property
    def variance(self) -> Reduction:
        """The reduction that estimates the variance of this one, of probes."""
        return Reduction.VARIANCE if self is Reduction.FIRST else Reduction.PAIRS_VARIANCE

    def dtype(self, squares: torch.dtype) -> torch.dtype:
        """What to compute it in: single does not hold the eighth powers of gradients."""
        return torch.float64 if self is Reduction.PAIRS_VARIANCE else squares


def combined(squares: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """The reduction over seeds, the first dimension."""
    dtype = reduction.dtype(squares.dtype)
    of_squares = squares.square().sum(0, dtype=dtype) if reduction.sees_probes else None
    whole = squares[0].to(dtype) if len(squares) == 1 else squares.sum(0, dtype=dtype)
    return from_sums(whole, of_squares, len(squares), reduction)


def multiplied(left: torch.Tensor, right: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """The reduction of ``left * right`` over seeds and examples, ``(groups, rows, columns)``.

    Each is ``(seeds, examples, groups, rows or columns)``, one of them with a single seed for all.
    """
    degree = reduction.degree
    if len(left) == 1:
        left = left[0] if degree == 1 else left[0].to(reduction.dtype(left.dtype)) ** degree
        right = combined(right, reduction)
    else:
        left = combined(left, reduction)
        right = right[0] if degree == 1 else right[0].to(reduction.dtype(right.dtype)) ** degree
    # (examples, groups, rows) -> (groups, rows, examples) @ (groups, examples, columns)
    return left.permute(1, 2, 0) @ right.transpose(0, 1)


def from_sums(
    whole: torch.Tensor, of_squares: torch.Tensor | None, n: int, reduction: Reduction
) -> torch.Tensor:
    """The reduction from ``sum_s q`` and ``sum_s q^2``, both of which it may overwrite."""
    if reduction is Reduction.FIRST:
        return whole
    square = whole.square()
    if of_squares is None:
        return square
    if reduction is Reduction.PAIRS:
        return square.sub_(of_squares).mul_(n / (n - 1))
    variance = of_squares.mul_(n).sub_(square).clamp_(min=0).div_(n - 1)
    if reduction is Reduction.VARIANCE:
        return variance
    return square.mul_(4).add_(variance, alpha=2 * n / (n - 1)).mul_(variance)
