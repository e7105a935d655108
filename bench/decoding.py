"""How fast a compressed model becomes dense tensors again: `state_dict()` of 20 M weights.

The codings that files have, one large tensor and many of a transformer's size. Run with nothing
else on the machine.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from wkmeans._kernels.feedback import factorised, lattice_feedback
from wkmeans.compression._model import CompressedModel
from wkmeans.compression.lattice.coding import encode_integers
from wkmeans.compression.lattice.scales import nearest_exponents, scale_of
from wkmeans.compression.lattice.tensor import LatticeTensor, lattice_tensor
from wkmeans.compression.lattice.trellis import block_of
from wkmeans.compression.tensors.tensor import CompressedTensor, compressed_tensor

TARGET = 100  # million weights a second, on two cores
LARGE, MANY = [(4096, 4992)], [(768, 768)] * 35


def with_codebook(
    shape: tuple[int, int], k: int, coding: str, granularity: str
) -> CompressedTensor:
    """Normal weights by codewords at equal distances."""
    weights = np.random.default_rng(1).standard_normal(shape, np.float32)
    labels = np.clip(np.rint((weights + 3) * (k - 1) / 6), 0, k - 1).astype(np.uint8)
    count = shape[0] if granularity == "channel" else 1
    codebooks = np.repeat(np.linspace(-3, 3, k, dtype=np.float32)[np.newaxis], count, axis=0)
    return compressed_tensor(
        labels, codebooks, dtype="float32", granularity=granularity, coding=coding
    )


def on_lattice(shape: tuple[int, int]) -> LatticeTensor:
    """Integers of rows and columns of different spread."""
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(0, 32, shape[0]), rng.integers(0, 64, shape[1])
    sizes = 2.0 ** (1 - (rows[:, np.newaxis] + columns) / 32)
    integers = np.rint(rng.standard_normal(shape) * sizes).astype(np.int64)
    return lattice_tensor(encode_integers(integers, rows, columns), shape, "float32")


def on_trellis(shape: tuple[int, int]) -> LatticeTensor:
    """What calibration makes of normal weights whose columns matter unequally."""
    rng = np.random.default_rng(1)
    factor = factorised(np.diag(2.0 ** rng.uniform(-4, 0, shape[1])))
    rows, columns = np.full(shape[0], -24), nearest_exponents(1 / factor.diagonal)
    block = block_of(1, shape[0], together=False)
    found = lattice_feedback(
        rng.standard_normal(shape),
        factor,
        row_steps=scale_of(rows),
        column_steps=scale_of(columns),
        block=block,
    )
    return lattice_tensor(encode_integers(found.integers, rows, columns, block), shape, "float32")


CASES = {
    "2 bits, ans": lambda shape: with_codebook(shape, 4, "ans", "tensor"),
    "4 bits, ans": lambda shape: with_codebook(shape, 16, "ans", "tensor"),
    "4 bits, ans, one codebook a row": lambda shape: with_codebook(shape, 16, "ans", "channel"),
    "4 bits, packed": lambda shape: with_codebook(shape, 16, "packed", "tensor"),
    "lattice": on_lattice,
    "lattice, on a trellis": on_trellis,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    for name, make in CASES.items():
        for shapes in (LARGE, MANY):
            tensors = {f"{i}": make(shape) for i, shape in enumerate(shapes)}
            model = CompressedModel(tensors, framework="numpy")
            seconds = []
            for _ in range(arguments.runs):
                start = time.perf_counter()
                model.state_dict()
                seconds.append(time.perf_counter() - start)
            weights = sum(tensor.size for tensor in tensors.values())
            rate = weights / float(np.median(seconds)) / 1e6
            print(
                f"{name}, {len(shapes)} of {shapes[0]}: {rate:.0f} M weights/s, "
                f"target {TARGET}: {'met' if rate >= TARGET else 'MISSED'}"
            )


if __name__ == "__main__":
    main()
