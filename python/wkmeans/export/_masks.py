"""Pruned weights as torch.nn.utils.prune stores them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def to_prune_state_dict(
    state_dict: Mapping[str, Tensor], masks: Mapping[str, Any]
) -> dict[str, Tensor]:
    """A state dict in which pruned parameters are stored as ``<name>_orig`` and ``<name>_mask``.

    It loads into a model whose parameters were put under ``torch.nn.utils.prune`` (by
    ``prune.identity(module, name)`` for example), which then keeps the zeros while it trains.

    Parameters
    ----------
    state_dict : mapping of torch.Tensor
        Of the dense model.
    masks : mapping of bool arrays or tensors
        True where a weight is kept, as `wkmeans.prune` returns them; or ``weight != 0``.

    Returns
    -------
    dict of torch.Tensor
        In the order of `state_dict`. Masks have the dtype of their weights, as torch's have.

    Raises
    ------
    ValueError
        For a mask whose name or shape is none of the state dict's.
    """
    for name, mask in masks.items():
        if name not in state_dict:
            raise ValueError(f"masks: expected names of the state dict, got {name!r}")
        if tuple(mask.shape) != tuple(state_dict[name].shape):
            raise ValueError(
                f"masks[{name!r}]: expected shape {tuple(state_dict[name].shape)}, "
                f"got {tuple(mask.shape)}"
            )
    result: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        if name in masks:
            mask = torch.as_tensor(masks[name], dtype=tensor.dtype, device=tensor.device)
            result[f"{name}_orig"] = tensor
            result[f"{name}_mask"] = mask
        else:
            result[name] = tensor
    return result
