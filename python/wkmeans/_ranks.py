"""Work on named items, split over the ranks of a torch.distributed group."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_over_ranks(
    function: Callable[[str, Item], Result],
    items: Mapping[str, Item],
    sizes: Mapping[str, int],
    group: ProcessGroup | None,
) -> dict[str, Result]:
    """``{name: function(name, item)}``, each computed by one rank and known to all afterwards.

    The same on every rank, in the order of `items`, whatever the number of ranks; without a group
    all are computed here. Ranks get about the same total of `sizes`. Results travel pickled, which
    gloo and nccl both carry.

    Raises
    ------
    ValueError
        On every rank: where the ranks hold other items than one another.
    RuntimeError
        On the other ranks, where a rank's function raises; that rank raises its own exception.
    """
    if group is None:
        return {name: function(name, item) for name, item in items.items()}
    from torch import distributed

    n_ranks, rank = distributed.get_world_size(group), distributed.get_rank(group)
    if rank < 0:
        raise ValueError("group: expected one that this rank belongs to")
    own: dict[str, Result] = {}
    failure: Exception | None = None
    try:
        for name in balanced(sizes, n_ranks)[rank]:
            own[name] = function(name, items[name])
    except Exception as error:  # the others wait for this rank: they must hear of it
        failure = error
    complaint = None if failure is None else f"{type(failure).__name__}: {failure}"
    gathered: list[Any] = [None] * n_ranks
    distributed.all_gather_object(gathered, (dict(sizes), own, complaint), group=group)
    if failure is not None:
        raise failure
    for other, (_, _, complaint) in enumerate(gathered):
        if complaint is not None:
            raise RuntimeError(f"rank {other} of the group failed: {complaint}")
    if any(list(theirs.items()) != list(sizes.items()) for theirs, _, _ in gathered):
        raise ValueError("group: expected the same tensors on every rank, got different ones")
    results = {name: result for _, part, _ in gathered for name, result in part.items()}
    return {name: results[name] for name in items}


def balanced(sizes: Mapping[str, int], n_parts: int) -> list[list[str]]:
    """Names dealt out, the largest first, each to the part of least total size so far.

    At most 4/3 of the best possible largest part (Graham 1969).
    """
    parts: list[list[str]] = [[] for _ in range(n_parts)]
    totals = [(0, part) for part in range(n_parts)]
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        total, part = totals[0]
        parts[part].append(name)
        heapq.heapreplace(totals, (total + sizes[name], part))
    return parts
