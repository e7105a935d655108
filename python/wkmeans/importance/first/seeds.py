"""What is back-propagated: vectors at the model's output, a few at a time.

A seed of one example has the shape of its output. With ``J`` the Jacobian of that output with
respect to a parameter, every objective sums ``weight * (J' seed)^2`` over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from wkmeans.importance.first.contributions import slices


@dataclass(frozen=True)
class Seeds:
    """Seeds at outputs of ``(examples, *output)``.

    Attributes
    ----------
    vectors : tensor ``(examples, seeds, *output)`` or ``(examples, positions, seeds, features)``
        The second where ``at_positions``: each seed is zero but at one position, and a seed for
        every position follows. Only what is asked for is ever written out.
    weights : tensor ``(examples, seeds)`` or ``(examples, positions, seeds)``, optional
        All 1 by default.
    n_groups : int
        The seeds fall into so many losses, equally many in order, each with its own Hessian.
    are_probes : bool
        Whether a group's seeds are independent estimates, to be averaged, not parts to be summed.
    """

    vectors: torch.Tensor
    weights: torch.Tensor | None = None
    at_positions: bool = False
    n_groups: int = 1
    are_probes: bool = False

    @property
    def count(self) -> int:
        """The number of seeds of each example."""
        shape = self.vectors.shape
        return shape[1] * shape[2] if self.at_positions else shape[1]

    @property
    def per_group(self) -> int:
        """The number of seeds that belong to one loss."""
        return self.count // self.n_groups

    @property
    def are_independent(self) -> bool:
        """Whether they are probes, and enough of them to tell how uncertain they are."""
        return self.are_probes and self.per_group > 1

    def blocks(self, limit: int | None) -> Iterator[slice]:
        """All seeds, at most ``limit`` at a time; by default one group at a time."""
        return slices(self.count, self.per_group if limit is None else limit)

    def normalised(self, part: slice) -> tuple[torch.Tensor, torch.Tensor | None, float]:
        """Vectors ``(seeds, examples, *output)``, their weights' signs, and the squares' scale.

        The weights' magnitude is in the vectors, the largest of which is between 1 and 2: a
        confident softmax gives gradients whose squares single precision does not hold.
        """
        vectors = self._written_out(part).transpose(0, 1).double()
        signs = None
        if self.weights is not None:
            weights = self.weights.flatten(1)[:, part].T.to(vectors.dtype)
            vectors = vectors * _column(weights.abs().sqrt(), vectors)
            signs = weights.sign() if bool((weights < 0).any()) else None
        largest = float(vectors.abs().max()) if vectors.numel() else 1.0
        exponent = max(math.frexp(largest)[1] - 1, -500) if largest > 0 else 0
        return vectors * 2.0**-exponent, signs, 2.0 ** (2 * exponent)

    def _written_out(self, part: slice) -> torch.Tensor:
        if not self.at_positions:
            return self.vectors[:, part]
        n, positions, per_position, features = self.vectors.shape
        chosen = torch.arange(part.start, part.stop, device=self.vectors.device)
        where, which = chosen // per_position, chosen % per_position
        written = self.vectors.new_zeros(n, len(chosen), positions, features)
        written[:, torch.arange(len(chosen)), where] = self.vectors[:, where, which]
        return written


def _column(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))
