"""Uniform grids with feedback of errors, as GPTQ and WaterSIC have them: formulas of theirs, code
of ours. Each layer is compressed alone, against the inputs that the original network gives it.

Frantar et al., "GPTQ", 2023: one grid a row. WaterSIC, arXiv 2603.04956, 2026: steps that fall as
``1 / l_ii`` over columns, then one factor a column. What is no linear layer and no convolution of
one group has no feedback here: its columns are rounded one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from end_metrics import Network, State
from files import Array, coded_weights, largest_within, written
from simple import grid_payload, row_scales
from torch import nn
from torch.nn import functional

from wkmeans._kernels.feedback import Factor, factorised, lattice_feedback

Matrix = npt.NDArray[np.float64]
Payload = Callable[[Array, Factor, float], bytes]
_DAMPING = 0.01  # of the mean of the diagonal, GPTQ's
_SHARES = np.linspace(0.3, 1.0, 29)  # of a row's largest magnitude that a grid may end at


def gptq(network: Network, target: int) -> bytes:
    """Steps a share of each row's largest magnitude, and entropy code."""
    return _fed_back(network, target, _on_row_grids)


def watersic(network: Network, target: int) -> bytes:
    """Steps ``c / l_ii``, then shrunk, with one c for all layers, and entropy code."""
    return _fed_back(network, target, _on_water_level)


def gptq_of_k_levels(network: Network, k: int) -> State:
    """`k` equally spaced values a row, ends chosen by least squares, with feedback."""
    state = network.module.state_dict()
    matrices = _matrices(network)
    for name, weights in coded_weights(state).items():
        rounded = levels_with_feedback(weights, matrices[name], k)
        state[name] = torch.from_numpy(rounded).reshape(state[name].shape)
    return state


def _fed_back(network: Network, target: int, payload: Payload) -> bytes:
    state = network.module.state_dict()
    weights = coded_weights(state)
    factors = _factors(network)

    def make(exponent: float) -> bytes:
        step = 2.0**exponent
        return written(state, {n: payload(w, factors[n], step) for n, w in weights.items()})

    return largest_within(target, make, -12.0, 4.0)


def _on_row_grids(weights: Array, factor: Factor, step: float) -> bytes:
    scales, columns = row_scales(weights), np.ones(weights.shape[1])
    found = lattice_feedback(weights, factor, row_steps=step * scales, column_steps=columns)
    return grid_payload(found.integers.astype(np.int64), scales, np.float32(step))


def _on_water_level(weights: Array, factor: Factor, step: float) -> bytes:
    rows = np.ones(len(weights), np.float32)
    columns = 1 / factor.diagonal
    first = lattice_feedback(weights, factor, row_steps=step * rows, column_steps=columns)
    columns *= np.clip(first.best_factors, 0.5, 1.1)
    found = lattice_feedback(weights, factor, row_steps=step * rows, column_steps=columns)
    largest = float(columns.max())  # halves hold what is relative to it
    relative = (columns / largest).astype(np.float32)
    return grid_payload(found.integers.astype(np.int64), rows, np.float32(step * largest), relative)


def levels_with_feedback(weights: Array, damped: Matrix, k: int) -> Array:
    """Column after column, the last first: each makes up for the errors of those after it."""
    lower = np.linalg.cholesky(damped)
    grid = np.arange(k) - (k - 1) / 2
    scales = _least_squares_scales(weights, k)
    rounded = np.empty(weights.shape)
    errors = np.zeros(weights.shape)
    for column in reversed(range(weights.shape[1])):
        after = slice(column + 1, None)
        owed = errors[:, after] @ lower[after, column] / lower[column, column]
        target = (weights[:, column] + owed) / scales
        nearest = np.clip(np.rint(target + (k - 1) / 2), 0, k - 1).astype(np.int64)
        rounded[:, column] = grid[nearest] * scales
        errors[:, column] = weights[:, column] - rounded[:, column]
    return rounded.astype(np.float32)


def _least_squares_scales(weights: Array, k: int) -> Matrix:
    """The step of each row's grid, of those that end at a share of its largest magnitude."""
    largest = np.maximum(np.abs(weights).max(axis=1), np.finfo(np.float32).tiny)
    steps = np.outer(_SHARES, largest.astype(np.float64)) * 2 / k
    centre = (k - 1) / 2
    squares = [
        np.square(weights - (np.clip(np.rint(weights / s + centre), 0, k - 1) - centre) * s).sum(
            axis=1
        )
        for s in steps[:, :, np.newaxis]
    ]
    return np.asarray(steps[np.argmin(squares, axis=0), np.arange(len(weights))])


@lru_cache(maxsize=1)
def _matrices(network: Network) -> Mapping[str, Matrix]:
    """Second moments of each layer's inputs over the calibration batches, damped."""
    state = network.module.state_dict()
    sums = {name: torch.zeros(w.shape[1], w.shape[1]) for name, w in coded_weights(state).items()}
    hooks = []
    for name, layer in network.module.named_modules():
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
            hooks.append(layer.register_forward_pre_hook(_adder(sums[f"{name}.weight"])))
    try:
        with torch.inference_mode():
            for batch in network.calibration:
                network.call(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: _damped(matrix.double().numpy()) for name, matrix in sums.items()}


def _adder(total: torch.Tensor) -> Callable[[nn.Module, Any], None]:
    def add(layer: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        x = inputs[0]
        if isinstance(layer, nn.Conv2d):
            padding: Any = layer.padding
            patches = functional.unfold(x, layer.kernel_size, layer.dilation, padding, layer.stride)
            x = patches.transpose(1, 2)
        flat = x.flatten(0, -2)
        total.add_(flat.T @ flat)

    return add


def _damped(matrix: Matrix) -> Matrix:
    """In units of its mean diagonal; the identity where no input was recorded."""
    mean = float(np.trace(matrix)) / len(matrix)
    return (matrix / mean if mean > 0 else np.eye(len(matrix))) + _DAMPING * np.eye(len(matrix))


@lru_cache(maxsize=1)
def _factors(network: Network) -> Mapping[str, Factor]:
    return {name: factorised(matrix) for name, matrix in _matrices(network).items()}
