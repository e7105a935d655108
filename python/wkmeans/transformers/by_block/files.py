"""What a run leaves beside its output until it is done, so that another one can take it up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from wkmeans import __version__
from wkmeans._files.output import write_file
from wkmeans.transformers.by_block.ranks import Ranks

_REQUEST = "request.json"


@dataclass(frozen=True)
class RunFiles:
    """The files of one run; what is there is whole."""

    place: Path

    def part(self, number: int) -> Path:
        """Of a part that is compressed."""
        return self.place / f"part-{number + 1:05}.safetensors"

    @property
    def unweighted(self) -> Path:
        """Of plain rounding of all parts."""
        return self.place / "unweighted.safetensors"

    @property
    def sensitivities(self) -> Path:
        """Of what a sweep back from the outputs has found."""
        return self.place / "sensitivities.safetensors"

    @property
    def curves(self) -> Path:
        """Of what layers take at some levels."""
        return self.place / "curves.safetensors"

    def states(self, block: int) -> Path:
        """Of what enters a block; behind the last one, of what leaves it."""
        return self.place / f"states-{block:05}.safetensors"

    def write_states(self, block: int, states: Sequence[torch.Tensor]) -> None:
        """Hidden states of each batch before a block."""
        write_tensors(self.states(block), {str(i): state for i, state in enumerate(states)})

    def read_states(self, block: int) -> list[torch.Tensor]:
        """What `write_states` wrote."""
        found = load_file(self.states(block))
        return [found[str(i)] for i in range(len(found))]


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """A safetensors file, whole or not at all."""
    write_file(path, [save({name: tensor.contiguous() for name, tensor in tensors.items()})])


@contextmanager
def unfinished(output: Path, request: Mapping[str, Any], ranks: Ranks) -> Iterator[RunFiles]:
    """A folder beside `output` for the parts of a run; where the same was asked for, the former.

    It stays if the run is interrupted, unless nothing was finished. All ranks use one.
    """
    place = output.with_name(f".{output.name[:200]}.unfinished")
    text = json.dumps({"wkmeans": __version__, **request}, sort_keys=True, default=str).encode()
    known = place / _REQUEST

    def begin() -> None:
        if not (known.exists() and known.read_bytes() == text):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            write_file(known, [text])

    ranks.first(begin)
    try:
        yield RunFiles(place)
    except BaseException:
        if ranks.is_first and not any(place.glob("*.safetensors")):
            shutil.rmtree(place, ignore_errors=True)
        raise
    ranks.first(partial(shutil.rmtree, place))
