"""Gradients that are products of two factors: what every layer that multiplies adds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch

import wkmeans._core as _core
from wkmeans.importance.first.contributions import Total
from wkmeans.importance.first.reductions import Reduction, multiplied

# What the kernel knows; variances are torch's.
KERNEL_REDUCTIONS = (Reduction.FIRST, Reduction.SECOND, Reduction.PAIRS)


class Factor(Protocol):
    """One side of a product, ``(seeds or 1, examples, groups, rows, positions)``, cut on demand."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole factor."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the values."""
        ...

    @property
    def view(self) -> torch.Tensor:
        """All values, uncopied: ``(seeds or 1, examples, groups, *rows, *positions)``."""
        ...

    @property
    def n_row_axes(self) -> int:
        """How many axes of the view are rows."""
        ...

    def cut(self, seeds: slice, examples: slice) -> torch.Tensor:
        """The values of some seeds (all, where there is only one) and examples."""
        ...


@dataclass(frozen=True)
class Held:
    """A factor that is in memory."""

    view: torch.Tensor
    n_row_axes: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole factor."""
        return tuple(self.view.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the values."""
        return self.view.dtype

    def cut(self, seeds: slice, examples: slice) -> torch.Tensor:
        """A view."""
        return self.view[seeds if len(self.view) > 1 else slice(None), examples]


@dataclass(frozen=True)
class Products:
    """``g = left @ right'`` for each seed, example and group; one side has the seeds.

    ``inputs`` is the side that the parameter multiplies, "left" or "right", so that the other is
    the derivative at what comes of it; "" where neither is so simple.
    """

    left: Factor
    right: Factor
    shape: tuple[int, ...]
    inputs: str = "right"

    @property
    def n_seeds(self) -> int:
        """One side has a seed for each of the other's, or one for all."""
        return max(self.left.shape[0], self.right.shape[0])

    @property
    def n_examples(self) -> int:
        """The number of examples."""
        return self.left.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Of the gradients."""
        return self.left.dtype

    @property
    def bytes_of_one(self) -> int:
        """The factors may be larger than the product."""
        sizes = (math.prod(self.shape), *(math.prod(f.shape[2:]) for f in (self.left, self.right)))
        return max(sizes) * self.dtype.itemsize

    def dense(self, seeds: slice, examples: slice) -> torch.Tensor:
        """A matrix multiplication for each example and group: seeds are more rows or columns."""
        left, right = self.left.cut(seeds, examples), self.right.cut(seeds, examples)
        n_seeds = max(len(left), len(right))
        n, groups = left.shape[1:3]
        if len(left) == 1:
            columns = right.permute(1, 2, 4, 0, 3).flatten(3)
            products = (left[0] @ columns).reshape(n, groups, left.shape[3], n_seeds, -1)
            products = products.permute(3, 0, 1, 2, 4)
        else:
            rows = left.permute(1, 2, 0, 3, 4).flatten(2, 3)
            products = (rows @ right[0].mT).reshape(n, groups, n_seeds, left.shape[3], -1)
            products = products.permute(2, 0, 1, 3, 4)
        return products.reshape(n_seeds, n, *self.shape)

    def reduce_alone(self, signs: torch.Tensor | None, reduction: Reduction, total: Total) -> bool:
        """By the kernel where there is one, which stores no gradient; else where squares factorise.

        They do where no sum over positions is squared: one multiplication in all.
        """
        if reduction in KERNEL_REDUCTIONS and _has_kernel(
            self.left.view, self.right.view, total.values
        ):
            self._reduce_by_kernel(signs, reduction, total)
            return True
        if self.left.shape[-1] != 1:
            return False
        left, right = (side[..., 0].square() for side in self.sides())
        if signs is not None:
            seeded = left if len(right) == 1 else right
            seeded *= signs[:, :, None, None].to(seeded.dtype)
        total.add(multiplied(left, right, reduction).reshape(self.shape))
        return True

    def sides(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Both factors, whole."""
        everything = slice(None)
        return self.left.cut(everything, everything), self.right.cut(everything, everything)

    def _reduce_by_kernel(
        self, signs: torch.Tensor | None, reduction: Reduction, total: Total
    ) -> None:
        _core.add_squared_products(
            (self.left.view.numpy(), self.left.n_row_axes),
            (self.right.view.numpy(), self.right.n_row_axes),
            None if signs is None else signs.to(self.dtype).contiguous().numpy(),
            reduction.value,
            total.scale,
            total.values.numpy(),
            torch.get_num_threads(),
        )


def _has_kernel(left: torch.Tensor, right: torch.Tensor, total: torch.Tensor) -> bool:
    return (
        left.is_cpu
        and left.dtype == right.dtype
        and left.dtype in (torch.float32, torch.float64)
        and total.is_contiguous()
    )
