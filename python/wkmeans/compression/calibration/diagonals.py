"""Importances weight by weight: those given, or Fisher's of as many tensors as are asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn

from wkmeans._free_memory import give_back
from wkmeans._groups import in_groups
from wkmeans._wrappers import plain_names
from wkmeans.compression.source import Source

Estimate = Callable[[Collection[str], int | None], Mapping[str, Any]]
"""Fisher's importances of parameters, named without wrappers, by so many examples or by all."""

_EXAMPLES_OF_A_SUM = 64
"""Importances of all layers' weights together differ little from example to example."""
_WEIGHTS_OF_A_SUM = 1 << 22
"""An estimate holds two doubles of each, and another estimate goes through the model again."""


class Diagonals(Mapping[str, Any]):
    """Importances by the names of the source's tensors; the mean for one that has none.

    Fisher's take derivatives of every example, and memory for every weight: they are estimated when
    they are asked for first, all that are missing at one time. What an estimate has summed is held,
    of a table of embeddings a few rows; what follows from it is made anew whenever it is asked for.
    """

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        given: Mapping[str, Any] | None,
        estimate: Estimate,
    ) -> None:
        self.are_given = given is not None
        self._model = model
        self._source = source
        self._estimate = estimate
        self._found = self._by_source(given or {})
        self._sums: dict[frozenset[str], float] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.entries)

    def __len__(self) -> int:
        return len(self._source.entries)

    def __getitem__(self, name: str) -> Any:
        if name not in self._source.entries:
            raise KeyError(name)
        if name not in self._found:
            self.prepare(self._source.entries)
        if name not in self._found:
            return self._mean, None
        return self._found[name]()

    def prepare(self, names: Collection[str]) -> None:
        """Estimate those of these tensors that are not known yet."""
        if self.are_given:
            return
        wanted = self._parameters_of({name for name in names if name not in self._found})
        if wanted:
            self._found |= self._by_source(self._estimate(wanted, None))
            give_back()

    def in_all(self, names: Collection[str]) -> float:
        """What the importances of these tensors add up to, by a few examples where estimated."""
        key = frozenset(names)
        if key not in self._sums:
            self._sums[key] = self._sum_of_all(names)
        return self._sums[key]

    def _sum_of_all(self, names: Collection[str]) -> float:
        if self.are_given:
            return sum(self._sum_of(name, self[name]) for name in names)
        sizes = {name: self._source.entries[name].size for name in names}
        groups = in_groups(names, sizes.__getitem__, _WEIGHTS_OF_A_SUM)
        return sum(map(self._sum_by_a_few, groups))

    def _sum_by_a_few(self, names: Collection[str]) -> float:
        wanted = self._parameters_of(names)
        found = self._by_source(self._estimate(wanted, _EXAMPLES_OF_A_SUM)) if wanted else {}
        total = sum(self._sum_of(name, pair()) for name, pair in found.items())
        give_back()
        return total

    def _sum_of(self, name: str, pair: Any) -> float:
        importance = torch.as_tensor(_first(pair)).double()
        return float(importance.expand(self._source.entries[name].shape).sum())

    def _parameters_of(self, names: Collection[str]) -> list[str]:
        """The model's that are stored under these names, as they are called without wrappers."""
        known = [n for n, p in self._model.named_parameters() if p.is_floating_point()]
        wanted = {name for name, stored in self._stored(known).items() if stored in names}
        return [p for n, p in plain_names(self._model, known).items() if n in wanted and p]

    @cached_property
    def _mean(self) -> torch.Tensor:
        """Of all that are known once one was asked for that has none."""
        means = [_mean_of(pair()) for pair in self._found.values()]
        return torch.full((), sum(means) / max(len(means), 1), dtype=torch.float64)

    def _by_source(self, found: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
        """What gives each pair."""
        stored = self._stored(found)
        return {name: partial(found.__getitem__, given) for given, name in stored.items()}

    def _stored(self, names: Collection[str]) -> dict[str, str]:
        """The names of the source, by the model's; without those that it does not hold."""
        stored = self._source.names()
        plain = plain_names(self._model, names)
        return {name: stored[known] for name, known in plain.items() if known in stored}


def _mean_of(pair: Any) -> float:
    return float(torch.as_tensor(_first(pair)).double().mean())


def _first(pair: Any) -> Any:
    return pair[0] if isinstance(pair, (tuple, list)) else pair
