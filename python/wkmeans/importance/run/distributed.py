"""Merging the ranks of a process group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from wkmeans.importance._importances import Importances, with_known_variance


def all_reduce(importances: Importances, group: Any = None) -> Importances:
    """The sum over the ranks of ``group``; see ``Importances.all_reduce``."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        raise RuntimeError(
            "all_reduce needs torch.distributed: call init_process_group first, in every rank"
        )
    every = _gathered(importances.signature(), group)
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
    random = _gathered(importances.random_names(), group)
    methods: dict[str, str] = {}
    for theirs in _gathered(importances.methods, group):
        methods |= theirs
    return replace(
        importances,
        count=int(count),
        sums=_summed(importances.sums, group),
        quartic_sums=None if quartic is None else _summed(quartic, group),
        methods=methods,
        variance_sums=_variances(importances, importances.variance_sums, random, group),
        quartic_variance_sums=_variances(
            importances, importances.quartic_variance_sums, random, group
        ),
    )


def _gathered(mine: Any, group: Any) -> list[Any]:
    """Of every rank."""
    every: list[Any] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(every, mine, group=group)
    return every


def _variances(
    importances: Importances, mine: dict[str, torch.Tensor], random: list[Any], group: Any
) -> dict[str, torch.Tensor]:
    """Ranks where a value is exact add nothing."""
    names = with_known_variance(random, _gathered(list(mine), group))
    sums = importances.sums
    return _summed({n: mine.get(n, torch.zeros_like(sums[n])) for n in names}, group)


def _summed(totals: dict[str, torch.Tensor], group: Any) -> dict[str, torch.Tensor]:
    summed = {name: total.clone() for name, total in totals.items()}
    for total in summed.values():
        torch.distributed.all_reduce(total, group=group)
    return summed
