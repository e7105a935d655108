"""Which of several files moves a network least: held-out examples, one part in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from wkmeans.compression import CompressedModel
from wkmeans.compression._findings import Findings
from wkmeans.compression.calibration.divergence import kl_divergence
from wkmeans.compression.tensors.dtypes import as_torch
from wkmeans.transformers._plain import predicts_next_tokens
from wkmeans.transformers._texts import Surprise
from wkmeans.transformers.by_block.network import OUTSIDE, Batch, BlockModel, Call

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Verdict:
    """On one file: divergence from the original, and perplexity of both."""

    divergence: float
    before: float
    after: float


@dataclass(frozen=True)
class Judge:
    """Held-out examples, and where the original brings them.

    Attributes
    ----------
    network : BlockModel
    batches : sequence of Batch
    calls : sequence of sequence of Call
        Of each batch, of each block.
    states : sequence of tensor
        What leaves the original's last block, for each batch.
    """

    network: BlockModel
    batches: Sequence[Batch]
    calls: Sequence[Sequence[Call]]
    states: Sequence[torch.Tensor]

    def least(self, candidates: Mapping[str, Callable[[], CompressedModel]]) -> CompressedModel:
        """The candidate of least divergence, with what was found; of equals the first.

        One of them is ``"unweighted"``. They are loaded in turn.
        """
        verdicts = {name: self.verdict(load()) for name, load in candidates.items()}
        tried = {name: verdict.divergence for name, verdict in verdicts.items()}
        best = min(tried, key=tried.__getitem__)
        found = Findings(
            divergence=tried[best], divergence_unweighted=tried["unweighted"], tried=tried
        )
        if predicts_next_tokens(self.network.model):
            found = Findings(
                divergence=found.divergence,
                divergence_unweighted=found.divergence_unweighted,
                tried=tried,
                metric="perplexity",
                metric_before=verdicts[best].before,
                metric_after=verdicts[best].after,
            )
        return candidates[best]().with_findings(found)

    @torch.no_grad()
    def verdict(self, made: CompressedModel) -> Verdict:
        """On `made`, whose parts become dense one at a time."""
        network = self.network
        outside = _dense(made, network.names(OUTSIDE))
        with network.holding(outside):
            hidden = [network.first_inputs(batch)[0] for batch in self.batches]
        for block in range(len(network.blocks)):
            with network.holding(_dense(made, network.names(block))):
                hidden = [
                    network.through(block, one, calls[block])
                    for one, calls in zip(hidden, self.calls, strict=True)
                ]
        return self._compared(outside, hidden)

    def _compared(self, outside: Tensors, hidden: Sequence[torch.Tensor]) -> Verdict:
        network = self.network
        original = network.read(OUTSIDE)
        before, after = Surprise(), Surprise()
        terms: list[torch.Tensor] = []
        for batch, first, second in zip(self.batches, self.states, hidden, strict=True):
            with network.holding(original):
                expected = network.logits(batch, first)
            with network.holding(outside):
                found = network.logits(batch, second)
            before.add(expected, batch["input_ids"])
            after.add(found, batch["input_ids"])
            for one, other in zip(expected, found, strict=True):
                terms.append(kl_divergence(one[None].double(), other[None].double()))
        divergence = float(torch.cat(terms).mean())
        known = divergence if divergence == divergence else math.inf
        return Verdict(known, before.perplexity, after.perplexity)


def _dense(made: CompressedModel, names: Sequence[str]) -> Tensors:
    """By name; ties are one tensor."""
    stored = {name: made.aliases.get(name, name) for name in names}
    found = {name: as_torch(made[name].dequantize()) for name in set(stored.values())}
    return {name: found[other] for name, other in stored.items()}
