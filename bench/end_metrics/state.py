"""Networks as functions of their state dicts, and the data that their metrics need."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch.nn import functional

State = dict[str, torch.Tensor]


class UnavailableError(Exception):
    """A metric's data is not installed."""


def installed(package: str, path: str = "") -> Path:
    """A file of a package, found without importing it and all that it depends on."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UnavailableError(f"{package} is not installed")
    return Path(spec.origin).parent / path


def linear(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def batch_norm(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    """As at inference, with the epsilon that both convolutional nets were trained with."""
    return functional.batch_norm(
        x,
        state[f"{name}.running_mean"],
        state[f"{name}.running_var"],
        state[f"{name}.weight"],
        state[f"{name}.bias"],
        eps=1e-3,
    )
