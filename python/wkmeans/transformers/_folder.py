"""A folder that ``from_pretrained`` loads: configuration and compressed weights."""

from __future__ import annotations

import os
import re
from pathlib import Path

from transformers import PreTrainedModel

from wkmeans.compression import CompressedModel
from wkmeans.transformers._config import WkmeansConfig

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def save_pretrained(
    model: PreTrainedModel,
    compressed: CompressedModel,
    folder: str | os.PathLike[str],
    *,
    max_shard_size: int | str = "50GB",
) -> None:
    """Write a folder that ``transformers`` loads by ``from_pretrained``, weights compressed.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Whose configuration is written, with the quantisation method in it. It stays as it is.
    compressed : CompressedModel
        Of this model, or of a checkpoint of it.
    folder : path
        Made where it does not exist. ``config.json``, ``generation_config.json`` where the model
        generates, and ``model.safetensors`` are written there; a tokenizer's files are yours to add
        (``tokenizer.save_pretrained(folder)``). What it holds of weights saved before is replaced.
    max_shard_size : int or str, default "50GB"
        Where the compressed tensors take more, as bytes or with a unit ("5GB", "200MiB"), they are
        written to several files, none of them larger unless one tensor is, with an index.

    Raises
    ------
    TypeError
        Where an argument is of another type.
    ValueError
        For a size that is none, and where a file to be replaced is one that `compressed` was made
        of.
    FileExistsError
        Where `folder` is a file.
    """
    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            f"model: expected a transformers.PreTrainedModel, got {type(model).__name__}"
        )
    if not isinstance(compressed, CompressedModel):
        raise TypeError(f"compressed: expected a CompressedModel, got {type(compressed).__name__}")
    most_bytes = _in_bytes(max_shard_size)
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    compressed.save_shards(where, most_bytes)
    config = type(model.config).from_dict(model.config.to_dict())
    config.architectures = [type(model).__name__]
    config.dtype = model.dtype
    config.quantization_config = WkmeansConfig().to_dict()
    config.save_pretrained(where)
    if model.can_generate():
        model.generation_config.save_pretrained(where)


def _in_bytes(size: int | str) -> int:
    if isinstance(size, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]I?B)", size.strip().upper())
        if found is not None:
            size = int(float(found[1]) * _UNITS[found[2]])
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(
            f"max_shard_size: expected a positive number of bytes or a size such as '5GB', "
            f"got {size!r}"
        )
    return size
