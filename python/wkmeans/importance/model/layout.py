"""Which positions of a layer's output belong to which example.

A layer inside a model may see ``(examples, positions, features)``, ``(positions, examples,
features)`` or examples and positions merged into one dimension. Shapes alone do not tell; a seed at
one example does, by where its delta is not zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import torch


class Layout(Enum):
    """Where the leading dimensions of a tensor keep the examples."""

    MAJOR = "examples first, merged with positions or not"
    SECOND = "positions, then examples"
    MINOR = "positions and examples merged, positions first"

    def fits(self, lead: Sequence[int], n: int) -> bool:
        """Whether leading dimensions ``lead`` can hold ``n`` examples this way."""
        if self is Layout.SECOND:
            return len(lead) > 1 and lead[1] == n
        return len(lead) > 0 and lead[0] > 0 and lead[0] % n == 0

    def split(self, tensor: torch.Tensor, n: int, lead: int, batched: int = 0) -> torch.Tensor:
        """``(*batch, *lead, *rest)`` as ``(*batch, n, positions, *rest)``.

        ``lead`` and ``batched`` count dimensions. A view wherever strides allow it.
        """
        batch, rest = tensor.shape[:batched], tensor.shape[batched + lead :]
        if self is Layout.SECOND:
            tensor = tensor.movedim(batched + 1, batched)
        elif self is Layout.MINOR:
            apart = (*batch, -1, n, *tensor.shape[batched + 1 :])
            tensor = tensor.reshape(apart).movedim(batched + 1, batched)
        return tensor.reshape(*batch, n, -1, *rest)


def find_layout(touched: Sequence[torch.Tensor]) -> Layout | None:
    """The only layout in which example ``i`` alone is nonzero in ``touched[i]``.

    ``touched`` has one bool tensor for each of all examples, of the shape of the leading
    dimensions. ``None`` where no layout fits, or several do and differ: nothing is guessed.
    """
    n, lead = len(touched), touched[0].shape
    positions = torch.arange(touched[0].numel()).reshape(lead)
    found: dict[tuple[int, ...], Layout] = {}
    for layout in Layout:
        if not layout.fits(lead, n):
            continue
        owned = layout.split(positions, n, len(lead))
        if all(_only_within(touched[i], owned[i]) for i in range(n)):
            found.setdefault(tuple(owned.flatten().tolist()), layout)
    return next(iter(found.values())) if len(found) == 1 else None


def _only_within(touched: torch.Tensor, owned: torch.Tensor) -> bool:
    outside = touched.flatten().clone()
    outside[owned.flatten()] = False
    return not bool(outside.any())
