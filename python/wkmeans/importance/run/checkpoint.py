"""A run on disk: its sums so far and how many batches they hold."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

from wkmeans.importance.run.state import State
from wkmeans.importance.run.storage import load_with_metadata, save

_KEYS = ("batches", "arguments", "second_methods")


class Checkpoint:
    """Reads and writes ``path``; refuses a file of another estimate.

    ``arguments`` are those that the sums depend on beyond what ``State`` knows.
    """

    def __init__(self, path: str | PathLike[str], arguments: dict[str, Any]) -> None:
        self._path = Path(path)
        self._arguments = json.dumps(arguments, sort_keys=True)

    def read(self) -> tuple[State, int, dict[str, str]] | None:
        """The sums, the number of batches in them, and the second derivatives' methods."""
        if not self._path.exists():
            return None
        state, metadata = load_with_metadata(self._path)
        if any(key not in metadata for key in _KEYS) or not metadata["batches"].isdecimal():
            raise ValueError(f"{self._path}: is no checkpoint of an estimate under way")
        if metadata["arguments"] != self._arguments:
            raise ValueError(
                f"{self._path}: was made with {metadata['arguments']}, not {self._arguments}; "
                "remove it to start again"
            )
        return state, int(metadata["batches"]), json.loads(metadata["second_methods"])

    def write(self, state: State, batches: int, methods: dict[str, str]) -> None:
        """Replace the file as a whole: an interruption leaves the old one."""
        values = (str(batches), self._arguments, json.dumps(methods))
        save(state, self._path, dict(zip(_KEYS, values, strict=True)))
