"""How far a network has moved, from hidden states behind its last block."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wkmeans.compression import CompressedModel
from wkmeans.compression._findings import Findings
from wkmeans.compression.calibration.divergence import kl_divergence
from wkmeans.compression.tensors.dtypes import as_torch
from wkmeans.transformers._plain import predicts_next_tokens
from wkmeans.transformers._texts import Surprise
from wkmeans.transformers.by_block.network import OUTSIDE, Batch, BlockModel


@torch.no_grad()
def judged(
    network: BlockModel,
    made: CompressedModel,
    batches: Sequence[Batch],
    states: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> Findings:
    """Divergence and, where it predicts next tokens, perplexity: of the original and of `made`."""
    outside = network.read(OUTSIDE)
    dense = {name: as_torch(made[name].dequantize()) for name in outside}
    before, after = Surprise(), Surprise()
    terms: list[torch.Tensor] = []
    for batch, (first, second) in zip(batches, states, strict=True):
        with network.holding(outside):
            original = network.logits(batch, first)
        with network.holding(dense):
            changed = network.logits(batch, second)
        before.add(original, batch["input_ids"])
        after.add(changed, batch["input_ids"])
        for one, other in zip(original, changed, strict=True):
            terms.append(kl_divergence(one[None].double(), other[None].double()))
    divergence = float(torch.cat(terms).mean())
    found = Findings(divergence=divergence, tried={"block by block": divergence})
    if not predicts_next_tokens(network.model):
        return found
    return Findings(
        divergence=divergence,
        tried=found.tried,
        metric="perplexity",
        metric_before=before.perplexity,
        metric_after=after.perplexity,
    )
