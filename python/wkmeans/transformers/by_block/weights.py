"""The tensors of a folder's files under the names of its model, made as transformers makes them."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)

from wkmeans.compression.source import open_source
from wkmeans.compression.tensors.dtypes import as_torch


class Weights:
    """Reads a tensor of `model` when it is asked for: one of the files', or made of several.

    Files may have other names than the model, and a tensor for each expert where it has one for
    all. Raises ``ValueError`` where a tensor of the model is not in the files.
    """

    def __init__(self, model: PreTrainedModel, folder: Path) -> None:
        self._model = model
        self._source = open_source(folder)
        mapping = get_model_conversion_mapping(model)
        self._renamings = [one for one in mapping if isinstance(one, WeightRenaming)]
        self._converters = [one for one in mapping if isinstance(one, WeightConverter)]
        self._parts = self._keys_by_name()
        tied = model.all_tied_weights_keys
        for name in model.state_dict():
            if name not in self._parts and name not in tied:
                raise ValueError(
                    f"{folder}: expected a tensor {name!r} for block by block, got none of this "
                    "name in its files"
                )

    def read(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """Tensors by the model's names, in the dtype that the files have them in."""
        return {name: self._made(name) for name in names}

    def dtype(self, name: str) -> str:
        """What the files have it in."""
        return self._source.entries[self._parts[name][0][0]].dtype

    def _made(self, name: str) -> torch.Tensor:
        keys = self._parts[name]
        (first, pattern), *_ = keys
        if pattern is None:
            return self._read(first)
        converter = deepcopy(next(c for c in self._converters if pattern in c.source_patterns))
        for key, own in keys:
            converter.add_tensor(name, key, own, lambda key=key: self._read(key))
        made = converter.convert(name, model=self._model, config=self._model.config)[name]
        found: torch.Tensor = made[0] if isinstance(made, list) else made
        return found

    def _read(self, key: str) -> torch.Tensor:
        found: torch.Tensor = as_torch(self._source.entries[key].read())
        return found

    def _keys_by_name(self) -> dict[str, list[tuple[str, str | None]]]:
        """Of each tensor of the model: what of the files it is made of, and by which pattern."""
        state = self._model.state_dict()
        prefix = self._model.base_model_prefix
        found: dict[str, list[tuple[str, str | None]]] = {}
        for key in sorted(self._source.entries, key=dot_natural_key):
            name, pattern = rename_source_key(key, self._renamings, self._converters, prefix, state)
            if name not in state and key in state:
                name, pattern = key, None
            if name in state:
                found.setdefault(name, []).append((key, pattern))
        return found
