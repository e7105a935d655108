"""How much a network's outputs hang on those of its layers: a sweep back from the logits.

Block after block, from the last: each is run again from what entered it, and the derivatives at
its output are carried back through it. So one block is in memory, and no more of the network's
activations than those of one batch in one block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from safetensors.torch import load_file

from wkmeans.transformers.by_block.files import RunFiles, write_tensors
from wkmeans.transformers.by_block.linear import LinearUse
from wkmeans.transformers.by_block.network import OUTSIDE, Batch, BlockModel, Call
from wkmeans.transformers.by_block.ranks import Ranks

_Slopes = torch.Tensor | Callable[[torch.Tensor], torch.Tensor]
"""Derivatives at an output, or what makes them of it."""


@dataclass
class Sensitivity:
    """Of one weight that multiplies inputs, or of a table of embeddings; float64.

    Attributes
    ----------
    outputs : tensor (groups, outputs)
        Fisher's importance of each output: squared derivatives summed over positions, in such a
        unit that with mean squares of inputs they add up to the importances of the weights.
    inputs : tensor (groups, inputs)
        Mean squares over positions.
    rows : tensor (rows,)
        Of a table: squared derivatives at each row's output, summed; empty for others.
    """

    outputs: torch.Tensor
    inputs: torch.Tensor
    rows: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))


class _Sums:
    """Over positions, for each matrix of one weight."""

    def __init__(self, use: LinearUse) -> None:
        groups, outputs, inputs = use.layer.groups, use.layer.outputs, use.layer.inputs
        self.slopes = torch.zeros(groups, outputs, dtype=torch.float64)
        self.squares = torch.zeros(groups, inputs, dtype=torch.float64)
        self.both = torch.zeros(groups, dtype=torch.float64)
        self.counts = torch.zeros(groups, dtype=torch.float64)

    def add(self, group: int, inputs: torch.Tensor, slopes: torch.Tensor) -> None:
        x = inputs.flatten(0, -2).float().square()
        d = slopes.flatten(0, -2).float().square()
        self.slopes[group] += d.sum(0, dtype=torch.float64)
        self.squares[group] += x.sum(0, dtype=torch.float64)
        self.both[group] += (x.sum(1).double() * d.sum(1).double()).sum()
        self.counts[group] += len(x)

    def join(self, other: _Sums) -> None:
        """Add what another batch gave."""
        for kind in ("slopes", "squares", "both", "counts"):
            getattr(self, kind).add_(getattr(other, kind))

    def sensitivity(self) -> Sensitivity:
        means = self.squares / self.counts.clamp(min=1)[:, None]
        apart = self.slopes.sum(1) * means.sum(1)
        scale = torch.where(apart > 0, self.both / apart, 1.0)
        return Sensitivity(self.slopes * scale[:, None], means)


class Sweep:
    """From the logits of given batches back to what entered the first block."""

    def __init__(
        self,
        network: BlockModel,
        batches: Sequence[Batch],
        calls: Sequence[Sequence[Call]],
        files: RunFiles,
        ranks: Ranks,
        say: Callable[[int], None],
    ) -> None:
        self._network = network
        self._batches = batches
        self._calls = calls
        self._files = files
        self._ranks = ranks
        self._say = say
        self._sums: dict[str, _Sums] = {}

    def sensitivities(self) -> dict[str, Sensitivity]:
        """Of all weights that multiply inputs, by name, and of the input embeddings."""
        if not self._ranks.exists(self._files.sensitivities):
            found = self._swept()
            self._ranks.first(partial(_write, self._files, found))
        return _read(self._files)

    def _swept(self) -> dict[str, Sensitivity]:
        network = self._network
        slopes = self._from_logits()
        for block in reversed(range(len(network.blocks))):
            self._say(block)
            states = self._files.read_states(block)
            with network.holding(network.read(block)):
                slopes = self._all_back(block, states, slopes.__getitem__)
        found = {name: sums.sensitivity() for name, sums in self._sums.items()}
        name = network.embedding_name
        rows = torch.zeros(network.size_of(name)[0], dtype=torch.float64)
        for batch, slope in zip(self._batches, slopes, strict=True):
            each = slope.float().square().sum(-1).double()
            rows.index_add_(0, batch["input_ids"].flatten(), each.flatten())
        nothing = torch.zeros(1, 0, dtype=torch.float64)
        known = found.get(name, Sensitivity(nothing, nothing))
        return found | {name: Sensitivity(known.outputs, known.inputs, rows)}

    def _from_logits(self) -> list[torch.Tensor]:
        """Derivatives behind the last block, of random signs that have the logits' Fisher."""
        network = self._network
        states = self._files.read_states(len(network.blocks))

        def signs(batch: int) -> _Slopes:
            return partial(_fisher_signs, torch.Generator().manual_seed(batch))

        with network.holding(network.read(OUTSIDE)):
            return self._all_back(OUTSIDE, states, signs)

    def _all_back(
        self, part: int, states: Sequence[torch.Tensor], slopes: Callable[[int], _Slopes]
    ) -> list[torch.Tensor]:
        """Derivatives at what enters a part, which is held, for each batch.

        Batches are summed each by itself and then in order: the same for any number of ranks.
        """
        found = self._ranks.share(
            lambda i: self._back(part, i, states[i], slopes(i)), range(len(self._batches))
        )
        for _, sums in found:
            for name, one in sums.items():
                if name in self._sums:
                    self._sums[name].join(one)
                else:
                    self._sums[name] = one
        return [slope for slope, _ in found]

    def _back(
        self, part: int, batch: int, hidden: torch.Tensor, slopes: _Slopes
    ) -> tuple[torch.Tensor, dict[str, _Sums]]:
        """Derivatives at `hidden`, from those at the output or from what makes them of it."""
        network = self._network
        sums: dict[str, _Sums] = {}
        start = hidden.detach().requires_grad_()
        with torch.enable_grad(), network.watching(part, partial(_note, sums)):
            if part == OUTSIDE:
                output = network.logits(self._batches[batch], start)
            else:
                output = network.through(part, start, self._calls[batch][part])
        vectors = slopes if isinstance(slopes, torch.Tensor) else slopes(output.detach())
        output.backward(vectors.to(output.dtype))  # type: ignore[no-untyped-call]
        assert start.grad is not None
        return start.grad, sums


