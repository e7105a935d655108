"""The experiment of the paper's section 6 on one trained network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

import wkmeans
from wkmeans.demo._data import Dataset, Split
from wkmeans.demo._network import Score, evaluate
from wkmeans.importance import Importances, estimate

Weights = Mapping[str, torch.Tensor]
_BITS = 32  # of a weight before compression, and of a centroid


@dataclass(frozen=True)
class Quantised:
    """Every weight tensor quantised to its own codebook of ``k`` centroids."""

    k: int

    def __str__(self) -> str:
        return f"k = {self.k}"

    def compress(self, weights: Weights, importances: Importances) -> tuple[Weights, float]:
        """The quantised weights, and the paper's compression ratio (5.3) over all of them."""
        dense: dict[str, torch.Tensor] = {}
        compressed_bits = 0.0
        for name, weight in weights.items():
            importance, quartic = importances[name]
            clustering = wkmeans.wkmeans(
                weight, self.k, importance=importance, quartic_importance=quartic
            )
            dense[name] = clustering.dequantize()
            counts = np.bincount(np.asarray(clustering.labels).ravel(), minlength=self.k)
            ratio = wkmeans.rate.compression_ratio(counts, bits=_BITS)
            compressed_bits += weight.numel() * _BITS / ratio
        return dense, _count(weights) * _BITS / compressed_bits


@dataclass(frozen=True)
class Pruned:
    """Every weight tensor pruned to the same ``density``."""

    density: float

    def __str__(self) -> str:
        return f"density {self.density:g}"

    def compress(self, weights: Weights, importances: Importances) -> tuple[Weights, float]:
        """The pruned weights, and how many there were for each that is kept."""
        dense: dict[str, torch.Tensor] = {}
        kept = 0
        for name, weight in weights.items():
            importance, quartic = importances[name]
            mask = wkmeans.prune(
                weight, self.density, importance=importance, quartic_importance=quartic
            )
            dense[name] = weight * mask
            kept += int(mask.sum())
        return dense, _count(weights) / kept if kept else float("inf")


Setting = Quantised | Pruned
Method = type[Quantised] | type[Pruned]


class Outcome(NamedTuple):
    """A compressed network: its test score, compression ratio, and the temperature chosen."""

    test: Score
    ratio: float
    temperature: float


def compare_objectives(
    net: nn.Module,
    data: Dataset,
    *,
    objectives: Sequence[str],
    settings: Sequence[Setting],
    temperatures: Sequence[float],
    n_examples: int,
    on_step: Callable[[str], None],
) -> dict[tuple[str, Setting], Outcome]:
    """Compress ``net`` under every objective and setting; biases stay dense.

    Importances come from the first ``n_examples`` training examples. Where several temperatures are
    given, each objective and setting gets the one of lowest cross-entropy on the validation
    examples (C.3.1); the outcome is measured on the test examples, which choose nothing.
    """
    best: dict[tuple[str, Setting], tuple[float, Outcome]] = {}
    for objective in objectives:
        # The baseline has no softmax to scale.
        for temperature in temperatures[:1] if objective == "baseline" else temperatures:
            on_step(objective)
            importances = _importances(net, data.training.first(n_examples), objective, temperature)
            for setting in settings:
                validation, test, ratio = _measure(net, data, importances, setting)
                outcome = Outcome(test, ratio, temperature)
                key = objective, setting
                if key not in best or validation.cross_entropy < best[key][0]:
                    best[key] = validation.cross_entropy, outcome
    return {key: outcome for key, (_, outcome) in best.items()}


def _importances(net: nn.Module, split: Split, objective: str, temperature: float) -> Importances:
    def is_weight(_: str, parameter: Any) -> bool:
        return bool(parameter.ndim > 1)

    return estimate(
        net,
        split.batches(256),
        objective=objective,
        temperature=temperature,
        parameters=is_weight,
    )


def _measure(
    net: nn.Module, data: Dataset, importances: Importances, setting: Setting
) -> tuple[Score, Score, float]:
    weights = {name: net.get_parameter(name).detach() for name in importances}
    compressed, ratio = setting.compress(weights, importances)

    def run(inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = functional_call(net, dict(compressed), (inputs,))
        return outputs

    return evaluate(run, data.validation), evaluate(run, data.test), ratio


def _count(weights: Weights) -> int:
    return sum(weight.numel() for weight in weights.values())
