"""A floor under importances: what an estimate of zero is worth.

An importance is a mean over so many examples, and the coefficient of an expansion that holds near
the weight alone. Both make small values too sure of themselves: half of a tensor's importance often
sits on a thousandth of its weights, and the others, nearly free, are moved beyond where the
expansion holds. So each importance is drawn towards the mean of its tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from wkmeans._kernels.arrays import Array
from wkmeans._kernels.checks import checked_number, importance_pair
from wkmeans.compression.tensors.dtypes import as_numpy

DEFAULT_FLOOR = 1.0
"""A share of the tensor's mean.

Half-way from each importance to the mean. Of 0, .01, .03, .1, .3 and 1 it moved the outputs of a
small convolutional network least at 1.5, 2 and 3 bits a weight (Fisher; a third less than .1, half
of 0), and those of a fully connected one no more than others between .1 and 3.
"""

UNSEEN = 1e-6
"""Of the tensor's mean: what is less important was never seen by the examples."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """Importances of one tensor, broadcastable to it, and the slices that no example reached."""

    importance: Array | None = None
    quartic_importance: Array | None = None
    unseen: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class WeighedTensors:
    """Importances by name, as they were given and with the floor under them."""

    importances: Mapping[str, Any] | None
    floor: float
    given_as: Mapping[str, str] = field(default_factory=dict)

    def stored_as(self, names: Mapping[str, str]) -> WeighedTensors:
        """The same, a tied tensor's under the name that `names` says it is stored under."""
        if self.importances is None:
            return self
        given_as = {names[given]: given for given in self.importances}
        return replace(self, given_as=given_as | {n: n for n in self.importances if names[n] == n})

    def knows(self, name: str) -> bool:
        return self.importances is None or name in self.given_as

    def given(self, name: str) -> Weighed:
        """As they are; nothing where every weight counts 1."""
        if self.importances is None:
            return Weighed()
        argument = f"importances[{name!r}]"
        pair = importance_pair(argument, self.importances[self.given_as.get(name, name)])
        first, second = (None if v is None else _real(argument, v) for v in pair)
        return Weighed(first, second)

    def floored(self, given: Weighed, shape: tuple[int, ...]) -> Weighed:
        """``I + floor mean(I)``, and the mean in place of slices that were never seen.

        A tensor of which nothing was seen counts as the mean of the network.
        """
        if given.importance is None or not self.floor or not _broadcasts(given, shape):
            return given
        importance = given.importance.astype(np.float64)
        quartic = given.quartic_importance
        mean = float(importance.mean())
        if not mean > 0:
            everything = tuple(range(shape[0])) if shape else ()
            return Weighed(np.full((1,) * len(shape), self._network_mean), None, everything)
        unseen = _unseen_slices(importance, mean, shape)
        return Weighed(
            _raised(importance, self.floor, unseen),
            None if quartic is None else _raised(quartic.astype(np.float64), self.floor, unseen),
            tuple(unseen.tolist()),
        )

    @cached_property
    def _network_mean(self) -> float:
        assert self.importances is not None
        totals = []
        for name in self.importances:
            importance = self.given(name).importance
            if importance is not None and importance.size:
                totals.append(float(importance.mean(dtype=np.float64)))
        return math.fsum(totals) / max(len(totals), 1) or 1.0


def _real(argument: str, value: Any) -> Array:
    array = as_numpy(argument, value)
    if array.dtype.kind == "c":
        raise TypeError(f"{argument}: expected real numbers, got dtype {array.dtype}")
    return array


def checked_floor(floor: Any) -> float:
    """`floor` as a number; None is the default."""
    if floor is None:
        return DEFAULT_FLOOR
    return checked_number("floor", floor)


def _broadcasts(given: Weighed, shape: tuple[int, ...]) -> bool:
    """Whether importances fit their tensor; what does not is refused where it meets weights."""
    arrays = (given.importance, given.quartic_importance)
    try:
        return all(
            array is None or np.broadcast_shapes(array.shape, shape) == shape for array in arrays
        )
    except ValueError:
        return False


def _unseen_slices(importance: Array, mean: float, shape: tuple[int, ...]) -> Array:
    """Indices along the tensor's first axis whose importance is next to nothing."""
    if importance.ndim < len(shape) or not shape or importance.shape[0] != shape[0]:
        return np.empty(0, np.intp)
    of_slices = importance.reshape(shape[0], -1).mean(axis=1)
    return np.flatnonzero(of_slices < UNSEEN * mean)


def _raised(values: Array, floor: float, unseen: Array) -> Array:
    """`values`, in place, raised by a share of their mean, or by all of it where unseen."""
    mean = float(values.mean())
    if unseen.size:
        values[unseen] = mean
    values += floor * mean
    return values