def _note(sums: dict[str, _Sums], use: LinearUse) -> None:
    """Add to `sums`, once derivatives come back, what a product has of them."""
    if use.outputs.requires_grad:
        add = partial(sums.setdefault(use.name, _Sums(use)).add, use.group, use.inputs.detach())
        use.outputs.register_hook(add)  # type: ignore[no-untyped-call]


def _fisher_signs(generator: torch.Generator, logits: torch.Tensor) -> torch.Tensor:
    """One random vector a position whose outer products have the Fisher of a softmax as mean."""
    p = logits.float().softmax(-1)
    signs = torch.randint(0, 2, p.shape, generator=generator, dtype=torch.int8)
    half = p.sqrt() * (2 * signs - 1)
    return half - p * half.sum(-1, keepdim=True)


def _write(files: RunFiles, found: Mapping[str, Sensitivity]) -> None:
    tensors = {
        f"{kind}:{name}": getattr(one, kind)
        for name, one in found.items()
        for kind in ("outputs", "inputs", "rows")
    }
    write_tensors(files.sensitivities, tensors)


def _read(files: RunFiles) -> dict[str, Sensitivity]:
    found = load_file(files.sensitivities)
    names = [key.removeprefix("outputs:") for key in found if key.startswith("outputs:")]
    return {
        name: Sensitivity(*(found[f"{kind}:{name}"] for kind in ("outputs", "inputs", "rows")))
        for name in names
    }
