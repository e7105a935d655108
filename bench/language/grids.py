"""Uniform grids in groups of 128 with feedback of errors, GPTQ-style: their formulas, our code.

Frantar et al., "GPTQ", 2023. Column after column of a layer is rounded, and what that costs is made
up for by the columns to come, by the second moments of the layer's inputs; each group's grid spans
what its weights have become when their turn comes. Blocks are taken in turn, each with the inputs
that those before it give once rounded. The table of embeddings, which multiplies nothing, is
rounded as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from rounding import GROUP, Grid, rounded
from torch import nn

_DAMPING = 0.01  # of the mean of the diagonal, as theirs


@torch.no_grad()
def fed_back_model(model: Any, batches: Iterable[torch.Tensor], levels: int) -> None:
    """Round all matrices of a Llama in place; `batches` are tokens ``(n, length)``."""
    calibrating = list(batches)
    table = model.get_input_embeddings().weight
    table.copy_(rounded(table, levels))
    for part in [*model.model.layers, model.lm_head]:
        layers = [module for module in part.modules() if isinstance(module, nn.Linear)]
        with _second_moments(layers) as moments:
            for ids in calibrating:
                model(input_ids=ids)
        for layer, matrix in zip(layers, moments, strict=True):
            layer.weight.copy_(fed_back(layer.weight, matrix, levels))


def fed_back(weight: torch.Tensor, matrix: torch.Tensor, levels: int) -> torch.Tensor:
    """``(rows, n)`` on grids of `levels` values, errors made up for under `matrix` ``(n, n)``."""
    left = weight.double().clone()
    found = torch.empty_like(left)
    share = _shares(matrix)
    grid: Grid | None = None
    for column in range(left.shape[1]):
        if grid is None or column % GROUP == 0:
            grid = Grid.spanning(left[:, column : column + GROUP], levels)
        found[:, column] = grid.nearest(left[:, column : column + 1])[:, 0]
        error = (left[:, column] - found[:, column]) / share[column, column]
        left[:, column + 1 :] -= error[:, None] * share[column, column + 1 :]
    return found.to(weight.dtype)


def _shares(matrix: torch.Tensor) -> torch.Tensor:
    """The upper factor U of ``S^-1 = U' U``: row i says what columns after i make up of its error.

    Inputs that never occur have a diagonal of the damping alone.
    """
    mean = matrix.diagonal().mean()
    damped = matrix.double() + _DAMPING * mean * torch.eye(len(matrix), dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True)


@contextmanager
def _second_moments(layers: Iterable[nn.Linear]) -> Iterator[list[torch.Tensor]]:
    """Of what each layer multiplies while this lasts, summed."""
    sums, hooks = [], []
    for layer in layers:
        total = torch.zeros(layer.in_features, layer.in_features, dtype=torch.float64)
        sums.append(total)

        def add(_: nn.Module, inputs: tuple[torch.Tensor], total: torch.Tensor = total) -> None:
            x = inputs[0].flatten(0, -2).double()
            total.add_(x.T @ x)

        hooks.append(layer.register_forward_pre_hook(add))
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()
