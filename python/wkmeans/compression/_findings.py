"""What compressing a model showed beyond the tensors themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Findings:
    """What the report says of how a model was compressed; a file does not hold it.

    ``unseen`` maps names to the slices along the first axis that no example reached. ``tried`` maps
    what was tried to its divergence on held-out examples, ``weighed`` names to what their
    importance was: "matrix" or "diagonal"; ``metric`` is what was measured before and after;
    ``notes`` are sentences.
    """

    target_bytes: int | None = None
    unseen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    metric: str = "evaluation"
    metric_before: Any = None
    metric_after: Any = None
    divergence: float | None = None
    divergence_unweighted: float | None = None
    tried: Mapping[str, float] = field(default_factory=dict)
    weighed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
