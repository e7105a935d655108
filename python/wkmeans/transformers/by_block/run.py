"""Compression block by block: memory for one block, and a run that goes on where it stopped.

Hidden states of the original go forward through all blocks, derivatives back, and then each block
is compressed against what the compressed ones before it give. What is finished is in files, and
what follows reads those: so a run that was interrupted ends in the same bytes as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file

from wkmeans.compression import CompressedModel, compress, load
from wkmeans.compression._build import build
from wkmeans.compression._floor import DEFAULT_FLOOR
from wkmeans.compression.calibration.objective import Settings
from wkmeans.compression.lattice.coding import TooFineError
from wkmeans.transformers.by_block.encoding import (
    at_level,
    by_codebooks,
    compressed_part,
    diagonals_of,
    work_on,
)
from wkmeans.transformers.by_block.files import RunFiles, write_tensors
from wkmeans.transformers.by_block.judged import Judge
from wkmeans.transformers.by_block.level import Curve, curve_of, level_for
from wkmeans.transformers.by_block.network import OUTSIDE, Batch, BlockModel, Call
from wkmeans.transformers.by_block.plan import Plan
from wkmeans.transformers.by_block.ranks import Ranks
from wkmeans.transformers.by_block.sensitivity import Sensitivity, Sweep
from wkmeans.transformers.by_block.targets import Part

Progress = Callable[[str, int, int], None]
_HEADER = 250  # bytes that a tensor takes in a file's header, about
_TRIES = 8
_ENOUGH = 0.995  # of the size asked for
_DAMPING = 0.03
"""Each token has outputs of its own, and there are far more of them than inputs: of .03, .1, .3 and
1 the files of byte-level transformers (two seeds, 3 and 2 bits) diverged least with this."""


class Run:
    """One network, its examples and its files."""

    def __init__(
        self,
        network: BlockModel,
        calibrating: Sequence[Batch],
        judging: Sequence[Batch],
        files: RunFiles,
        plan: Plan,
        progress: Progress | None,
        ranks: Ranks,
    ) -> None:
        self._network = network
        self._calibrating = calibrating
        self._judging = judging
        self._batches = [*calibrating, *judging]
        self._files = files
        self._plan = plan
        self._progress = progress
        self._ranks = ranks
        self._options = plan.request.options
        self._calls: list[list[Call]] = []
        self._sensitivities: dict[str, Sensitivity] = {}
        self._curves: dict[int, tuple[list[Curve], float]] = {}

    def compressed(self) -> CompressedModel:
        """The file of least divergence on the judging examples, of what was asked for and plain.

        Plain is unweighted rounding of the whole network, of the same size or the same k.
        """
        network = self._network
        self._go_forward()
        self._round()
        candidates: dict[str, Callable[[], CompressedModel]] = {
            "unweighted": partial(load, self._files.unweighted)
        }
        if self._plan.method != "unweighted":
            self._compress()
            parts = [self._files.part(part) for part in network.parts]
            candidates[self._plan.method] = partial(load, parts)
        chosen = self._judge().least(candidates)
        return chosen.with_findings(
            replace(chosen.findings, target_bytes=self._plan.target, notes=self._plan.notes)
        )

    def _judge(self) -> Judge:
        first = len(self._calibrating)
        states = self._files.read_states(len(self._network.blocks))
        return Judge(self._network, self._judging, self._calls[first:], states[first:], self._ranks)

    def _round(self) -> None:
        """Plain unweighted rounding, unless that is done: the file that nothing may be worse than.

        One tensor is dense at a time; what is made of all of them is in memory.
        """
        file = self._files.unweighted
        if self._ranks.exists(file):
            return

        def say(task: str, done: int, weights: int) -> None:
            if self._progress is not None:
                self._progress(f"plain rounding, {task}", done, weights)

        request = replace(self._plan.request, progress=say, group=self._ranks.group)
        made = build(self._network.source(), request, None, DEFAULT_FLOOR)
        self._ranks.first(partial(made.save, file))

    def _compress(self) -> None:
        """Part after part, each against what those before it give once compressed."""
        network = self._network
        self._sensitivities = self._swept_back()
        if self._plan.method == "matrix" and self._plan.target is not None:
            self._curves = self._measured()
        changed: list[torch.Tensor] = []
        for part in network.parts:
            self._say("compressing", part)
            file = self._files.part(part)
            if not self._ranks.exists(file):
                made = self._make(part, network.read(part), changed)
                self._ranks.first(partial(made.save, file))
            if part != network.parts[-1]:
                changed = self._through(part, changed)

    def _through(self, part: int, changed: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What enters the next part on calibration batches, once this one is compressed."""
        network = self._network
        stored = load(self._files.part(part)).state_dict("torch")
        with network.holding(stored), torch.no_grad():
            if part == OUTSIDE:
                return [network.first_inputs(batch)[0] for batch in self._calibrating]
            return self._ranks.share(
                lambda i: network.through(part, changed[i], self._calls[i][part]),
                range(len(changed)),
            )

    def _go_forward(self) -> None:
        """The original's hidden states before each block and behind the last."""
        network, files = self._network, self._files
        with network.holding(network.read(OUTSIDE)):
            first = [network.first_inputs(batch) for batch in self._batches]
        self._calls = [calls for _, calls in first]
        if not self._ranks.exists(files.states(0)):
            self._ranks.first(partial(files.write_states, 0, [hidden for hidden, _ in first]))
        for block in range(len(network.blocks)):
            if self._ranks.exists(files.states(block + 1)):
                continue
            self._say("running", block)
            run = partial(self._run, block, files.read_states(block))
            with network.holding(network.read(block)), torch.no_grad():
                found = self._ranks.share(run, range(len(self._batches)))
            self._ranks.first(partial(files.write_states, block + 1, found))

    def _run(self, block: int, states: Sequence[torch.Tensor], batch: int) -> torch.Tensor:
        return self._network.through(block, states[batch], self._calls[batch][block])

    def _swept_back(self) -> dict[str, Sensitivity]:
        say = partial(self._say, "sweeping back")
        return Sweep(
            self._network, self._calibrating, self._calls[: len(self._calibrating)],
            self._files, self._ranks, say,
        ).sensitivities()  # fmt: skip

    def _part(
        self,
        number: int,
        tensors: dict[str, torch.Tensor],
        changed: Sequence[torch.Tensor],
        ranks: Ranks,
    ) -> Part:
        network = self._network
        outside = number == OUTSIDE
        states = self._files.read_states(len(network.blocks) if outside else number)

        def run(hidden: Sequence[torch.Tensor], batch: int) -> object:
            if outside:
                return network.logits(self._batches[batch], hidden[batch])
            return network.through(number, hidden[batch], self._calls[batch][number])

        return Part(
            tensors,
            partial(run, states),
            partial(run, changed),
            len(self._calibrating),
            network.holding,
            partial(network.watching, number),
            self._sensitivities,
            network.embedding_name,
            Settings(damping=_DAMPING),
            ranks,
        )

    def _make(
        self, number: int, tensors: dict[str, torch.Tensor], changed: Sequence[torch.Tensor]
    ) -> CompressedModel:
        if self._plan.method != "matrix":
            return self._by_weights(number, tensors)
        part = self._part(number, tensors, changed, self._ranks)
        work = work_on(tensors, self._options)
        drifts = number != OUTSIDE
        k = self._plan.request.budget.k
        if k is not None:
            found = diagonals_of(part, self._sensitivities, list(work.weights_of))
            work = work_on(tensors, self._options, found)
            return compressed_part(part, work, by_codebooks(k, self._options), drifts=drifts, k=k)

        def make(exponent: float) -> CompressedModel:
            encode = at_level(exponent, self._options.n_threads)
            return compressed_part(part, work, encode, drifts=drifts)

        if number == self._network.parts[-1]:
            return self._fitting(number, make)
        return make(self._level(number))

    def _by_weights(self, number: int, tensors: dict[str, torch.Tensor]) -> CompressedModel:
        """A part under diagonal importances, at its share of what is left of the size."""
        asked: dict[str, Any] = {"k": self._plan.request.budget.k}
        if self._plan.target is not None:
            share = self._network.n_weights(number) / sum(
                self._network.n_weights(part) for part in self._from(number)
            )
            asked = {"target_bytes": max(int((self._plan.target - self._spent(number)) * share), 1)}
        part = self._part(number, tensors, (), Ranks())
        names = list(work_on(tensors, self._options).weights_of)
        importances = diagonals_of(part, self._sensitivities, names)
        return compress(
            tensors,
            importances=importances,
            group=self._ranks.group,
            **asked,
            **self._plan.options,
        )

    def _from(self, number: int) -> list[int]:
        return [part for part in self._network.parts if part >= number]

    def _spent(self, number: int) -> int:
        """Bytes of the parts before."""
        return self._joined(number).nbytes if number != OUTSIDE else 0

    def _joined(self, number: int, last: CompressedModel | None = None) -> CompressedModel:
        """The parts before `number`, and `last` behind them."""
        parts = [self._files.part(part) for part in self._network.parts if part < number]
        found = load(parts)
        if last is None:
            return found
        tensors = {
            name: one[name] for one in (found, last) for name in one if name not in one.aliases
        }
        return CompressedModel(
            tensors, aliases=found.aliases | last.aliases, framework=found.framework
        )

    def _level(self, number: int) -> float:
        """The water level at which this part and those to come take what is left."""
        assert self._plan.target is not None
        left = self._from(number)
        fixed = sum(self._curves[part][1] for part in left)
        room = self._plan.target - self._spent(number) - fixed
        return level_for([self._curves[part][0] for part in left], max(room, 1.0))

    def _fitting(self, number: int, make: Callable[[float], CompressedModel]) -> CompressedModel:
        """The last part, at the level that leaves nothing of the size unused."""
        target = self._plan.target
        assert target is not None
        before = self._spent(number)
        exponent, best = self._level(number), None
        low, high = -float("inf"), float("inf")  # too fine, and coarse enough
        for _ in range(_TRIES):
            try:
                made = make(exponent)
                size = self._joined(number, made).nbytes
            except TooFineError:
                size = 2 * target
            if size <= target:
                high = exponent
                if best is None or size > best[0]:
                    best = size, made
                if size >= _ENOUGH * target:
                    break
            else:
                low = exponent
            weights = self._network.n_weights(number)
            step = 8 * (size - 0.998 * target) / weights
            moved = exponent + max(min(step, 4.0), -4.0)
            exponent = (
                moved if low < moved < high else (max(low, high - 8) + min(high, low + 8)) / 2
            )
        if best is None:
            raise ValueError(
                f"target_bytes: expected at least {size:,} bytes, got {target:,}: {before:,} are "
                "those of the parts before the last block"
            )
        return best[1]

    def _measured(self) -> dict[int, tuple[list[Curve], float]]:
        """Of each part: its layers', and the bytes of what stays dense."""
        file = self._files.curves
        parts = self._network.parts
        if not self._ranks.exists(file):
            found: dict[str, torch.Tensor] = {}
            measured = self._ranks.share(self._curves_of, parts, self._network.n_weights)
            for part, (curves, fixed) in zip(parts, measured, strict=True):
                found |= {f"{part}:{i}": curve.as_tensor() for i, curve in enumerate(curves)}
                found[f"{part}:fixed"] = torch.tensor(fixed)
            self._ranks.first(partial(write_tensors, file, found))
        known = load_file(file)
        return {
            part: (
                [
                    Curve.of_tensor(known[key])
                    for key in known
                    if key.startswith(f"{part}:") and not key.endswith(":fixed")
                ],
                float(known[f"{part}:fixed"]),
            )
            for part in parts
        }

    def _curves_of(self, number: int) -> tuple[list[Curve], float]:
        self._say("measuring", number)
        tensors = self._network.read(number)
        part = self._part(number, tensors, (), Ranks())  # which others measure others than this one
        work = work_on(tensors, self._options)
        assert self._plan.target is not None
        bits = 8 * self._plan.target / self._plan.weights
        stages = [
            [layer for layer in stage if layer.slot.name in work.weights_of]
            for stage in part.stages()
        ]
        stages = [stage for stage in stages if stage]
        curves, done = [], set()
        for stage, moments in zip(stages, part.moments(stages, None), strict=True):
            for layer in stage:
                if layer.slot.name == part.embedding:
                    target = part.tied(layer, moments)
                else:
                    target = part.target(layer, moments, drifts=False)
                curves.append(curve_of(target, bits, self._options.n_threads))
                done.add(layer.slot.name)
        for name, entry in work.weights_of.items():
            if name not in done and len(entry.shape) == 2:
                curves.append(curve_of(part.table(name), bits, self._options.n_threads))
                done.add(name)
        dense = sum(
            tensor.nbytes for name, tensor in tensors.items()
            if name in work.source.entries and name not in done
        )  # fmt: skip
        return curves, float(dense + _HEADER * len(tensors))

    def _say(self, task: str, part: int) -> None:
        if self._progress is not None:
            network = self._network
            name = "what is outside the blocks" if part == OUTSIDE else f"block {part}"
            done = sum(network.n_weights(other) for other in network.parts if other < part)
            self._progress(f"{task} {name}", done, self._plan.weights)


def compress_by_block(
    network: BlockModel,
    calibrating: Sequence[Batch],
    judging: Sequence[Batch],
    files: RunFiles,
    plan: Plan,
    progress: Progress | None = None,
    ranks: Ranks = Ranks(),  # noqa: B008 - frozen
) -> CompressedModel:
    """Compress part by part into `files`, taking up what is there."""
    return Run(network, calibrating, judging, files, plan, progress, ranks).compressed()
