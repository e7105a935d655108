"""A folder in, a smaller one out: `compress_folder`, and the command of the same options."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from wkmeans.compression import CompressedModel, compress
from wkmeans.compression.calibration.batches import held_out, read_inputs
from wkmeans.compression.source import open_source
from wkmeans.transformers._folder import save_pretrained
from wkmeans.transformers._plain import (
    copy_companions,
    load_plain,
    load_tokenizer,
    positions_of,
    predicts_next_tokens,
)
from wkmeans.transformers._texts import Sequences, batches_of, cut, perplexity, read_texts
from wkmeans.transformers.by_block.files import unfinished
from wkmeans.transformers.by_block.network import BlockModel
from wkmeans.transformers.by_block.plan import plan_of
from wkmeans.transformers.by_block.ranks import Ranks
from wkmeans.transformers.by_block.run import compress_by_block

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_EVERY = 5  # one of so many sequences judges
_LARGE = 1 << 28  # weights, a gigabyte in single precision
_WHOLE_ONLY = ("importances", "include", "exclude")  # options


def compress_folder(
    folder: Path,
    texts: Iterable[Path],
    output: Path,
    wanted: Sequences,
    *,
    by_block: bool = False,
    group: ProcessGroup | None = None,
    **options: Any,
) -> CompressedModel:
    """Compress the model of `folder` by the examples of `texts`, and write `output`.

    Parameters
    ----------
    folder : path
        With ``config.json``, plain weights and a tokenizer, whose files are copied.
    texts : iterable of path
        Texts in UTF-8, such as the model is to be good at.
    output : path
        A folder that is new or empty. It is written whole or not at all.
    wanted : Sequences
        How the texts are cut.
    by_block : bool
        Hold one block in memory at a time, not the model, whose weights are one stack of blocks:
        importances by a sweep back through them, one method beside plain rounding of the whole,
        and of their two files the one of less divergence. Parts that are finished wait beside
        `output`, and a run that is interrupted takes them up to end in the same bytes. Models of
        more than 2^28 weights that are such a stack go so without being asked.
    group : torch.distributed.ProcessGroup, optional
        Split what can be split over its ranks, which all make the same call and read and write the
        same folders: examples, layers of one input, tensors. The same file, to the byte, as by
        a single process.
    **options
        Of `wkmeans.compress`.

    Returns
    -------
    CompressedModel
        What was written. Its report has divergence and, of a model that predicts next tokens,
        perplexity on sequences that were held out.

    Raises
    ------
    ValueError, TypeError
        As `wkmeans.compress`, for texts that are too short, for a folder of weights that are not
        plain, for a model that does not take text, and for an output that is not empty.
    OSError
        Where something is missing or cannot be read.
    """
    _check_folders(folder, output)
    tokenizer = load_tokenizer(folder)
    read = read_texts(texts)
    network = BlockModel(folder) if by_block or _is_large(folder, options) else None
    model = load_plain(folder) if network is None else network.model
    _check_takes_text(model)
    sequences = cut(read, tokenizer, wanted, positions_of(model))
    _check_vocabulary(model, sequences)
    said = _said_of(sequences, wanted)
    ranks = Ranks(group)
    if network is None:
        options["group"] = group
        compressed = _with_note(_compressed_whole(model, sequences, options), said)
        ranks.first(partial(_write, folder, output, model, compressed))
        return compressed
    _check_by_block(options)
    progress = options.pop("progress", None)
    plan = plan_of(sum(map(network.n_weights, network.parts)), **options)
    with unfinished(output, _request(folder, sequences, options), ranks) as files:
        judging, calibrating = batches_of(sequences[::_EVERY]), batches_of(_others(sequences))
        compressed = compress_by_block(network, calibrating, judging, files, plan, progress, ranks)
        compressed = _with_note(compressed, said)
        ranks.first(partial(_write, folder, output, model, compressed))
    return compressed


def _is_large(folder: Path, options: Mapping[str, Any]) -> bool:
    """Whether the model is better not loaded, and can be compressed without."""
    if any(options.get(name) is not None for name in _WHOLE_ONLY):
        return False
    try:
        if sum(entry.size for entry in open_source(folder).entries.values()) <= _LARGE:
            return False
        BlockModel(folder)
    except (ValueError, OSError):  # whoever loads the whole model says what is wrong with it
        return False
    return True


def _compressed_whole(
    model: PreTrainedModel, sequences: torch.Tensor, options: Mapping[str, Any]
) -> CompressedModel:
    batches = batches_of(sequences, decoder=bool(model.config.is_encoder_decoder))
    judging = [inputs.value() for inputs in held_out(read_inputs(batches))[1]]
    predicts = predicts_next_tokens(model)
    before = perplexity(model, judging) if predicts else None
    compressed = compress(model, calibration=batches, **options)
    if not predicts:
        return compressed
    compressed.apply_to(model)
    after = perplexity(model, judging)
    found = compressed.findings
    return compressed.with_findings(
        replace(found, metric="perplexity", metric_before=before, metric_after=after)
    )


def _others(sequences: torch.Tensor) -> torch.Tensor:
    """Those that do not judge; the only one does both."""
    kept = torch.arange(len(sequences)) % _EVERY != 0
    return sequences[kept] if bool(kept.any()) else sequences


def _request(folder: Path, sequences: torch.Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides which bytes come out."""
    free = ("progress", "n_threads")
    files = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(folder.iterdir())]
    return {
        "folder": str(folder.resolve()),
        "files": files,
        "sequences": sequences.tolist(),
        "options": {name: value for name, value in options.items() if name not in free},
    }


