"""A model of which no more is in memory than one block, or what lies outside of all blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from wkmeans.compression.source import Source, open_source
from wkmeans.compression.tensors.dtypes import as_torch
from wkmeans.transformers._plain import model_kind

Batch = Mapping[str, torch.Tensor]
OUTSIDE = -1
"""The number of the part that is no block: embeddings, the last norm, the head."""


class BlockModel:
    """The model of a folder of plain weights, run block after block.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        Whose parameters are on the meta device unless `holding` has put them there.
    blocks : list of Module
    """

    def __init__(self, folder: Path) -> None:
        kind = model_kind(folder)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        self._source: Source = open_source(folder)
        with _parameters_on_meta():
            self.model: PreTrainedModel = kind._from_config(config).eval()
        self._prefix, blocks = _largest_list(self.model)
        self.blocks: list[nn.Module] = list(blocks)
        self._names = self._names_by_part(folder)

    @property
    def parts(self) -> list[int]:
        """`OUTSIDE`, and the numbers of the blocks."""
        return [OUTSIDE, *range(len(self.blocks))]

    def n_weights(self, part: int) -> int:
        """Weights of a part, tied ones once."""
        return sum(self._source.entries[name].size for name in self._names[part])

    def read(self, part: int) -> dict[str, torch.Tensor]:
        """The tensors of a part from the files, under the model's names; ties are one tensor."""
        found = {name: as_torch(self._source.entries[name].read()) for name in self._names[part]}
        if part == OUTSIDE:
            ties = self.model.all_tied_weights_keys
            found |= {one: found[other] for one, other in ties.items() if other in found}
        return found

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

    @torch.no_grad()
    def first_inputs(self, batch: Batch) -> tuple[torch.Tensor, list[dict[str, Any]]]:
        """What enters the first block, and the other arguments of each. The outside is held."""
        seen: list[Any] = []
        arguments: list[dict[str, Any]] = []

        def passed(hidden: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
            if others:
                raise ValueError(f"{type(self.model).__name__}: its blocks take unnamed arguments")
            seen.append(hidden)
            arguments.append(named)
            return hidden

        self._run(batch, [passed] * len(self.blocks))
        return seen[0], arguments

    @torch.no_grad()
    def logits(self, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
        """What the model makes of `hidden` behind its last block. The outside is held."""
        known = [lambda *_, **__: hidden] * len(self.blocks)
        found: torch.Tensor = self._run(batch, known).logits
        return found

    def _run(self, batch: Batch, forwards: Sequence[Any]) -> Any:
        try:
            for block, forward in zip(self.blocks, forwards, strict=True):
                block.forward = forward
            return self.model(**batch, use_cache=False)
        finally:
            for block in self.blocks:
                del block.forward

    @torch.no_grad()
    def through(self, block: int, hidden: torch.Tensor, arguments: dict[str, Any]) -> torch.Tensor:
        """The output of a block, which is held."""
        output = self.blocks[block](hidden, **arguments)
        if not isinstance(output, torch.Tensor):
            raise ValueError(
                f"{type(self.model).__name__}: expected blocks that give one tensor, got "
                f"{type(output).__name__}"
            )
        return output

    @contextmanager
    def squares(self, block: int) -> Iterator[dict[str, torch.Tensor]]:
        """Sums of the squares of what its linear layers read, float64, by their weights' names."""
        sums: dict[str, torch.Tensor] = {}

        def add(name: str, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            read = inputs[0].flatten(0, -2).double().square().sum(0)
            sums[name] = sums[name] + read if name in sums else read

        hooks = [
            module.register_forward_pre_hook(partial(add, f"{self._prefix}.{block}.{name}.weight"))
            for name, module in self.blocks[block].named_modules()
            if isinstance(module, nn.Linear)
        ]
        try:
            yield sums
        finally:
            for hook in hooks:
                hook.remove()

    def _names_by_part(self, folder: Path) -> dict[int, list[str]]:
        tied = self.model.all_tied_weights_keys
        found: dict[int, list[str]] = {part: [] for part in (OUTSIDE, *range(len(self.blocks)))}
        for name in self.model.state_dict():
            if name in tied:
                continue
            if name not in self._source.entries:
                raise ValueError(
                    f"{folder}: expected a tensor {name!r} for block by block, got none of this "
                    "name in its files"
                )
            inner = name.removeprefix(f"{self._prefix}.")
            part = OUTSIDE if inner == name else int(inner.split(".")[0])
            found[part].append(name)
        return found


def _largest_list(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of modules with the most weights, and its name."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList)]
    if not lists:
        raise ValueError(f"{type(model).__name__}: expected blocks in a list, got no list")
    return max(lists, key=lambda found: sum(p.numel() for p in found[1].parameters()))


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Parameters that are made hold nothing; buffers, which no file may have, are made."""
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=False)
        register(module, name, parameter)

    nn.Module.register_parameter = register_on_meta  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
