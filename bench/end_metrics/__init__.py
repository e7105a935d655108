"""What the pretrained nets are for, measured on data that installs by package name.

Each net's `evaluation(original)` gives a function of a state dict, to be handed to
`wkmeans.compress` as `evaluate`. `UnavailableError` says which data is not installed.
"""

from __future__ import annotations

from collections.abc import Callable

from end_metrics import photos, pitch, speakers, words
from end_metrics.state import State, UnavailableError

__all__ = ["METRICS", "State", "UnavailableError"]

METRICS: dict[str, tuple[str, Callable[[State], Callable[[State], float]]]] = {
    "CREPE tiny": ("pitch within 50 cents", pitch.evaluation),
    "EfficientNet-Lite0": ("top-1 as the original's", photos.evaluation),
    "Resemblyzer": ("speaker found", speakers.evaluation),
    "MiniLM-L6": ("WordSim-353, Spearman", words.evaluation),
    "CREPE full": ("pitch within 50 cents", pitch.evaluation),
}
