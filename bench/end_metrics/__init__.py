"""What networks are for, measured: nets trained here, and pretrained ones that install by name.

`network(name)` has the module, what calibrates it, and what its outputs are worth on test inputs.
`UnavailableError` says what is not installed.
"""

from __future__ import annotations

from pathlib import Path

from end_metrics import images, photos, pitch, speakers, words
from end_metrics.network import Network, State
from end_metrics.state import WEIGHTS, UnavailableError, pretrained, weights_file

__all__ = [
    "PRETRAINED",
    "TRAINED",
    "Network",
    "State",
    "UnavailableError",
    "pretrained",
    "pretrained_network",
    "trained_network",
    "weights_file",
]

TRAINED = tuple(images.RECIPES)
PRETRAINED = tuple(WEIGHTS)

_MODULE_OF = {
    "CREPE tiny": pitch,
    "CREPE full": pitch,
    "EfficientNet-Lite0": photos,
    "Resemblyzer": speakers,
    "MiniLM-L6": words,
}


def pretrained_network(name: str) -> Network:
    """One of `PRETRAINED`."""
    return _MODULE_OF[name].network(name)


def trained_network(name: str, seed: int, cache: Path) -> Network:
    """One of `TRAINED`; from `cache`, which is where it goes otherwise."""
    return images.network(name, seed, cache)
