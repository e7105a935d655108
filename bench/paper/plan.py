"""What a run compares. `FULL` is the report's, `QUICK` CI's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from networks import Recipe, convolutional, fully_connected


@dataclass(frozen=True)
class Plan:
    """One run.

    ``n_importance`` training examples give the importances; ``n_validation`` validation examples
    choose temperature and mu for each objective; None takes a whole split. ``mus`` are in units of
    the mean importance.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    epochs: tuple[tuple[str, int], ...] = (("fully connected", 6), ("convolutional", 4))
    n_training: int | None = None
    n_test: int | None = None
    n_importance: int = 500
    n_validation: int = 2000
    densities: tuple[float, ...] = (0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
    ks: tuple[int, ...] = (2, 3, 4, 6, 8, 12, 16, 32)
    temperatures: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 9.0)
    mus: tuple[float, ...] = (0.0, 1e-3, 1e-2, 0.1, 1.0)
    # Hyperparameters are chosen for the mean of log cross-entropy over these settings.
    choosing_densities: tuple[float, ...] = (0.1, 0.2, 0.4)
    choosing_ks: tuple[int, ...] = (3, 4, 8)
    # Figures 11 and 12, whose captions name the densities.
    temperature_densities: tuple[float, ...] = (0.05, 0.075, 0.1)
    mu_densities: tuple[float, ...] = (0.4, 0.5, 0.6)
    lloyd_ks: tuple[int, ...] = (2, 4, 8, 16)

    def settings(self, method: str) -> tuple[float, ...]:
        return self.densities if method == "prune" else self.ks

    def choosing(self, method: str) -> tuple[float, ...]:
        return self.choosing_densities if method == "prune" else self.choosing_ks

    def recipe(self, network: str) -> Recipe:
        build = {"fully connected": fully_connected, "convolutional": convolutional}[network]
        return Recipe(build, dict(self.epochs)[network])

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(network for network, _ in self.epochs)

    def digest(self, task: str) -> str:
        """Names the results of one seed: what a resumed run may use again."""
        fields = asdict(self) | {"task": task}
        del fields["seeds"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


FULL = Plan()
QUICK = replace(
    FULL,
    seeds=(0, 1),
    epochs=(("fully connected", 2), ("convolutional", 2)),
    n_training=12_000,
    n_test=2000,
    n_importance=200,
    n_validation=1000,
    densities=(0.1, 0.2, 0.4),
    ks=(3, 4, 8),
    temperatures=(1.0, 4.0),
    mus=(0.0, 0.1),
    choosing_densities=(0.2,),
    choosing_ks=(4,),
    temperature_densities=(0.1,),
    mu_densities=(0.4,),
    lloyd_ks=(4,),
)