def _check_by_block(options: Mapping[str, Any]) -> None:
    for name in _WHOLE_ONLY:
        if options.get(name) is not None:
            raise ValueError(f"{name}: expected none with block by block, got {options[name]!r}")


def _with_note(compressed: CompressedModel, note: str) -> CompressedModel:
    found = compressed.findings
    return compressed.with_findings(replace(found, notes=(*found.notes, note)))


def _write(folder: Path, output: Path, model: PreTrainedModel, compressed: CompressedModel) -> None:
    with _written_whole(output) as place:
        save_pretrained(model, compressed, place)
        copy_companions(folder, place)


def _check_folders(folder: Path, output: Path) -> None:
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder with calibration")
    if not output.exists():
        return
    if not output.is_dir():
        raise NotADirectoryError(f"--output: expected a folder with calibration, {output} is none")
    if output.samefile(folder):
        raise ValueError(f"--output: {output} is the input, which it would replace: name another")
    if any(output.iterdir()):
        raise ValueError(f"--output: expected a new or an empty folder, got {output}")


def _check_takes_text(model: PreTrainedModel) -> None:
    if model.main_input_name != "input_ids":
        raise ValueError(
            f"calibration: expected a model that reads text, got {type(model).__name__}, which "
            f"reads {model.main_input_name}"
        )


def _check_vocabulary(model: PreTrainedModel, sequences: torch.Tensor) -> None:
    known = model.get_input_embeddings().weight.shape[0]
    largest = int(sequences.max())
    if largest >= known:
        raise ValueError(
            f"calibration: expected tokens below {known}, which the model embeds, got {largest} "
            "from the tokenizer: is it this model's?"
        )


def _said_of(sequences: torch.Tensor, wanted: Sequences) -> str:
    number, length = sequences.shape
    text = f"calibrated by {number} sequences of {length} tokens, a fifth of them held out"
    return text if number == wanted.number else f"{text}; the texts have no more"


@contextmanager
def _written_whole(output: Path) -> Iterator[Path]:
    """A folder beside `output` that becomes it where nothing goes wrong."""
    output.parent.mkdir(parents=True, exist_ok=True)
    place = output.with_name(f".{output.name[:200]}.{secrets.token_hex(8)}")
    place.mkdir()
    try:
        yield place
        if output.exists():
            output.rmdir()  # empty, or it would not have come so far
        os.replace(place, output)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
