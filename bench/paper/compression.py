"""Pruning and quantisation layer by layer (5.3), under importances of any objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

import wkmeans

Weights = Mapping[str, torch.Tensor]
# The coefficients of (w - c)^2 and (w - c)^4, for each weight tensor.
Objective = Mapping[str, tuple[torch.Tensor, torch.Tensor | None]]

BITS = 32  # of a weight before compression, and of a centroid
# Algorithm 2 leaves its start open. Deep Compression, which the paper builds on, spaces it evenly.
SOLVERS: dict[str, dict[str, object]] = {
    "optimal": {"solver": "optimal"},
    "lloyd linear": {"solver": "lloyd", "init": "linear"},
    "lloyd quantile": {"solver": "lloyd", "init": "quantile"},
    "lloyd kmeans++": {"solver": "lloyd", "init": "kmeans++"},
}


class Compressed(NamedTuple):
    """Dense weights after compression, the paper's ratio, and the objective's value."""

    weights: dict[str, torch.Tensor]
    ratio: float
    cost: float


def prune(weights: Weights, objective: Objective, density: float) -> Compressed:
    """Keep the same share of every tensor. The paper's ratio r is that share."""
    dense: dict[str, torch.Tensor] = {}
    cost = kept = 0.0
    for name, weight in weights.items():
        importance, quartic = objective[name]
        mask = wkmeans.prune(weight, density, importance=importance, quartic_importance=quartic)
        dense[name] = weight * mask
        kept += float(mask.sum())
        cost += distortion(weight, dense[name], importance, quartic)
    return Compressed(dense, kept / _count(weights), cost)


def quantise(weights: Weights, objective: Objective, k: int, solver: str) -> Compressed:
    """Give every tensor its own codebook of ``k`` centroids, by one of `SOLVERS`."""
    dense: dict[str, torch.Tensor] = {}
    counts = []
    cost = 0.0
    for name, weight in weights.items():
        importance, quartic = objective[name]
        clustering = wkmeans.wkmeans(
            weight, k, importance=importance, quartic_importance=quartic, **SOLVERS[solver]
        )
        dense[name] = clustering.dequantize()
        counts.append(np.bincount(np.asarray(clustering.labels).ravel(), minlength=k))
        cost += float(clustering.cost)
    return Compressed(dense, ratio_of_codebooks(counts), cost)


def ratio_of_codebooks(counts: Sequence[npt.NDArray[np.int64]]) -> float:
    """The paper's ratio of all tensors together, from each one's number of labels by centroid."""
    sizes = [int(one.sum()) for one in counts]
    ratios = [wkmeans.rate.compression_ratio(one, bits=BITS) for one in counts]
    return sum(sizes) / sum(size / ratio for size, ratio in zip(sizes, ratios, strict=True))


def distortion(
    weight: torch.Tensor,
    compressed: torch.Tensor,
    importance: torch.Tensor,
    quartic: torch.Tensor | None,
) -> float:
    """``sum I (w - w_hat)^2 + H (w - w_hat)^4``, in double."""
    squares = (weight.double() - compressed.double()).square()
    total = (importance * squares).sum()
    if quartic is not None:
        total = total + (quartic * squares.square()).sum()
    return float(total)


# Each takes weights, objective and setting (a density or k).
METHODS: dict[str, Callable[[Weights, Objective, float], Compressed]] = {
    "prune": prune,
    "quantise": lambda weights, objective, k: quantise(weights, objective, int(k), "optimal"),
}


def _count(weights: Weights) -> int:
    return sum(weight.numel() for weight in weights.values())
