"""What NNCodec codes as one block: a weight, the scales of its rows, a bias and a normalisation.

Normalisations that follow a layer at once are folded into its scales and bias. Which they were is
no part of NNCodec's file: their names go in front of it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from end_metrics import Network, State
from nnc_tuning import SCALING, Arrays
from torch import nn

_SCALED = (nn.Conv2d, nn.Linear)
_EPS = 1e-5  # what NNCodec adds to every variance that it folds
_TYPES = {
    "weight": "bn.gamma",
    "bias": "bn.beta",
    "running_mean": "bn.mean",
    "running_var": "bn.var",
}
_SIZE = "<H"


@dataclass(frozen=True)
class Folded:
    """A layer that a normalisation follows at once, by their names."""

    layer: str
    normalisation: str
    eps: float


def foldings(network: Network) -> list[Folded]:
    """Normalisations whose input is a layer's output, as one batch shows."""
    made: list[tuple[str, torch.Tensor]] = []
    found: list[Folded] = []

    def remember(name: str, _: nn.Module, __: Any, output: torch.Tensor) -> None:
        made.append((name, output))

    def look_up(name: str, layer: nn.BatchNorm2d, inputs: tuple[torch.Tensor, ...]) -> None:
        found.extend(Folded(maker, name, layer.eps) for maker, out in made if out is inputs[0])

    hooks = []
    for name, layer in network.module.named_modules():
        if isinstance(layer, _SCALED):
            hooks.append(layer.register_forward_hook(partial(remember, name)))
        elif isinstance(layer, nn.BatchNorm2d):
            hooks.append(layer.register_forward_pre_hook(partial(look_up, name)))
    with torch.no_grad():
        network.call(network.calibration[0])
    for hook in hooks:
        hook.remove()
    return found


def parameters_of(network: Network, folded: Sequence[Folded], *, scaled: bool = False) -> Arrays:
    """All tensors of floats, scales of one, and variances that NNCodec's own addend makes right."""
    parameters = {
        name: tensor.numpy().astype(np.float32)
        for name, tensor in network.module.state_dict().items()
        if tensor.is_floating_point()
    }
    for name in _scaled_layers(network.module) if scaled else ():
        weight = parameters[f"{name}.weight"]
        parameters[f"{name}.weight{SCALING}"] = np.ones(len(weight), np.float32)
    for block in folded:
        parameters[f"{block.normalisation}.running_var"] += np.float32(block.eps - _EPS)
    return parameters


def block_types(
    parameters: Arrays, module: nn.Module, folded: Sequence[Folded]
) -> dict[str, dict[str, str]]:
    """NNCodec's `block_id_and_param_type`; a block has the name of its layer."""
    types: dict[str, str] = {}
    blocks: dict[str, str] = {}
    for name in _scaled_layers(module):
        of_layer = {"weight": "weight", "bias": "bias", f"weight{SCALING}": "weight.ls"}
        types |= {f"{name}.{end}": kind for end, kind in of_layer.items()}
        blocks |= {f"{name}.{end}": name for end in of_layer}
    for block in folded:
        types |= {f"{block.normalisation}.{end}": kind for end, kind in _TYPES.items()}
        blocks |= {f"{block.normalisation}.{end}": block.layer for end in _TYPES}
    return {
        "parameter_type": {name: types[name] for name in types if name in parameters},
        "block_identifier": {name: blocks[name] for name in blocks if name in parameters},
    }


def _scaled_layers(module: nn.Module) -> list[str]:
    return [name for name, layer in module.named_modules() if isinstance(layer, _SCALED)]


def with_names(stream: bytes, folded: Sequence[Folded]) -> bytes:
    """NNCodec's file behind the names of the normalisations that it folded."""
    lines = [f"{block.layer} {block.normalisation} {block.eps!r}" for block in folded]
    names = zlib.compress("\n".join(lines).encode(), 9)
    return struct.pack(_SIZE, len(names)) + names + stream


def without_names(file: bytes) -> tuple[bytes, list[Folded]]:
    """What `with_names` joined."""
    start = struct.calcsize(_SIZE)
    end = start + struct.unpack_from(_SIZE, file)[0]
    lines = zlib.decompress(file[start:end]).decode().splitlines()
    folded = [(layer, name, float(eps)) for layer, name, eps in map(str.split, lines)]
    return file[end:], [Folded(*block) for block in folded]


def unfolded(state: State, folded: Sequence[Folded]) -> State:
    """With normalisations that do nothing, but for the biases of layers that have none."""
    state = dict(state)
    for block in folded:
        added = state.pop(f"{block.layer}.weight.bias", None)
        ones = torch.ones(len(state[f"{block.layer}.weight"]))
        state[f"{block.normalisation}.weight"] = ones
        state[f"{block.normalisation}.bias"] = 0 * ones if added is None else added
        state[f"{block.normalisation}.running_mean"] = 0 * ones
        state[f"{block.normalisation}.running_var"] = (1 - block.eps) * ones
    return state
