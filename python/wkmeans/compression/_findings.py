"""What compressing a model showed beyond the tensors themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Findings:
    """What the report says of how a model was compressed; a file does not hold it.

    ``unseen`` maps names to the slices along the first axis that no example reached.
    """

    target_bytes: int | None = None
    unseen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    metric_before: Any = None
    metric_after: Any = None
