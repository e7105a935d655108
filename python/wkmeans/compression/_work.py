"""The tensors of a source: which of them to compress, and their compression by any choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from wkmeans._kernels.arrays import Array
from wkmeans._kernels.dtypes import numpy_dtype
from wkmeans._ranks import map_over_ranks
from wkmeans.compression._findings import Findings
from wkmeans.compression._floor import Weighed, WeighedTensors
from wkmeans.compression._model import CompressedModel
from wkmeans.compression._plan import Options, reason_to_stay_dense, select
from wkmeans.compression._quantize import Weights, as_weights, quantize, why_not_finite
from wkmeans.compression.budget.allocation import Choice, Sample, sample_of
from wkmeans.compression.source import Entry, Source
from wkmeans.compression.tensors.dtypes import PACKED
from wkmeans.compression.tensors.rounded import rounded_vector
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor, overflows

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Result = TypeVar("Result")

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many weights are done and how many there are."""

Tensors = dict[str, CompressedTensor | DenseTensor]

_DESCRIPTION = 30
"""Bytes that a file's header has for a tensor, about."""


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
        self.weighed = self.weighed.stored_as(self.source.names())
        self.unseen: dict[str, tuple[int, ...]] = {}
        self.reasons: dict[str, str] = {}
        self.weights_of: dict[str, Entry] = {}
        selection = select(self.options, self.source.names())
        for name, entry in self.source.entries.items():
            known = self.weighed.knows(name)
            reason = reason_to_stay_dense(name, entry, self.options, selection, known)
            if reason is None:
                self.weights_of[name] = entry
            else:
                self.reasons[name] = reason
        self.n_weights = sum(entry.size for entry in self.weights_of.values())
        self._cache: dict[str, tuple[Choice, CompressedTensor | DenseTensor]] = {}
        self._dense: dict[str, DenseTensor] = {}

    def samples(self) -> dict[str, Sample]:
        """Of every tensor that is to be compressed; one that is not finite turns out not to be."""

        def sample(name: str) -> Sample | str:
            array = self.source.entries[name].read()
            reason = self._why_dense_after_all(name, array)
            return sample_of(self._floored(name, array)[0]) if reason is None else reason

        found = self._spread("sampling", sample, self.weights_of)
        for name, reason in found.items():
            if isinstance(reason, str):
                self.reasons[name] = reason
                del self.weights_of[name]
        self.n_weights = sum(entry.size for entry in self.weights_of.values())
        return {name: sample for name, sample in found.items() if not isinstance(sample, str)}

    def model(self, tensors: Tensors, findings: Findings | None = None) -> CompressedModel:
        """What `tensors` of this source are together."""
        return CompressedModel(
            tensors,
            aliases=self.source.aliases,
            framework=self.source.framework,
            left_out=self.source.left_out,
            inputs=self.source.inputs,
            findings=findings,
        )

    def build(self, choices: Mapping[str, Choice]) -> Tensors:
        """All tensors, in the order of the source."""
        made = self.made(choices)
        return {
            name: self.dense(name, self.reasons[name]) if name in self.reasons else made[name]
            for name in self.source.entries
        }

    def made(self, choices: Mapping[str, Choice]) -> Tensors:
        """Some tensors; those whose choice changed are made anew."""
        changed = {
            name: self.weights_of[name]
            for name, choice in choices.items()
            if name not in self._cache or self._cache[name][0] != choice
        }
        made = self._spread(
            "compressing", lambda name: self._compressed(name, choices[name]), changed
        )
        for name, (tensor, unseen) in made.items():
            self._cache[name] = choices[name], tensor
            if unseen:
                self.unseen[name] = unseen
        return {name: self._cache[name][1] for name in choices}

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
            self._dense[name] = self._as_stored(name, self.source.entries[name], reason)
        return self._dense[name]

    @property
    def dense_bytes(self) -> int:
        """Of the tensors that stay dense, and about what a file says of all of them."""
        dense = sum(self.dense(name, reason).nbytes for name, reason in self.reasons.items())
        return dense + _DESCRIPTION * len(self.source.entries)

    def as_it_is(self, name: str, reason: str) -> DenseTensor:
        """A tensor that could be compressed, with its own values and dtype."""
        return _dense(self.source.entries[name], reason, None)

    def corrected(self, name: str, values: Array) -> DenseTensor:
        """A tensor that stays dense, with other values."""
        entry = self.source.entries[name]
        changed = Entry(entry.shape, entry.dtype, lambda: values)
        reason = f"{self.reasons[name]}; makes up for its layer"
        return self._as_stored(name, changed, reason)

    def _as_stored(self, name: str, entry: Entry, reason: str) -> DenseTensor:
        rounding = self.options.rounding
        if rounding is not None and name in rounding.names:
            return rounded_vector(_copied(entry), entry.dtype, rounding.bits, reason)
        return _dense(entry, reason, self.options.dense_dtype)

    def sample(self, name: str) -> Sample:
        """Channels that stand for one tensor, under floored importances."""
        return sample_of(self._floored(name, self.source.entries[name].read())[0])

    def _compressed(
        self, name: str, choice: Choice
    ) -> tuple[CompressedTensor | DenseTensor, tuple[int, ...]]:
        """The tensor, and which of its slices were never seen."""
        entry = self.source.entries[name]
        array = entry.read()
        reason = self._why_dense_after_all(name, array)
        if reason is not None:
            return self.as_it_is(name, reason), ()
        floored, unseen = self._floored(name, array)

        def judge() -> Weights:
            return self._weights(name, array, self.weighed.given(name))

        tensor = quantize(floored, choice.k, self.options, choice.price, judge)
        if tensor.nbytes >= entry.size * numpy_dtype(entry.dtype).itemsize:
            return self.as_it_is(name, "would not be smaller"), ()
        return tensor, unseen

    def _why_dense_after_all(self, name: str, array: Array) -> str | None:
        """Only a file's tensor may be something else than weights and hold what weights do not."""
        return why_not_finite(array) if self.source.entries[name].from_file else None

    def _floored(self, name: str, array: Array) -> tuple[Weights, tuple[int, ...]]:
        """With a floor under the importances, and what was never seen."""
        given = self.weighed.given(name)
        weights = self._weights(name, array, given)
        floored = self.weighed.floored(given, array.shape)
        if floored is given:
            return weights, ()
        raised = weights.weighed_by(floored.importance, floored.quartic_importance)
        return raised, floored.unseen

    def _weights(self, name: str, array: Array, weighed: Weighed) -> Weights:
        try:
            return as_weights(array, weighed.importance, weighed.quartic_importance)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def _say(self, task: str, done: int) -> None:
        if self.progress is not None:
            self.progress(task, done, self.n_weights)


