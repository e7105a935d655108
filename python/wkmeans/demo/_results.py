"""Outcomes over seeds, their means, and the verdict that they support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from wkmeans.demo._experiment import Method, Outcome, Pruned, Quantised, Setting
from wkmeans.demo._network import Score


@dataclass(frozen=True)
class Results:
    """One trained network for each seed, each compressed under every objective and setting."""

    data: str
    architecture: str
    originals: Sequence[Score]
    outcomes: Sequence[Mapping[tuple[str, Setting], Outcome]]

    @property
    def objectives(self) -> list[str]:
        """In the order of the run."""
        return list(dict.fromkeys(objective for objective, _ in self.outcomes[0]))

    def settings(self, method: Method) -> list[Setting]:
        """The settings of one method, in the order of the run."""
        settings = dict.fromkeys(setting for _, setting in self.outcomes[0])
        return [setting for setting in settings if isinstance(setting, method)]

    def accuracy(self, objective: str, setting: Setting) -> float:
        """Mean over seeds of the test accuracy."""
        return fmean(seed[objective, setting].test.accuracy for seed in self.outcomes)

    def cross_entropy(self, objective: str, setting: Setting) -> float:
        """Mean over seeds of the test cross-entropy."""
        return fmean(seed[objective, setting].test.cross_entropy for seed in self.outcomes)

    def ratio(self, objective: str, setting: Setting) -> float:
        """Mean over seeds of the compression ratio."""
        return fmean(seed[objective, setting].ratio for seed in self.outcomes)

    @property
    def original(self) -> Score:
        """Mean over seeds of what the networks score uncompressed."""
        return Score(
            fmean(score.accuracy for score in self.originals),
            fmean(score.cross_entropy for score in self.originals),
        )


def verdict(results: Results) -> list[str]:
    """Plain sentences: where each objective's cross-entropy is below the baseline's, and where not.

    Empty where the baseline, or everything else, was left out of the run.
    """
    objectives = results.objectives
    if "baseline" not in objectives:
        return []
    lines = [_against_baseline(results, o) for o in objectives if o != "baseline"]
    if {"fisher", "hessian"} <= set(objectives) and _coincide(results, "fisher", "hessian"):
        lines.append(
            "fisher and hessian coincide, as they must on a ReLU network with softmax "
            "cross-entropy: they are one piece of evidence, not two."
        )
    return lines


def _against_baseline(results: Results, objective: str) -> str:
    settings = [*results.settings(Quantised), *results.settings(Pruned)]
    behind = [
        setting
        for setting in settings
        if results.cross_entropy(objective, setting) >= results.cross_entropy("baseline", setting)
    ]
    runs = [
        seed[objective, setting].test.cross_entropy < seed["baseline", setting].test.cross_entropy
        for seed in results.outcomes
        for setting in settings
    ]
    where = f"not at {', '.join(map(str, behind))}" if behind else "everywhere"
    return (
        f"{objective}: mean cross-entropy below the baseline's at the same k or "
        f"density in {len(settings) - len(behind)} of {len(settings)} settings ({where}), "
        f"and in {sum(runs)} of {len(runs)} single runs."
    )


def _coincide(results: Results, first: str, second: str) -> bool:
    return all(
        seed[first, setting].test == seed[second, setting].test
        for seed in results.outcomes
        for objective, setting in seed
        if objective == first
    )
