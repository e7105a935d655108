"""How far a compressed language model has moved, on sequences that nothing was chosen by."""

from __future__ import annotations

from typing import Any

import torch

from wkmeans.transformers._texts import Surprise

Result = dict[str, Any]


@torch.no_grad()
def judged(model: Any, sequences: torch.Tensor, originals: list[torch.Tensor]) -> Result:
    """Mean divergence of the next token's distribution, nats, and perplexity."""
    surprise, total, count = Surprise(), 0.0, 0
    for one, original in zip(sequences.split(1), originals, strict=True):
        logits = model(input_ids=one).logits.float()
        surprise.add(logits, one)
        p, q = original.log_softmax(-1), logits.log_softmax(-1)
        total += float((p.exp() * (p - q)).sum())
        count += one.numel()
    return {"kl": total / count, "perplexity": surprise.perplexity}
