"""A run on disk: its sums so far, how many batches they hold, and which."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from wkmeans.importance.model.batches import Batch
from wkmeans.importance.run.state import State
from wkmeans.importance.run.storage import load_with_metadata, save

_KEYS = ("batches", "arguments", "second_methods")
_DIGEST = "digest"


@dataclass(frozen=True)
class Kept:
    """The sums, the number of batches in them, and the second derivatives' methods."""

    state: State
    batches: int
    methods: dict[str, str]


class Checkpoint:
    """Reads and writes ``path``; refuses a file of another estimate.

    ``arguments`` are those that the sums depend on beyond what ``State`` knows.
    """

    def __init__(self, path: str | PathLike[str], arguments: dict[str, Any]) -> None:
        self._path = Path(path)
        self._arguments = json.dumps(arguments, sort_keys=True)
        self._seen = hashlib.blake2b(digest_size=16)
        self._expected = ""
        self._done = 0

    def read(self) -> Kept | None:
        """What the file holds, ``None`` where there is none."""
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
        self._done = int(metadata["batches"])
        self._expected = metadata.get(_DIGEST, "")
        return Kept(state, self._done, json.loads(metadata["second_methods"]))

    def see(self, position: int, batch: Batch) -> None:
        """Every batch from the first on; warns where those skipped are not those in the sums."""
        for tensor in (*batch.inputs.tensors, batch.targets):
            if tensor is not None:
                self._seen.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
                self._seen.update(_bytes(tensor))
        if position + 1 == self._done and self._seen.hexdigest() != self._expected:
            warnings.warn(
                f"checkpoint {self._path}: the first {self._done} batches are not those that it "
                "holds, so that some examples count twice and others never; let batches come in "
                "the same order in every run (a loader's own seeded generator), or remove the file",
                stacklevel=4,
            )

    def finish(self, batches: int) -> None:
        """After the last batch; warns where the sums hold more."""
        if batches < self._done:
            warnings.warn(
                f"checkpoint {self._path}: holds {self._done} batches, more than the {batches} "
                "given; it is of other batches, or of more of them",
                stacklevel=4,
            )

    def write(self, state: State, batches: int, methods: dict[str, str]) -> None:
        """Replace the file as a whole: an interruption leaves the old one."""
        values = (str(batches), self._arguments, json.dumps(methods))
        extra = dict(zip(_KEYS, values, strict=True)) | {_DIGEST: self._seen.hexdigest()}
        save(state, self._path, extra)


def _bytes(tensor: torch.Tensor) -> Any:
    """Something that has the values' bytes, whatever the dtype."""
    values = tensor.detach().cpu().contiguous().reshape(-1)
    return values.view(torch.uint8).numpy().data
