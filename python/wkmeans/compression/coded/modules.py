"""Layers that multiply by codes, in the place of layers that hold weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wkmeans.compression.coded.weight import CodedWeight, fits
from wkmeans.compression.tensors.parametrization import places_by_name
from wkmeans.compression.tensors.tensor import CompressedTensor


class CodedLinear(nn.Module):
    """``inputs @ weight.T + bias`` of a weight that stays codes; `weight` unpacks it."""

    def __init__(self, coded: CodedWeight, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.coded = coded
        self.bias = bias

    @property
    def weight(self) -> Tensor:
        return self.coded.dense()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.coded.product(inputs)
        return outputs if self.bias is None else outputs + self.bias


class CodedEmbedding(nn.Module):
    """Rows of a weight that stays codes, unpacked as they are looked up."""

    def __init__(self, coded: CodedWeight, padding_idx: int | None) -> None:
        super().__init__()
        self.coded = coded
        self.padding_idx = padding_idx

    @property
    def weight(self) -> Tensor:
        return self.coded.dense()

    @property
    def num_embeddings(self) -> int:
        return self.coded.shape[0]

    @property
    def embedding_dim(self) -> int:
        return self.coded.shape[1]

    def forward(self, index: Tensor) -> Tensor:
        return self.coded.rows(index)


class _Unpacked(nn.Module):
    """A parametrization without an original: the weight is unpacked when it is asked for."""

    def __init__(self, coded: CodedWeight) -> None:
        super().__init__()
        self.coded = coded

    def forward(self, _nothing: Tensor) -> Tensor:
        return self.coded.dense()

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.new_empty(0)


def keep_codes(model: nn.Module, tensors: Mapping[str, Any]) -> list[str]:
    """Put codes into the place of a model's weights, in place; names of those that were.

    Linear layers multiply from codes, embeddings unpack the rows that they look up, any other
    module unpacks a weight each time that it uses it. Recurrent layers, whose kernels read weights
    where they lie, keep them, as does a tensor that is no labels into at most 256 centroids.
    """
    places = places_by_name(model)
    coded: dict[tuple[int, bool], CodedWeight] = {}
    kept = names_to_keep(model, tensors)
    for name in kept:
        for module, attribute in places[name]:
            if not parametrize.is_parametrized(module, attribute):
                _replace(model, module, attribute, tensors[name], coded)
    return kept


def names_to_keep(model: nn.Module, tensors: Mapping[str, Any]) -> list[str]:
    """Of the weights that `keep_codes` puts codes in the place of."""
    return [
        name
        for name, held in places_by_name(model).items()
        if name in tensors
        and fits(tensors[name])
        and not any(isinstance(module, nn.RNNBase) for module, _ in held)
    ]


def _replace(
    model: nn.Module,
    module: nn.Module,
    attribute: str,
    tensor: CompressedTensor,
    coded: dict[tuple[int, bool], CodedWeight],
) -> None:
    transposed = _is_transposed(module) and tensor.layout.shared
    weight = coded.setdefault((id(tensor), transposed), CodedWeight(tensor, transposed=transposed))
    bias: Any = getattr(module, "bias", None)
    new: nn.Module
    if attribute == "weight" and (type(module) is nn.Linear or transposed):
        new = CodedLinear(weight, bias)
    elif attribute == "weight" and type(module) is nn.Embedding and module.max_norm is None:
        new = CodedEmbedding(weight, module.padding_idx)
    else:
        with torch.no_grad():
            parametrize.register_parametrization(module, attribute, _Unpacked(weight), unsafe=True)
        return
    new.train(module.training)
    for parent, child in list(_parents(model, module)):
        setattr(parent, child, new)


def _is_transposed(module: nn.Module) -> bool:
    """Whether the layer is transformers' Conv1D: a linear layer whose inputs come first."""
    return type(module).__name__ == "Conv1D" and type(module).__module__ == (
        "transformers.pytorch_utils"
    )


def _parents(model: nn.Module, module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for parent in model.modules():
        for child, held in parent._modules.items():
            if held is module:
                yield parent, child
