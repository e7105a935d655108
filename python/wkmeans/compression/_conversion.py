"""A checkpoint's tensors as a transformers model holds them.

Files keep the names that an architecture was first published under, one matrix for each expert
among them; transformers renames, stacks and fuses what it loads. Its own rules are applied here,
so that a compressed checkpoint fits the live model as the plain one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from typing import Any

_RULES = "transformers.conversion_mapping"
_LOADING = "transformers.core_model_loading"


def as_transformers_holds(model: Any, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """`tensors` under the model's names; as they are for models of other libraries."""
    if not any(base.__name__ == "PreTrainedModel" for base in type(model).__mro__):
        return tensors
    try:
        rules = import_module(_RULES).get_model_conversion_mapping(model)
        loading = import_module(_LOADING)
        rename, converter_type = loading.rename_source_key, loading.WeightConverter
        renaming_type = loading.WeightRenaming
    except (ImportError, AttributeError):  # before version 5 models held what files hold
        return tensors
    renamings = [rule for rule in rules if isinstance(rule, renaming_type)]
    converters = [rule for rule in rules if isinstance(rule, converter_type)]
    converter_of = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    state = model.state_dict()
    collected: dict[str, Any] = {}
    fitting: dict[str, Any] = {}
    for name in sorted(tensors, key=loading.dot_natural_key):
        renamed, pattern = rename(name, renamings, converters, model.base_model_prefix, state)
        if pattern is None or renamed not in state:
            fitting[renamed if renamed in state else name] = tensors[name]
            continue
        if renamed not in collected:
            collected[renamed] = deepcopy(converter_of[pattern])
        collected[renamed].add_tensor(renamed, name, pattern, tensors[name])
    for first, converter in collected.items():
        converted = converter.convert(first, model=model, config=model.config)
        for name, value in converted.items():
            fitting[name] = value[0] if isinstance(value, list) else value
    return fitting
