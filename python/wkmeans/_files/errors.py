"""The one error that a damaged or hostile file raises."""

from __future__ import annotations


class FormatError(ValueError):
    """A file is damaged, forged, or not one of ours; the message says what was found where."""
