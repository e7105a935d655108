"""What an estimate has summed so far, as plain data: what is merged, stored and resumed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

# What `State.methods` calls the estimates of second derivatives, and how it marks others that are
# random.
PROPAGATED, SAMPLED, PROBED = "curvature propagation", "hutchinson", ", probes"
_FROM_SURE_TO_UNSURE = (
    "rules", "one example at a time", "gauss-newton, certified", "second derivatives",
    PROPAGATED, SAMPLED, "gauss-newton",
)  # fmt: skip
OBJECTIVES = ("baseline", "fisher", "gradient", "hessian", "gradient+hessian")


@dataclass(frozen=True, eq=False, repr=False)
class State:
    """Sums over examples, their count, and what was estimated; `Importances` says what each is."""

    objective: str
    loss: str
    temperature: float
    mu: float
    count: int
    sums: dict[str, torch.Tensor]
    quartic_sums: dict[str, torch.Tensor] | None = None
    methods: dict[str, str] = field(default_factory=dict)
    variance_sums: dict[str, torch.Tensor] = field(default_factory=dict)
    quartic_variance_sums: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the sums are."""
        return next(iter(self.sums.values())).device

    def random_names(self) -> set[str]:
        """The parameters whose methods say that they are estimates."""
        return {
            name for name, method in self.methods.items()
            if method in (PROPAGATED, SAMPLED) or method.endswith(PROBED)
        }  # fmt: skip

    def kind(self) -> dict[str, Any]:
        """What was estimated, whatever the parameters."""
        return {each.name: getattr(self, each.name) for each in fields(State)[:4]}

    def signature(self) -> dict[str, Any]:
        """What two estimates must have in common to be merged."""
        return self.kind() | {f"shape of {n!r}": tuple(t.shape) for n, t in self.sums.items()}


def require_equal(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Refuses to merge two estimates, by the first difference of their kinds or signatures."""
    for key in [*mine, *theirs]:
        if key not in mine or key not in theirs:
            name = key.removeprefix("shape of ")
            raise ValueError(f"cannot merge importances: only one of them has {name}")
        if mine[key] != theirs[key]:
            raise ValueError(
                f"cannot merge importances of different {key}: {mine[key]!r} and {theirs[key]!r}"
            )


def merged_methods(runs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Of runs to be merged: for each parameter the least sure of its methods, in any order."""
    found: dict[str, str] = {}
    for methods in runs:
        for name, method in methods.items():
            found[name] = _less_sure(found.get(name, method), method)
    return found


def _less_sure(one: str, other: str) -> str:
    """Of two methods; probes of either one show."""
    worst = max(one.removesuffix(PROBED), other.removesuffix(PROBED), key=_unsureness)
    is_probed = one.endswith(PROBED) or other.endswith(PROBED)
    return worst + PROBED if is_probed and worst not in (PROPAGATED, SAMPLED) else worst


def _unsureness(method: str) -> tuple[int, str]:
    known = _FROM_SURE_TO_UNSURE
    return known.index(method) if method in known else len(known), method


def with_known_variance(
    random: Sequence[Collection[str]], known: Sequence[Collection[str]]
) -> list[str]:
    """Of runs to be merged: whose sum's variance is known in each where it is not exact."""
    unknown = {n for names, own in zip(random, known, strict=True) for n in names if n not in own}
    return sorted({name for own in known for name in own} - unknown)
