"""Merging the ranks of a process group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from wkmeans.importance._importances import Importances


def all_reduce(importances: Importances, group: Any = None) -> Importances:
    """The sum over the ranks of ``group``; see ``Importances.all_reduce``."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        raise RuntimeError(
            "all_reduce needs torch.distributed: call init_process_group first, in every rank"
        )
    mine = importances.signature()
    every: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(every, mine, group=group)
    # Every rank has the same list and raises the same error: none is left waiting.
    for rank, theirs in enumerate(every):
        for key in every[0].keys() | theirs.keys():
            if every[0].get(key) != theirs.get(key):
                raise ValueError(
                    f"cannot merge the ranks' importances: {key} is {every[0].get(key)!r} on rank "
                    f"0 and {theirs.get(key)!r} on rank {rank}"
                )
    count = torch.tensor([importances.count], dtype=torch.int64, device=importances.device)
    distributed.all_reduce(count, group=group)
    quartic = importances.quartic_sums
    return replace(
        importances,
        count=int(count),
        sums=_summed(importances.sums, group),
        quartic_sums=None if quartic is None else _summed(quartic, group),
    )


def _summed(totals: dict[str, torch.Tensor], group: Any) -> dict[str, torch.Tensor]:
    summed = {name: total.clone() for name, total in totals.items()}
    for total in summed.values():
        torch.distributed.all_reduce(total, group=group)
    return summed
