"""A folder that ``from_pretrained`` loads: configuration and compressed weights."""

from __future__ import annotations

import os
from pathlib import Path

from transformers import PreTrainedModel

from wkmeans.compression import CompressedModel
from wkmeans.transformers._config import WkmeansConfig

WEIGHTS = "model.safetensors"


def save_pretrained(
    model: PreTrainedModel, compressed: CompressedModel, folder: str | os.PathLike[str]
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
        (``tokenizer.save_pretrained(folder)``).

    Raises
    ------
    TypeError
        Where an argument is of another type.
    FileExistsError
        Where `folder` is a file.
    """
    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            f"model: expected a transformers.PreTrainedModel, got {type(model).__name__}"
        )
    if not isinstance(compressed, CompressedModel):
        raise TypeError(f"compressed: expected a CompressedModel, got {type(compressed).__name__}")
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    compressed.save(where / WEIGHTS)
    config = type(model.config).from_dict(model.config.to_dict())
    config.architectures = [type(model).__name__]
    config.dtype = model.dtype
    config.quantization_config = WkmeansConfig().to_dict()
    config.save_pretrained(where)
    if model.can_generate():
        model.generation_config.save_pretrained(where)
