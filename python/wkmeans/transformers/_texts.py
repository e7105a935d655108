"""Texts cut into sequences of tokens: disjoint, drawn by a seed, each framed as the model expects.

Perplexity is taken on some of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LENGTH = 256
"""Tokens of a sequence, where model and texts have so many and nobody asks for other ones."""
_SHORTEST = 8
_FEWEST = 5  # sequences: one of five judges
_BATCH = 4


@dataclass(frozen=True)
class Sequences:
    """Which sequences to take.

    Attributes
    ----------
    number : int
        At most so many.
    length : int or None
        Tokens in each, those that frame it included; None: `LENGTH`, or what model and texts have.
    seed : int
        Of the generator that draws them.
    """

    number: int
    length: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"calibration sequences: expected at least 1, got {self.number}")
        if self.length is not None and self.length < 2:
            raise ValueError(f"sequence length: expected at least 2 tokens, got {self.length}")
        if self.seed < 0:
            raise ValueError(f"seed: expected at least 0, got {self.seed}")


def read_texts(paths: Iterable[Path]) -> list[str]:
    """The files' texts; ``ValueError`` for one that is no text in UTF-8."""
    texts = []
    for path in paths:
        try:
            texts.append(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"calibration: expected text in UTF-8, got {path}: {error}") from None
    return texts


def cut(
    texts: Sequence[str], tokenizer: Any, wanted: Sequences, positions: int | None
) -> torch.Tensor:
    """Sequences of tokens, ``(n, length)``, int64, in an order that the seed decides.

    No token is in two of them, and none spans two texts. Those are fewer than asked for where the
    texts hold no more.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
    positions : int or None
        The longest sequence that the model takes.

    Raises
    ------
    ValueError
        Where the texts are too short, or a sequence is longer than the model takes.
    """
    streams, before, after = _streams(tokenizer, texts)
    length = _length(wanted.length, sum(map(len, streams)), len(before) + len(after), positions)
    inner = length - len(before) - len(after)
    windows = [
        stream[start : start + inner]
        for stream in streams
        for start in range(0, len(stream) - inner + 1, inner)
    ]
    if len(windows) < min(wanted.number, 2):
        raise ValueError(
            f"calibration: expected texts of at least {2 * inner} tokens, two sequences, got "
            f"{sum(map(len, streams))} in {len(streams)}"
        )
    order = np.random.default_rng(wanted.seed).permutation(len(windows))[: wanted.number]
    return torch.tensor([before + windows[position] + after for position in order])


def _streams(tokenizer: Any, texts: Sequence[str]) -> tuple[list[list[int]], list[int], list[int]]:
    """The tokens of each text, and what the tokenizer puts before and behind a text of its own."""
    streams: list[list[int]] = []
    before: list[int] = []
    after: list[int] = []
    for text in texts:
        found = tokenizer(text, return_special_tokens_mask=True, verbose=False)
        ids, added = list(found["input_ids"]), list(found["special_tokens_mask"])
        if 0 not in added:
            continue
        start, end = added.index(0), len(added) - added[::-1].index(0)
        streams.append(ids[start:end])
        before, after = ids[:start], ids[end:]
    return streams, before, after


def _length(asked: int | None, tokens: int, frame: int, positions: int | None) -> int:
    longest = math.inf if positions is None else positions
    if asked is None:
        length = int(min(LENGTH, longest, tokens // _FEWEST + frame))
        if length < min(_SHORTEST, longest):
            raise ValueError(
                f"calibration: expected texts of at least {_FEWEST * (_SHORTEST - frame)} tokens, "
                f"got {tokens}"
            )
        return length
    if asked > longest:
        raise ValueError(
            f"sequence length: expected at most {positions}, what the model takes, got {asked}"
        )
    if asked <= frame:
        raise ValueError(
            f"sequence length: expected more than the {frame} tokens that frame each, got {asked}"
        )
    return asked


def batches_of(sequences: torch.Tensor, *, decoder: bool = False) -> list[dict[str, torch.Tensor]]:
    """Inputs as models take them; one with a decoder of its own reads each sequence there too."""
    batches: list[dict[str, torch.Tensor]] = []
    for start in range(0, len(sequences), _BATCH):
        ids = sequences[start : start + _BATCH]
        batches.append({"input_ids": ids} | ({"decoder_input_ids": ids} if decoder else {}))
    return batches


@torch.no_grad()
def perplexity(model: nn.Module, batches: Iterable[Mapping[str, torch.Tensor]]) -> float:
    """Of the next token, over all tokens of `batches` but each sequence's first."""
    surprise = Surprise()
    for batch in batches:
        surprise.add(model(**batch).logits, batch["input_ids"])
    return surprise.perplexity


@dataclass
class Surprise:
    """What next tokens cost in all, in nats, and how many they are."""

    nats: float = 0.0
    tokens: int = 0

    def add(self, logits: torch.Tensor, ids: torch.Tensor) -> None:
        """Those of a batch: logits ``(n, length, vocabulary)``, tokens ``(n, length)``."""
        following = ids[:, 1:].flatten()
        before = logits[:, :-1].flatten(0, 1).float()
        self.nats += float(functional.cross_entropy(before, following, reduction="sum"))
        self.tokens += following.numel()

    def __add__(self, other: Surprise) -> Surprise:
        return Surprise(self.nats + other.nats, self.tokens + other.tokens)

    @property
    def perplexity(self) -> float:
        """Infinity where a double does not hold it."""
        mean = self.nats / self.tokens
        return math.exp(mean) if mean < 700 else math.inf