def _copied(entry: Entry) -> Array:
    return np.array(entry.read(), order="C")


def _dense(entry: Entry, reason: str, dense_dtype: str | None) -> DenseTensor:
    values = _copied(entry)
    if entry.dtype in PACKED:
        return DenseTensor(values, entry.dtype, reason, packed_shape=entry.shape)
    is_float = values.dtype.kind == "f" or values.dtype.name == "bfloat16"
    if dense_dtype is None or not is_float or values.dtype.name == dense_dtype:
        return DenseTensor(values, entry.dtype, reason)
    with np.errstate(over="ignore"):
        cast = values.astype(numpy_dtype(dense_dtype))
    if overflows(values, cast):
        return DenseTensor(values, entry.dtype, f"{reason}; {dense_dtype} would overflow")
    return DenseTensor(cast, entry.dtype, reason)


def tensors_to_compress(source: Source, options: Options) -> list[str]:
    """Names of those that are compressed where importances name all."""
    selection = select(options, source.names())
    return [
        name
        for name, entry in source.entries.items()
        if reason_to_stay_dense(name, entry, options, selection, True) is None
    ]


def _check_names(importances: Mapping[str, Any] | None, source: Source) -> None:
    if importances is None:
        return
    if not isinstance(importances, Mapping):
        kind = type(importances).__name__
        raise TypeError(f"importances: expected a mapping from names, got {kind}")
    unknown = sorted(map(str, set(importances) - source.names().keys()))
    if unknown:
        raise ValueError(f"importances: the model has no tensor {unknown[0]!r}")
