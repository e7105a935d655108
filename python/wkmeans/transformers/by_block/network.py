"""A model of which no more is in memory than one block, or what lies outside of all blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from wkmeans._kernels.arrays import Array
from wkmeans._model_lock import model_lock
from wkmeans.compression.source import Entry, Source
from wkmeans.compression.tensors.dtypes import as_numpy
from wkmeans.transformers._plain import model_kind
from wkmeans.transformers.by_block.linear import LinearUse, Watch
from wkmeans.transformers.by_block.weights import Weights

Batch = Mapping[str, torch.Tensor]
OUTSIDE = -1
"""The number of the part that is no block: embeddings, the last norm, the head."""


@dataclass(frozen=True)
class Call:
    """What a block is called with beside the hidden states."""

    others: tuple[Any, ...]
    named: Mapping[str, Any]


class BlockModel:
    """The model of a folder of plain weights, run block after block.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        Whose parameters are on the meta device unless `holding` has put them there.
    blocks : list of Module

    Raises
    ------
    ValueError
        Where it has no blocks, where they are not one stack, or where a tensor is not in the files.
    """

    def __init__(self, folder: Path) -> None:
        kind = model_kind(folder)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        config._experts_implementation = "eager"  # one product an expert, which can be watched
        with _parameters_on_meta():
            self.model: PreTrainedModel = kind._from_config(config).eval()
        self._prefix, blocks = _only_stack(self.model)
        self.blocks: list[nn.Module] = list(blocks)
        self._weights = Weights(self.model, folder)
        self._sizes = {name: tensor.numel() for name, tensor in self.model.state_dict().items()}
        self._names = self._names_by_part()

    @property
    def parts(self) -> list[int]:
        """`OUTSIDE`, and the numbers of the blocks."""
        return [OUTSIDE, *range(len(self.blocks))]

    @property
    def embedding_name(self) -> str:
        """Of the table of input embeddings."""
        table = self.model.get_input_embeddings().weight
        names: dict[int, str] = {id(p): name for name, p in self.model.named_parameters()}
        return names[id(table)]

    def size_of(self, name: str) -> torch.Size:
        """The shape of a tensor."""
        found: torch.Size = self.model.get_parameter(name).shape
        return found

    def n_weights(self, part: int) -> int:
        """Weights of a part, tied ones once."""
        return sum(self._sizes[name] for name in self._names[part])

    def names(self, part: int) -> list[str]:
        """Of the tensors of a part, further names of tied ones last."""
        further = self._ties() if part == OUTSIDE else ()
        return [*self._names[part], *further]

    def read(self, part: int) -> dict[str, torch.Tensor]:
        """The tensors of a part from the files, under the model's names; ties are one tensor."""
        found = self._weights.read(self._names[part])
        if part == OUTSIDE:
            found |= {one: found[other] for one, other in self._ties().items()}
        return found

    def source(self) -> Source:
        """All tensors under the model's names, each read when it is asked for; ties once."""
        shapes = {name: tuple(tensor.shape) for name, tensor in self.model.state_dict().items()}
        entries = {
            name: Entry(
                shapes[name],
                self._weights.dtype(name),
                partial(self._array, name),
                is_buffer=self._is_buffer(name),
            )
            for name in self._sizes
            if name not in self.model.all_tied_weights_keys
        }
        return Source(entries, "torch", self._ties())

    def _array(self, name: str) -> Array:
        return as_numpy(name, self._weights.read([name])[name])

    def _ties(self) -> dict[str, str]:
        """Further names of tied tensors, which lie outside of the blocks, and the first."""
        own = set(self._names[OUTSIDE])
        ties = self.model.all_tied_weights_keys
        return {one: other for one, other in ties.items() if other in own}

    @contextmanager
    def holding(self, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """With these parameters in place of those on the meta device, and without them again."""
        for name, tensor in tensors.items():
            self._put(name, tensor)
        try:
            yield
        finally:
            for name, tensor in tensors.items():
                self._put(name, tensor.to("meta"))

    def _put(self, name: str, tensor: torch.Tensor) -> None:
        place, _, attribute = name.rpartition(".")
        module = self.model.get_submodule(place)
        if tensor.is_floating_point():
            tensor = tensor.to(self.model.dtype)
        if attribute in module._buffers:
            module._buffers[attribute] = tensor
        else:
            module._parameters[attribute] = nn.Parameter(tensor, requires_grad=False)

    def watching(self, part: int, tell: Callable[[LinearUse], None]) -> Watch:
        """Tells of products with the weights of a part, which is held."""
        weights = {
            name: self.model.get_parameter(name)
            for name in self._names[part]
            if not self._is_buffer(name)
        }
        return Watch(weights, tell)

    def _is_buffer(self, name: str) -> bool:
        place, _, attribute = name.rpartition(".")
        return attribute in self.model.get_submodule(place)._buffers

    @torch.no_grad()
    def first_inputs(self, batch: Batch) -> tuple[torch.Tensor, list[Call]]:
        """What enters the first block, and the other arguments of each. The outside is held."""
        seen: list[torch.Tensor] = []
        calls: list[Call] = []

        def passed(hidden: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
            seen.append(hidden)
            calls.append(Call(others, named))
            return hidden

        self._run(batch, [passed] * len(self.blocks))
        return seen[0], calls

    def logits(self, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
        """What the model makes of `hidden` behind its last block. The outside is held."""
        known = [lambda *_, **__: hidden] * len(self.blocks)
        found: torch.Tensor = self._run(batch, known).logits
        return found

    def _run(self, batch: Batch, forwards: Sequence[Any]) -> Any:
        others = {"use_cache": False} if self.model.can_generate() else {}
        try:
            for block, forward in zip(self.blocks, forwards, strict=True):
                block.forward = forward
            return self.model(**batch, **others)
        finally:
            for block in self.blocks:
                del block.forward

    def through(self, block: int, hidden: torch.Tensor, call: Call) -> torch.Tensor:
        """The output of a block, which is held."""
        output = self.blocks[block](hidden, *call.others, **call.named)
        if not isinstance(output, torch.Tensor):
            raise ValueError(
                f"{type(self.model).__name__}: expected blocks that give one tensor, got "
                f"{type(output).__name__}"
            )
        return output

    def _names_by_part(self) -> dict[int, list[str]]:
        tied = self.model.all_tied_weights_keys
        found: dict[int, list[str]] = {part: [] for part in self.parts}
        for name in self._sizes:
            if name in tied:
                continue
            inner = name.removeprefix(f"{self._prefix}.")
            part = OUTSIDE if inner == name else int(inner.split(".")[0])
            found[part].append(name)
        return found


def _only_stack(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of modules that the model is a stack of, and its name."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList)]
    outer = [
        (name, found) for name, found in lists
        if not any(name.startswith(f"{other}.") for other, _ in lists)
    ]  # fmt: skip
    if len(outer) != 1 or len({type(block) for block in outer[0][1]}) != 1:
        raise ValueError(
            f"block by block: expected a model that is one stack of blocks of a kind, got "
            f"{type(model).__name__} with {len(outer)} lists of modules"
        )
    return outer[0]


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Parameters that this thread makes hold nothing; buffers, which no file may have, are made."""
    own = threading.get_ident()
    with model_lock():  # nested in another thread's, the class would be left as that one had it
        register = nn.Module.register_parameter

        def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
            if parameter is not None and threading.get_ident() == own:
                parameter = nn.Parameter(parameter.to("meta"), requires_grad=False)
            register(module, name, parameter)

        nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            nn.Module.register_parameter = register  # type: ignore[method-assign]
