"""A folder of plain weights, as ``save_pretrained`` of transformers writes it: what is in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

_TOKENIZER = (
    *("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "*.model", "*.tiktoken"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template*"),
)
_GENERIC = ("TokenizersBackend", "PreTrainedTokenizerFast")
_VOCABULARY = 6  # of these patterns hold one
_BESIDE = ("generation_config.json", "preprocessor_config.json", "processor_config.json")


def load_plain(folder: Path) -> PreTrainedModel:
    """The model, in the dtype of its files, ready to be evaluated.

    Raises
    ------
    ValueError
        Where the weights are not plain ones, or are not all there.
    OSError
        Where the folder or its ``config.json`` is missing.
    """
    with _no_bar():
        model, info = model_kind(folder).from_pretrained(
            folder, dtype="auto", local_files_only=True, output_loading_info=True
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(
            f"{folder}: expected every weight of {type(model).__name__} in its files, got none for "
            f"{missing[0]!r}"
        )
    found: PreTrainedModel = model.eval()
    return found


def model_kind(folder: Path) -> Any:
    """The class that the folder's ``config.json`` names; raises as `load_plain`."""
    names = _config(folder).get("architectures") or [None]
    return getattr(transformers, str(names[0]), None) or AutoModelForCausalLM


@contextmanager
def _no_bar() -> Iterator[None]:
    """Without the bar that transformers draws whether anybody watches or not."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: expected a folder with a config.json")
    config = _mapping(path)
    quantised = config.get("quantization_config")
    if quantised is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise ValueError(
            f"{folder}: expected plain weights, got ones that its config.json says are quantised "
            f"by {method!r}"
        )
    return config


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a mapping, got {type(found).__name__}")
    return found


def load_tokenizer(folder: Path) -> Any:
    """The folder's own; ``FileNotFoundError`` where it has none."""
    if not any(_matching(folder, _TOKENIZER[:_VOCABULARY])):
        raise FileNotFoundError(
            f"{folder}: calibration needs the folder's own tokenizer, and no tokenizer.json or "
            "vocabulary is there"
        )
    return _tokenizer_kind(folder).from_pretrained(folder, local_files_only=True)


def _tokenizer_kind(folder: Path) -> Any:
    """What reads the folder's tokenizer as its files have it.

    Where they say that no class but tokenizer.json decides, `AutoTokenizer` may still build the
    tokenizer that models of this type usually have.
    """
    described = folder / "tokenizer_config.json"
    if not (folder / "tokenizer.json").is_file() or not described.is_file():
        return AutoTokenizer
    named = _mapping(described).get("tokenizer_class")
    return PreTrainedTokenizerFast if named in _GENERIC else AutoTokenizer


def copy_companions(folder: Path, output: Path) -> None:
    """What belongs to a model beside weights and configuration, byte for byte."""
    for path in _matching(folder, (*_TOKENIZER, *_BESIDE)):
        if path.is_dir():
            shutil.copytree(path, output / path.name)
        else:
            shutil.copyfile(path, output / path.name)


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def predicts_next_tokens(model: PreTrainedModel) -> bool:
    """Whether perplexity is what such a model is judged by."""
    return type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def positions_of(model: PreTrainedModel) -> int | None:
    """The longest sequence that it takes; None where nothing says so."""
    config = model.config.get_text_config()
    found = getattr(config, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None
