"""The result of an estimate: sums over examples and their count, so that runs merge by addition."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch

from wkmeans.importance.run import storage
from wkmeans.importance.run.distributed import all_reduce
from wkmeans.importance.run.state import State, merged_methods, require_equal, with_known_variance


@dataclass(frozen=True, eq=False, repr=False)
class Importances(State, Mapping[str, tuple[torch.Tensor, "torch.Tensor | None"]]):
    """A mapping from parameter name to ``(importance, quartic_importance)``.

    Both tensors have the parameter's shape and are float64, the coefficients of ``(w - c)^2`` and
    ``(w - c)^4`` in the objective; the second is ``None`` for every objective but
    ``"gradient+hessian"``. A tensor that a model uses under several names has one entry, under the
    first name that ``model.named_parameters()`` gives it.

    Attributes
    ----------
    objective, loss, temperature, mu
        What was estimated; ``loss`` is the name, or the qualified name of a function.
    count : int
        The number of examples in the sums (1 for ``"baseline"``, which looks at none).
    sums, quartic_sums : dict of str to float64 tensor
        Sums over examples of what the mapping gives the means of. ``sums`` of ``"hessian"`` and
        estimates of quartic sums may be negative: the mapping clamps the means at zero, and adds
        ``mu`` to the Hessian's.
    methods : dict of str to str
        How each parameter was found: ``"rules"``, or ``"one example at a time"`` where no analytic
        rule covers it; for second derivatives, ``"gauss-newton, certified"`` (they equal the
        Hessian's, as the first examples show), ``"gauss-newton"`` (they do not), ``"second
        derivatives"`` (exact), ``"curvature propagation"`` or ``"hutchinson"`` (both unbiased
        estimates). ``", probes"`` follows where random probes stand for all classes or outputs.
        Of the objective with two importances it says how the quartic one was found; of merged runs
        the least sure.
    variance_sums, quartic_variance_sums : dict of str to float64 tensor
        Estimates of the variances of ``sums`` and ``quartic_sums``, over the random probes that
        could have been drawn, for those parameters that have any; see ``standard_error``.
    """

    def __getitem__(self, name: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        importance = self.sums[name] / self.count
        if self.objective == "hessian":
            importance = importance.clamp_(min=0).add_(self.mu)
        if self.quartic_sums is None:
            return importance, None
        return importance, (self.quartic_sums[name] / self.count).clamp_(min=0)

    def __iter__(self) -> Iterator[str]:
        return iter(self.sums)

    def __len__(self) -> int:
        return len(self.sums)

    @property
    def clamped(self) -> dict[str, int]:
        """How many negative entries the mapping raises to zero, for each parameter.

        Of the Hessian, or of an estimate of its mean square.
        """
        totals = self.sums if self.quartic_sums is None else self.quartic_sums
        return {name: int((total < 0).sum()) for name, total in totals.items()}

    def standard_error(self, name: str) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """How far random probes may have left the two importances from their exact values.

        One standard deviation of the mean over these very examples, float64, of the parameter's
        shape; that other examples would give another mean is not in it. ``None`` where the value is
        exact, or a single probe of each example leaves nothing to compare. From few probes that of
        a quartic importance is too large rather than too small.
        """
        found = [each.get(name) for each in (self.variance_sums, self.quartic_variance_sums)]
        first, second = (None if v is None else v.sqrt() / self.count for v in found)
        return first, second

    def __add__(self, other: Importances) -> Importances:
        """Merge two runs of one estimate over different examples.

        Raises ``ValueError`` naming the first difference where the two are not of the same
        objective, loss, temperature, ``mu``, parameters and shapes.
        """
        if not isinstance(other, Importances):
            return NotImplemented
        require_equal(self.signature(), other.signature())
        return replace(
            self,
            count=self.count + other.count,
            methods=merged_methods([self.methods, other.methods]),
            sums=_added(self.sums, other.sums),
            quartic_sums=_added(self.quartic_sums, other.quartic_sums)
            if self.quartic_sums is not None and other.quartic_sums is not None
            else None,
            variance_sums=_added_variances(
                (self, other), (self.variance_sums, other.variance_sums)
            ),
            quartic_variance_sums=_added_variances(
                (self, other), (self.quartic_variance_sums, other.quartic_variance_sums)
            ),
        )

    def all_reduce(self, group: Any = None) -> Importances:
        """Merge the ranks of a ``torch.distributed`` process group; every rank gets the result.

        Each rank estimates over its own share of the examples and then calls this. Raises
        ``ValueError``, on every rank, where the ranks' estimates are not of the same objective,
        loss, temperature, ``mu``, parameters and shapes.
        """
        return all_reduce(self, group)

    def with_mu(self, mu: float) -> Importances:
        """The same estimate with another regulariser; only ``"hessian"`` has one."""
        if not (math.isfinite(mu) and mu >= 0):
            raise ValueError(f"mu: expected a finite, non-negative number, got {mu}")
        if self.objective != "hessian":
            raise ValueError(f'mu: expected objective "hessian", got {self.objective!r}')
        return replace(self, mu=float(mu))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the sums and the count to a safetensors file; ``load`` gives the same bits back."""
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Importances:
        """Read what ``save`` wrote, onto the CPU.

        Raises ``ValueError`` where the file is damaged, is no importances file, or holds values
        that no estimate gives (non-finite, or negative where squares are summed).
        """
        return cls(**vars(storage.load(path)))

    def __repr__(self) -> str:
        clamped = f", clamped={n}" if (n := sum(self.clamped.values())) else ""
        return (
            f"Importances({self.objective!r}, loss={self.loss!r}, "
            f"temperature={self.temperature:g}, mu={self.mu:g}, count={self.count}, "
            f"parameters={len(self)}{clamped})"
        )


def _added_variances(
    runs: tuple[Importances, Importances],
    each: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]],
) -> dict[str, torch.Tensor]:
    names = with_known_variance([run.random_names() for run in runs], each)
    found = {n: [own[n].to(runs[0].device) for own in each if n in own] for n in names}
    return {n: one[0] if len(one) == 1 else one[0] + one[1] for n, one in found.items()}


def _added(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    return {name: total + second[name].to(total.device) for name, total in first.items()}
