"""Safetensors files as a source: each tensor is read when it is asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from wkmeans._files.safetensors import SafetensorsFile
from wkmeans._kernels.arrays import Array
from wkmeans.compression.source.checkpoint import Checkpoint, checkpoint_at
from wkmeans.compression.source.entries import Entry, Source
from wkmeans.compression.tensors.dtypes import array_of


def source_of_files(paths: list[Path]) -> Source:
    """The tensors of all files that make the checkpoints at `paths`.

    Raises
    ------
    ValueError
        Where a tensor is in two files, or a file is not of a model that can be compressed.
    OSError
        Where a file is missing or cannot be read.
    """
    if not paths:
        raise ValueError("model: expected at least one safetensors file, got none")
    entries: dict[str, Entry] = {}
    metadata: dict[str, str] = {}
    left_out: dict[str, str] = {}
    inputs: list[Path] = []
    for checkpoint in map(checkpoint_at, paths):
        left_out |= checkpoint.left_out
        inputs += checkpoint.inputs
        for file in checkpoint.files:
            for name, entry in _entries(file, checkpoint, left_out).items():
                if name in entries:
                    raise ValueError(f"{file.path}: tensor {name!r} is in another of the files too")
                entries[name] = entry
            metadata |= file.metadata
    return Source(
        entries,
        "torch" if metadata.get("format") == "pt" else "numpy",
        _ties(metadata, entries),
        left_out,
        inputs=tuple(inputs),
    )


def _entries(
    file: SafetensorsFile, checkpoint: Checkpoint, left_out: dict[str, str]
) -> dict[str, Entry]:
    entries = {}
    for name, stored in file.arrays.items():
        shard = checkpoint.shard_of.get(name)
        if checkpoint.shard_of and shard != file.path.name:
            left_out[f"{file.path.name}: {name}"] = (
                f"not named by {checkpoint.index}"
                if shard is None
                else f"{checkpoint.index} takes it from {shard}"
            )
            continue
        read = partial(_read, file, name)
        entries[name] = Entry(stored.shape, stored.dtype, read, from_file=True)
    return entries


def _read(file: SafetensorsFile, name: str) -> Array:
    stored = file.arrays[name]
    return array_of(file.read(name), stored.dtype, stored.shape)


def _ties(metadata: dict[str, str], entries: dict[str, Entry]) -> dict[str, str]:
    """Names that safetensors' `save_model` dropped, and what they were tied to."""
    return {
        alias: name for alias, name in metadata.items() if alias not in entries and name in entries
    }


def input_files(paths: list[Path]) -> list[Path]:
    """The files that `source_of_files` would read."""
    return [file for path in paths for file in checkpoint_at(path).inputs]
