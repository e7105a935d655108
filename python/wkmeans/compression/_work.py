"""The tensors of a source: which of them to compress, and their compression by any choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from wkmeans._kernels.dtypes import numpy_dtype
from wkmeans._ranks import map_over_ranks
from wkmeans.compression._floor import WeighedTensors
from wkmeans.compression._plan import Options, reason_to_stay_dense
from wkmeans.compression._quantize import Weights, as_weights, quantize
from wkmeans.compression._source import Entry, Source
from wkmeans.compression.budget.allocation import Choice, Sample, sample_of
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Result = TypeVar("Result")

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many weights are done and how many there are."""

Tensors = dict[str, CompressedTensor | DenseTensor]


@dataclass
class Work:
    """The tensors of a source: which to compress, and their compression by any choice."""

    source: Source
    options: Options
    weighed: WeighedTensors
    progress: Progress | None
    group: ProcessGroup | None

    def __post_init__(self) -> None:
        _check_names(self.weighed.importances, self.source)
        self.unseen: dict[str, tuple[int, ...]] = {}
        self.reasons: dict[str, str] = {}
        self.weights_of: dict[str, Entry] = {}
        for name, entry in self.source.entries.items():
            importances = self.weighed.importances
            known = importances is None or name in importances
            reason = reason_to_stay_dense(name, entry, self.options, known)
            if reason is None:
                self.weights_of[name] = entry
            else:
                self.reasons[name] = reason
        self.n_weights = sum(entry.size for entry in self.weights_of.values())
        self._cache: dict[str, tuple[Choice, CompressedTensor | DenseTensor]] = {}
        self._dense: dict[str, DenseTensor] = {}

    def samples(self) -> dict[str, Sample]:
        return self._spread(
            "sampling", lambda name: sample_of(self._weights(name)[1]), self.weights_of
        )

    def build(self, choices: Mapping[str, Choice]) -> Tensors:
        """All tensors, in the order of the source; those whose choice changed are made anew."""
        changed = {
            name: entry
            for name, entry in self.weights_of.items()
            if name not in self._cache or self._cache[name][0] != choices[name]
        }
        made = self._spread(
            "compressing", lambda name: self._compressed(name, choices[name]), changed
        )
        for name, (tensor, unseen) in made.items():
            self._cache[name] = choices[name], tensor
            if unseen:
                self.unseen[name] = unseen
        return {
            name: self.dense(name, self.reasons[name])
            if name in self.reasons
            else self._cache[name][1]
            for name in self.source.entries
        }

    def _spread(
        self, task: str, function: Callable[[str], Result], entries: Mapping[str, Entry]
    ) -> dict[str, Result]:
        """``function(name)`` of all entries, each on one rank of the group."""
        sizes = {name: entry.size for name, entry in entries.items()}
        done = self.n_weights - sum(sizes.values())

        def step(name: str, entry: Entry) -> Result:
            nonlocal done
            result = function(name)
            done += entry.size
            self._say(task, done)
            return result

        results = map_over_ranks(step, entries, sizes, self.group)
        self._say(task, self.n_weights)
        return results

    def dense(self, name: str, reason: str) -> DenseTensor:
        if name not in self._dense:
            self._dense[name] = _dense(self.source.entries[name], reason, self.options.dense_dtype)
        return self._dense[name]

    def _compressed(
        self, name: str, choice: Choice
    ) -> tuple[CompressedTensor | DenseTensor, tuple[int, ...]]:
        """The tensor, and which of its slices were never seen."""
        entry = self.source.entries[name]
        given, floored, unseen = self._weights(name)
        tensor = quantize(floored, choice.k, self.options, choice.price, given)
        if tensor.nbytes >= entry.size * numpy_dtype(entry.dtype).itemsize:
            return _dense(entry, "would not be smaller", None), ()
        return tensor, unseen

    def _weights(self, name: str) -> tuple[Weights, Weights, tuple[int, ...]]:
        """With importances as given, with the floor under them, and what was never seen."""
        array = self.source.entries[name].read()
        given = self.weighed.given(name)
        try:
            weights = as_weights(array, given.importance, given.quartic_importance)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        floored = self.weighed.floored(given, array.shape)
        if floored is given:
            return weights, weights, ()
        raised = weights.weighed_by(floored.importance, floored.quartic_importance)
        return weights, raised, floored.unseen

    def _say(self, task: str, done: int) -> None:
        if self.progress is not None:
            self.progress(task, done, self.n_weights)


def _dense(entry: Entry, reason: str, dense_dtype: str | None) -> DenseTensor:
    values = np.array(entry.read(), order="C")
    is_float = values.dtype.kind == "f" or values.dtype.name == "bfloat16"
    if dense_dtype is None or not is_float or values.dtype.name == dense_dtype:
        return DenseTensor(values, entry.dtype, reason)
    with np.errstate(over="ignore"):
        cast = values.astype(numpy_dtype(dense_dtype))
    if np.isfinite(values).all() and not np.isfinite(cast.astype(np.float64)).all():
        return DenseTensor(values, entry.dtype, f"{reason}; {dense_dtype} would overflow")
    return DenseTensor(cast, entry.dtype, reason)


def _check_names(importances: Mapping[str, Any] | None, source: Source) -> None:
    if importances is None:
        return
    if not isinstance(importances, Mapping):
        kind = type(importances).__name__
        raise TypeError(f"importances: expected a mapping from names, got {kind}")
    known = source.entries.keys() | source.aliases.keys()
    unknown = sorted(map(str, set(importances) - known))
    if unknown:
        raise ValueError(f"importances: the model has no tensor {unknown[0]!r}")
