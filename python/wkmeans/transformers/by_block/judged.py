"""Which of several files moves a network least: held-out examples, one part in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from wkmeans.compression import CompressedModel
from wkmeans.compression._findings import Findings
from wkmeans.compression.calibration.divergence import kl_divergence
from wkmeans.compression.tensors.dtypes import as_torch
from wkmeans.transformers._plain import predicts_next_tokens
from wkmeans.transformers._texts import Surprise
from wkmeans.transformers.by_block.network import OUTSIDE, Batch, BlockModel, Call
from wkmeans.transformers.by_block.ranks import Ranks

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
    ranks : Ranks
        Which share the batches.
    """

    network: BlockModel
    batches: Sequence[Batch]
    calls: Sequence[Sequence[Call]]
    states: Sequence[torch.Tensor]
    ranks: Ranks

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
        batches = range(len(self.batches))
        with network.holding(outside):
            hidden = self.ranks.share(lambda i: network.first_inputs(self.batches[i])[0], batches)
        for block in range(len(network.blocks)):
            with network.holding(_dense(made, network.names(block))):
                hidden = self.ranks.share(partial(self._through, block, hidden), batches)
        original = network.read(OUTSIDE)
        terms, before, after = zip(
            *self.ranks.share(partial(self._compared, original, outside, hidden), batches),
            strict=True,
        )
        divergence = float(torch.cat(terms).mean())
        known = divergence if divergence == divergence else math.inf
        return Verdict(known, sum(before, Surprise()).perplexity, sum(after, Surprise()).perplexity)

    def _through(self, block: int, hidden: Sequence[torch.Tensor], batch: int) -> torch.Tensor:
        return self.network.through(block, hidden[batch], self.calls[batch][block])

    def _compared(
        self, original: Tensors, outside: Tensors, hidden: Sequence[torch.Tensor], batch: int
    ) -> tuple[torch.Tensor, Surprise, Surprise]:
        """Of one batch: divergence of each example, and what next tokens cost before and after."""
        network, inputs = self.network, self.batches[batch]
        with network.holding(original):
            expected = network.logits(inputs, self.states[batch])
        with network.holding(outside):
            found = network.logits(inputs, hidden[batch])
        before, after = Surprise(), Surprise()
        before.add(expected, inputs["input_ids"])
        after.add(found, inputs["input_ids"])
        terms = [
            kl_divergence(one[None].double(), other[None].double())
            for one, other in zip(expected, found, strict=True)
        ]
        return torch.cat(terms), before, after


def _dense(made: CompressedModel, names: Sequence[str]) -> Tensors:
    """By name; ties are one tensor."""
    stored = {name: made.aliases.get(name, name) for name in names}
    found = {name: as_torch(made[name].dequantize()) for name in set(stored.values())}
    return {name: found[other] for name, other in stored.items()}
