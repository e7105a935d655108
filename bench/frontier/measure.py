"""What a file is worth: how far outputs on test inputs move, the metric, and how long it took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from end_metrics import Network, State
from files import UnreachableError
from methods import CODECS, WITH_K

ORIGINAL = "original"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Row:
    """One file, or why there is none (`missing`).

    `size` is bits a weight wanted, or k where `fixed`; seconds are of one processor.
    """

    net: str
    seed: int
    fixed: bool
    size: float
    method: str
    nbytes: int = 0
    divergence: float = 0.0
    metric: float = 0.0
    n_answers: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    missing: str = ""

    @property
    def key(self) -> tuple[str, int, bool, float, str]:
        return self.net, self.seed, self.fixed, self.size, self.method


def measured(network: Network, row: Row) -> Row:
    """The row filled in, or why it cannot be."""
    try:
        nbytes, state, encode, decode = _made(network, row)
    except UnreachableError as reason:
        return replace(row, missing=str(reason))
    divergence, metric = network.judge(state)
    return replace(
        row,
        nbytes=nbytes,
        divergence=divergence,
        metric=metric,
        n_answers=network.n_answers,
        encode_seconds=encode,
        decode_seconds=decode,
    )


def _made(network: Network, row: Row) -> tuple[int, State, float, float]:
    """Bytes, what is read of them, and seconds to encode and to decode."""
    if row.method == ORIGINAL:
        return 4 * network.n_weights, network.module.state_dict(), 0.0, 0.0
    if row.fixed:
        (nbytes, state), seconds = _timed(lambda: WITH_K[row.method](network, int(row.size)))
        return nbytes, state, seconds, 0.0
    codec, target = CODECS[row.method], int(row.size * network.n_weights / 8)
    file, encode = _timed(lambda: codec.encode(network, target))
    if len(file) > target:
        raise AssertionError(f"{row.method}: {len(file):,} bytes, {target:,} were asked for")
    state, decode = _timed(lambda: codec.decode(file))
    return len(file), state, encode, decode


def _timed(call: Callable[[], Result]) -> tuple[Result, float]:
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def stored(path: Path) -> Iterator[Row]:
    """The rows that earlier runs left."""
    if path.exists():
        for line in path.read_text().splitlines():
            yield Row(**json.loads(line))


def store(path: Path, row: Row) -> None:
    """One line more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")
