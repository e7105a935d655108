"""Compression block by block: memory for one block, and a run that goes on where it stopped.

A part, once compressed, is a file of its own, and what follows reads that file: so a run that was
interrupted ends in the same bytes as one that was not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from wkmeans import __version__
from wkmeans._files.output import write_file
from wkmeans.compression import CompressedModel, compress, load
from wkmeans.compression._findings import Findings
from wkmeans.compression._plan import make_budget
from wkmeans.compression.calibration.divergence import kl_divergence
from wkmeans.compression.tensors.dtypes import as_torch
from wkmeans.transformers._blocks import OUTSIDE, Batch, BlockModel
from wkmeans.transformers._texts import Surprise

_REQUEST = "request.json"
_NOTE = (
    "block by block: inputs weigh by their mean squares, outputs alike, embeddings and head by 1"
)
Progress = Callable[[str, int, int], None]


@dataclass
class _Chain:
    """Hidden states of all batches, in a network's original and in what it becomes."""

    original: list[torch.Tensor] = field(default_factory=list)
    changed: list[torch.Tensor] = field(default_factory=list)
    arguments: list[list[dict[str, Any]]] = field(default_factory=list)


def compress_by_block(
    network: BlockModel,
    calibrating: Sequence[Batch],
    judging: Sequence[Batch],
    place: Path,
    *,
    progress: Progress | None = None,
    target_bytes: int | None = None,
    target_bits_per_weight: float | None = None,
    **options: Any,
) -> CompressedModel:
    """Compress part by part into files in `place`, taking up those that are there.

    Inputs of linear layers weigh by their mean squares over the calibrating examples, as the blocks
    before give them once compressed. The report has the divergence on the judging ones.
    """
    batches = [*calibrating, *judging]
    chain = _Chain()
    total = sum(map(network.n_weights, network.parts))
    sized = target_bytes is not None or target_bits_per_weight is not None
    budget = make_budget(None, None, target_bytes, target_bits_per_weight, 1) if sized else None
    target = None if budget is None else budget.bytes_for(total)
    done = 0
    for part in network.parts:
        if progress is not None:
            progress("outside the blocks" if part == OUTSIDE else f"block {part}", done, total)
        share = network.n_weights(part)
        size = None if target is None else max(target * share // total, 1)
        asked = {**options, "target_bytes": size}
        file = place / f"part-{part + 1:05}.safetensors"
        if part == OUTSIDE:
            _begin(network, file, batches, chain, asked)
        else:
            _go_on(network, part, file, len(calibrating), chain, asked)
        done += share
    made = load([place / f"part-{part + 1:05}.safetensors" for part in network.parts])
    found = replace(_judged(network, made, judging, chain), target_bytes=target)
    return made.with_findings(found)


def _begin(
    network: BlockModel,
    file: Path,
    batches: Iterable[Batch],
    chain: _Chain,
    options: dict[str, Any],
) -> None:
    tensors = network.read(OUTSIDE)
    compressed = _compressed(tensors, {}, file, options)
    with network.holding(tensors):
        for batch in batches:
            hidden, arguments = network.first_inputs(batch)
            chain.original.append(hidden)
            chain.arguments.append(arguments)
    with network.holding(compressed):
        chain.changed = [network.first_inputs(batch)[0] for batch in batches]


def _go_on(
    network: BlockModel,
    block: int,
    file: Path,
    n_calibrating: int,
    chain: _Chain,
    options: dict[str, Any],
) -> None:
    tensors = network.read(block)
    arguments = [each[block] for each in chain.arguments]

    def through(states: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        pairs = zip(states, arguments[: len(states)], strict=True)
        return [network.through(block, hidden, named) for hidden, named in pairs]

    with network.holding(tensors):
        chain.original = through(chain.original)
        sums: Mapping[str, torch.Tensor] = {}
        if not file.exists():
            with network.squares(block) as sums:
                through(chain.changed[:n_calibrating])
    with network.holding(_compressed(tensors, sums, file, options)):
        chain.changed = through(chain.changed)


def _compressed(
    tensors: Mapping[str, torch.Tensor],
    squares: Mapping[str, torch.Tensor],
    file: Path,
    options: Mapping[str, Any],
) -> dict[str, torch.Tensor]:
    """What the file holds, which is made where it is not there."""
    if not file.exists():
        one = torch.ones((), dtype=torch.float64)
        importances = {name: squares.get(name, one) for name in tensors}
        compress(tensors, importances=importances, **options).save(file)
    return load(file).state_dict("torch")


@torch.no_grad()
def _judged(
    network: BlockModel, made: CompressedModel, judging: Sequence[Batch], chain: _Chain
) -> Findings:
    """Divergence and perplexity on the judging batches, which are the chain's last."""
    outside = network.read(OUTSIDE)
    dense = {name: as_torch(made[name].dequantize()) for name in outside}
    before, after, terms = Surprise(), Surprise(), []
    first = len(chain.original) - len(judging)
    for position, batch in enumerate(judging, start=first):
        with network.holding(outside):
            original = network.logits(batch, chain.original[position])
        with network.holding(dense):
            changed = network.logits(batch, chain.changed[position])
        before.add(original, batch["input_ids"])
        after.add(changed, batch["input_ids"])
        terms.append(kl_divergence(original.double(), changed.double()))
    divergence = float(torch.cat(terms).mean())
    return Findings(
        divergence=divergence,
        tried={"block by block": divergence},
        metric="perplexity",
        metric_before=before.perplexity,
        metric_after=after.perplexity,
        notes=(_NOTE,),
    )


@contextmanager
def unfinished(output: Path, request: Mapping[str, Any]) -> Iterator[Path]:
    """A folder beside `output` for the parts of a run; where the same was asked for, the former.

    It stays if the run is interrupted, unless no part was finished.
    """
    place = output.with_name(f".{output.name[:200]}.unfinished")
    text = json.dumps({"wkmeans": __version__, **request}, sort_keys=True, default=str).encode()
    known = place / _REQUEST
    if not (known.exists() and known.read_bytes() == text):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        write_file(known, [text])
    try:
        yield place
    except BaseException:
        if not any(place.glob("part-*")):
            shutil.rmtree(place, ignore_errors=True)
        raise
    shutil.rmtree(place)
