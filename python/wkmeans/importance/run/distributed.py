"""Merging the ranks of a process group."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

import torch

from wkmeans.importance.matrices.sums import LayerSums
from wkmeans.importance.run.state import State, merged_methods, with_known_variance

AnyState = TypeVar("AnyState", bound=State)


def all_reduce(state: AnyState, group: Any = None) -> AnyState:
    """The sum over the ranks of ``group``; see ``Importances.all_reduce``."""
    _require_equal_ranks(state.signature(), group)
    count = torch.tensor([state.count], dtype=torch.int64, device=state.device)
    torch.distributed.all_reduce(count, group=group)
    quartic = state.quartic_sums
    random = _gathered(state.random_names(), group)
    return replace(
        state,
        count=int(count),
        sums=_summed(state.sums, group),
        quartic_sums=None if quartic is None else _summed(quartic, group),
        methods=merged_methods(_gathered(state.methods, group)),
        variance_sums=_variances(state, state.variance_sums, random, group),
        quartic_variance_sums=_variances(state, state.quartic_variance_sums, random, group),
    )


def all_reduce_layers(
    count: int, layers: dict[str, LayerSums], signature: dict[str, Any], group: Any = None
) -> tuple[int, dict[str, LayerSums]]:
    """Examples and sums over the ranks of ``group``; see ``ImportanceMatrices.all_reduce``."""
    _require_equal_ranks(signature, group)
    device = next((sums.second.device for sums in layers.values()), torch.device("cpu"))
    counts = torch.tensor(
        [count, *(n for s in layers.values() for n in s.positions)], device=device
    )
    torch.distributed.all_reduce(counts, group=group)
    total, *positions = counts.tolist()
    left = iter(positions)
    second, squares, fourths = (
        _summed({name: getattr(sums, part) for name, sums in layers.items()}, group)
        for part in ("second", "squares", "fourths")
    )
    merged = {
        name: replace(
            sums,
            second=second[name],
            squares=squares[name],
            fourths=fourths[name],
            positions=tuple(islice(left, len(sums.positions))),
        )
        for name, sums in layers.items()
    }
    return total, merged


def _require_equal_ranks(signature: dict[str, Any], group: Any) -> None:
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        raise RuntimeError(
            "all_reduce needs torch.distributed: call init_process_group first, in every rank"
        )
    every = _gathered(signature, group)
    # Every rank has the same list and raises the same error: none is left waiting.
    for rank, theirs in enumerate(every):
        for key in every[0].keys() | theirs.keys():
            if every[0].get(key) != theirs.get(key):
                raise ValueError(
                    f"cannot merge the ranks' importances: {key} is {every[0].get(key)!r} on rank "
                    f"0 and {theirs.get(key)!r} on rank {rank}"
                )


def _gathered(mine: Any, group: Any) -> list[Any]:
    """Of every rank."""
    every: list[Any] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(every, mine, group=group)
    return every


def _variances(
    state: State, mine: dict[str, torch.Tensor], random: list[Any], group: Any
) -> dict[str, torch.Tensor]:
    """Ranks where a value is exact add nothing."""
    names = with_known_variance(random, _gathered(list(mine), group))
    sums = state.sums
    return _summed({n: mine.get(n, torch.zeros_like(sums[n])) for n in names}, group)


def _summed(totals: dict[str, torch.Tensor], group: Any) -> dict[str, torch.Tensor]:
    summed = {name: total.clone() for name, total in totals.items()}
    for total in summed.values():
        torch.distributed.all_reduce(total, group=group)
    return summed
