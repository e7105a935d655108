"""Products of one input with 4-bit matrices that stay codes, beside torch's and a plain read.

Thirty-two matrices are multiplied in turn, so that none of them is still in a cache. What is read
is codes and codebooks. Run with nothing else on the machine: both targets are ratios of times that
memory decides.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from harness import best_seconds

from wkmeans._kernels.codes import PackedMatrix, from_labels, from_packed

SIZE, K, MATRICES = 4096, 16, 32
TARGETS = {"torch's Linear": 1 / 3, "one read": 2.0}


def matrices(group: int | None, rng: np.random.Generator) -> list[PackedMatrix]:
    count = 1 if group is None else SIZE * (SIZE // group)
    codebooks = rng.normal(size=(count, K)).astype(np.float16)
    first = from_labels(rng.integers(0, K, (SIZE, SIZE), np.uint8), codebooks, group=group)
    payload = first.codes[: SIZE * SIZE // 2]
    others = (
        from_packed(np.roll(payload, i), codebooks, (SIZE, SIZE), group=group)
        for i in range(1, MATRICES)
    )
    return [first, *others]


def measure(group: int | None, linears: list[torch.nn.Linear], batch: int) -> None:
    rng = np.random.default_rng(1)
    packed = matrices(group, rng)
    inputs = rng.normal(size=(batch, SIZE)).astype(np.float32)
    tensor = torch.from_numpy(inputs)
    read = [part.view(np.uint64) for matrix in packed for part in (matrix.codes, matrix.tables)]
    pool = ThreadPoolExecutor(os.cpu_count())
    with torch.no_grad():
        seconds = best_seconds(
            {
                "codes": lambda: [matrix.multiply(inputs) for matrix in packed],
                "torch's Linear": lambda: [linear(tensor) for linear in linears],
                "one read": lambda: list(pool.map(np.bitwise_xor.reduce, read)),
            }
        )
    seconds["torch's Linear"] *= MATRICES / len(linears)
    each = {name: total / MATRICES * 1e3 for name, total in seconds.items()}
    name = {None: "one codebook", SIZE: "one a row"}.get(group, f"one a group of {group}")
    print(f"batch {batch}, {name}: codes {each['codes']:.3f} ms")
    for other, most in TARGETS.items():
        ratio = each["codes"] / each[other]
        judged = (
            f", target {most:.3g}: {'met' if ratio <= most else 'MISSED'}" if batch == 1 else ""
        )
        print(f"  {ratio:.2f} x {other} ({each[other]:.3f} ms){judged}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64])
    arguments = parser.parse_args()
    linears = [torch.nn.Linear(SIZE, SIZE, bias=False) for _ in range(8)]
    for batch in arguments.batches:
        for group in (None, SIZE, 128):
            measure(group, linears, batch)


if __name__ == "__main__":
    main()
