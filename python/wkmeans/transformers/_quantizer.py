"""What transformers calls while it loads a folder whose weights are compressed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.modeling_utils import LoadStateDictConfig, LoadStateDictInfo
from transformers.quantizers import HfQuantizer
from transformers.quantizers.auto import register_quantizer

from wkmeans.compression import CompressedModel, load
from wkmeans.compression.coded.modules import keep_codes, names_to_keep
from wkmeans.compression.coded.weight import DTYPES
from wkmeans.compression.tensors.dtypes import as_torch
from wkmeans.transformers._config import METHOD, WkmeansConfig


@register_quantizer(METHOD)
class WkmeansQuantizer(HfQuantizer):  # type: ignore[misc]
    """Loads what `wkmeans.transformers.save_pretrained` wrote.

    The arrays of a compressed file are no parameters of the model. So transformers' own pass over
    the file is told to expect nothing of it, and once that is over the decoded weights go through
    the same loading that dense ones would: renamed, merged, tied and checked as any checkpoint's.
    """

    requires_calibration = True
    quantization_config: WkmeansConfig

    def __init__(self, quantization_config: WkmeansConfig, **options: Any) -> None:
        super().__init__(quantization_config, **options)
        self._files: Sequence[str] = ()
        self._device_map: dict[str, Any] | None = None
        self._first_pass: LoadStateDictInfo | None = None

    def is_serializable(self) -> bool:
        """Not by ``model.save_pretrained``: `wkmeans.transformers.save_pretrained` is for it."""
        return False

    @property
    def is_trainable(self) -> bool:
        return False

    def _process_model_before_weight_loading(
        self,
        model: PreTrainedModel,
        checkpoint_files: Sequence[str] = (),
        device_map: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        self._files, self._device_map = checkpoint_files, device_map
        model._adjust_missing_and_unexpected_keys = self._expect_nothing
        model.tie_weights = _nothing_to_tie
        _mark_as_initialized(model, True)  # no random weights that are overwritten in a moment

    def _expect_nothing(self, loaded: LoadStateDictInfo) -> None:
        loaded.missing_keys, loaded.unexpected_keys = set(), set()
        self._first_pass = loaded

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_: Any) -> None:
        del model.tie_weights, model._adjust_missing_and_unexpected_keys
        _mark_as_initialized(model, False)
        settings = LoadStateDictConfig(
            pretrained_model_name_or_path=model.config.name_or_path,
            device_map=self._device_map,
            dtype=model.dtype,
            dtype_plan=model._get_dtype_plan(model.dtype),
            weight_mapping=get_model_conversion_mapping(model),
        )
        compressed = load(self._files)
        dense = self.quantization_config.dequantize
        coded = frozenset() if dense else frozenset(names_to_keep(model, compressed))
        values = {name: _Later(compressed, name, name in coded) for name in compressed}
        loaded, _offloaded = model._load_pretrained_model(model, values, None, settings)
        model._finalize_model_loading(model, settings, loaded)
        model.eval()
        if not dense:
            keep_codes(model, compressed)
        if self._first_pass is not None:  # which callers are told of
            for field in fields(loaded):
                setattr(self._first_pass, field.name, getattr(loaded, field.name))


@dataclass(frozen=True)
class _Later:
    """A tensor of the file that is decoded when it is put into the model.

    In the place of one that will be codes there is a single zero, seen in its shape.
    """

    compressed: CompressedModel
    name: str
    is_coded: bool

    def __getitem__(self, _everything: Any) -> torch.Tensor:
        tensor = self.compressed[self.name]
        if self.is_coded:
            return torch.zeros((), dtype=DTYPES[tensor.dtype]).expand(tensor.shape)
        found: torch.Tensor = as_torch(tensor.dequantize())
        return found


def _nothing_to_tie(*_: Any, **__: Any) -> None:
    """In the first pass, which has no weights yet."""


def _mark_as_initialized(model: nn.Module, initialized: bool) -> None:
    for module in model.modules():
        module._is_hf_initialized = initialized  # type: ignore[assignment]
