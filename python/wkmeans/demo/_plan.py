"""What the demo runs on each data set: network, training, and the settings that it compares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from wkmeans._kernels.checks import checked_k
from wkmeans.demo._experiment import Pruned, Quantised, Setting
from wkmeans.importance import OBJECTIVES


class Training(NamedTuple):
    """Adam's arguments."""

    epochs: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True)
class Plan:
    """One run of the demo; raises ``ValueError`` for what makes no sense.

    ``n_examples`` training examples give the importances; ``temperatures`` are those that
    validation chooses among.
    """

    widths: tuple[int, ...]
    training: Training
    n_examples: int
    seeds: tuple[int, ...]
    temperatures: tuple[float, ...]
    ks: tuple[int, ...] = (2, 3, 4, 8, 16)
    densities: tuple[float, ...] = (0.5, 0.4, 0.3, 0.2)
    objectives: tuple[str, ...] = OBJECTIVES

    def __post_init__(self) -> None:
        unknown = [o for o in self.objectives if o not in OBJECTIVES]
        if unknown or not self.objectives:
            raise ValueError(f"objectives: expected some of {', '.join(OBJECTIVES)}, got {unknown}")
        if not self.seeds:
            raise ValueError("seeds: expected at least 1, got 0")
        if min(self.seeds) < 0:
            raise ValueError(f"seed: expected at least 0, got {min(self.seeds)}")
        for k in self.ks:
            checked_k("k", k)
        for density in self.densities:
            if not 0 < density <= 1:
                raise ValueError(f"densities: expected more than 0, at most 1, got {density}")
        for temperature in self.temperatures:
            if not (math.isfinite(temperature) and temperature > 0):
                raise ValueError(f"temperature: expected positive, finite, got {temperature}")
        if min(self.widths) < 1:
            raise ValueError(f"widths: expected at least 1 unit a layer, got {min(self.widths)}")
        if not self.ks and not self.densities:
            raise ValueError("k, densities: expected at least one of either, got none")

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Everything compared, quantisation first, each value once."""
        return (
            *(Quantised(k) for k in dict.fromkeys(self.ks)),
            *(Pruned(density) for density in dict.fromkeys(self.densities)),
        )

    @property
    def steps_per_seed(self) -> int:
        """Epochs, and estimates with all their settings, for the progress bar."""
        weighted = sum(o != "baseline" for o in self.objectives)
        return (
            self.training.epochs
            + weighted * len(self.temperatures)
            + len(self.objectives)
            - weighted
        )


PLANS = {
    "digits": Plan(
        widths=(64, 64, 10),
        training=Training(epochs=40, batch_size=32, learning_rate=1e-3),
        n_examples=2000,
        seeds=(0, 1, 2, 3, 4),
        temperatures=(1.0, 3.0, 9.0),
    ),
    # Per-example gradients of 266,200 weights: fewer examples and temperatures, one seed.
    "fashion-mnist": Plan(
        widths=(784, 300, 100, 10),
        training=Training(epochs=8, batch_size=128, learning_rate=1e-3),
        n_examples=500,
        seeds=(0,),
        temperatures=(1.0, 4.0),
    ),
}
