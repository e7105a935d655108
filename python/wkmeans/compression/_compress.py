"""`wkmeans.compress`: a model in, a compressed model out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from wkmeans._kernels.arrays import Array
from wkmeans._ranks import map_over_ranks
from wkmeans.compression._model import CompressedModel
from wkmeans.compression._plan import (
    Budget,
    Options,
    make_budget,
    make_options,
    reason_to_stay_dense,
)
from wkmeans.compression._quantize import Weights, as_weights, quantize
from wkmeans.compression._source import Entry, Source, open_source
from wkmeans.compression.budget.allocation import (
    Choice,
    Chooser,
    Sample,
    codebook_size_chooser,
    entropy_constrained_chooser,
    sample_of,
)
from wkmeans.compression.tensors.dtypes import as_numpy, numpy_dtype
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Result = TypeVar("Result")

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many weights are done and how many there are."""

_TOLERANCE = 0.01
_AIM = 0.999  # of the budget
_ROUNDS = 8


def compress(
    model: Any,
    *,
    importances: Mapping[str, Any] | None = None,
    bits: int | None = None,
    k: int | None = None,
    target_bytes: int | None = None,
    target_bits_per_weight: float | None = None,
    density: float | None = None,
    granularity: str | int = "tensor",
    solver: str | None = None,
    channel_scales: bool = False,
    keep_zeros: bool | None = None,
    codebook_dtype: Any = None,
    dense_dtype: Any = None,
    coding: str = "auto",
    include: Any = None,
    exclude: Any = None,
    min_size: int = 64,
    evaluate: Callable[[Any], Any] | None = None,
    progress: Progress | None = None,
    group: ProcessGroup | None = None,
    n_threads: int | None = None,
) -> CompressedModel:
    """Compress a network to codes and codebooks.

    Parameters
    ----------
    model : torch.nn.Module, mapping of tensors or arrays, path or list of paths
        A module, a state dict, or safetensors files: one, several, a directory of them, or the
        ``.index.json`` of a sharded checkpoint. Files are read one tensor at a time.
    importances : mapping, optional
        From names to ``(importance, quartic_importance)``, as `wkmeans.importance.estimate` gives
        it, or to an importance alone; each broadcastable to its tensor. Tensors without an entry
        stay dense. None: every weight counts 1.
    bits, k, target_bytes, target_bits_per_weight
        Exactly one of them: ``k`` codewords, or ``2**bits``, for each codebook; or the size of the
        file, in bytes or in bits for each weight of the model (dense tensors and metadata count). A
        size is never exceeded; it is shared out at one slope of cost against bytes.
    density : float, optional
        Exactly ``round(density * n)`` weights of each compressed tensor are kept, as
        `wkmeans.prune` chooses them; the others become zero, which is one of the k codewords.
    granularity : {"tensor", "channel"} or int
        One codebook for a tensor, for each entry of its first axis, or for so many consecutive
        weights of one (the last group of each may be shorter).
    solver : {"optimal", "entropy-constrained"}, optional
        Optimal codebooks of k codewords, or `wkmeans.entropy_constrained` ones, which weigh what
        labels cost to store at one price of a bit for all tensors. By default the latter where a
        size is asked for and each tensor has one codebook and no density, else the former.
    channel_scales : bool
        Divide each entry of the first axis by its root mean square s, and scale its importances by
        s^2 and s^4, before codebooks are shared; s is stored as float32.
    keep_zeros : bool, optional
        Weights that are exactly zero stay so. By default where a density is given.
    codebook_dtype : str or dtype, optional
        As `wkmeans.wkmeans`'s `centroid_dtype`; by default each tensor's own dtype.
    dense_dtype : str or dtype, optional
        Store floating-point tensors that stay dense in "float16", "bfloat16", "float32" or
        "float64". By default they stay as they are, as does any that would overflow.
    coding : {"auto", "packed", "ans"}
        Bit-packed codes, entropy-coded ones, or for each tensor the shorter.
    include, exclude : str or sequence of str, optional
        Patterns (``fnmatch``) of names. What `exclude` names stays dense. With `include`, only what
        it names is compressed, vectors and tiny tensors too; else matrices and beyond.
    min_size : int
        Tensors of fewer weights stay dense unless `include` names them.
    evaluate : callable, optional
        Called with the model, or the state dict, before and after; the report holds both answers.
    progress : callable, optional
        Called as ``progress(task, weights_done, weights_in_all)``.
    group : torch.distributed.ProcessGroup, optional
        Split the tensors over its ranks, which all call `compress` with the same model and get the
        same answer, the one that a single process gets. `progress` hears of this rank's share.
    n_threads : int, optional
        As for `wkmeans.wkmeans`.

    Returns
    -------
    CompressedModel
        Its report names each tensor that stayed dense, with the reason.

    Raises
    ------
    ValueError
        As `wkmeans.wkmeans`, and for a size that cannot be reached, naming the least that can.
    TypeError
        For a model of another kind, or dtypes that cannot be stored.
    """
    options = make_options(
        granularity=granularity,
        density=density,
        keep_zeros=keep_zeros,
        channel_scales=channel_scales,
        codebook_dtype=codebook_dtype,
        dense_dtype=dense_dtype,
        coding=coding,
        include=include,
        exclude=exclude,
        min_size=min_size,
        n_threads=n_threads,
    )
    k_min = 2 if options.density is not None else 1
    budget = make_budget(bits, k, target_bytes, target_bits_per_weight, k_min)
    source = open_source(model)
    work = _Work(source, options, importances, progress, group)
    target = budget.bytes_for(sum(entry.size for entry in source.entries.values()))
    tensors = (
        work.build({name: Choice(_k_of(budget)) for name in work.weights_of})
        if target is None
        else _fit(work, target, _solver(solver, budget, options))
    )
    if target is None and solver not in (None, "optimal"):
        raise ValueError(f"solver: expected 'optimal' with bits or k, got {solver!r}")
    compressed = CompressedModel(tensors, aliases=source.aliases, framework=source.framework)
    if evaluate is None:
        return compressed
    metrics = evaluate(model), evaluate(_replica(model, compressed))
    return CompressedModel(
        tensors, aliases=source.aliases, framework=source.framework, metrics=metrics
    )


def _k_of(budget: Budget) -> int:
    assert budget.k is not None
    return budget.k


def _solver(solver: str | None, budget: Budget, options: Options) -> str:
    shared = options.granularity == "tensor" and options.density is None
    if solver is None:
        return "entropy-constrained" if shared and options.coding != "packed" else "optimal"
    if solver not in ("optimal", "entropy-constrained"):
        raise ValueError(f"solver: expected 'optimal' or 'entropy-constrained', got {solver!r}")
    if solver == "entropy-constrained" and not shared:
        raise ValueError(
            "solver: 'entropy-constrained' takes granularity='tensor' and no density, "
            f"got granularity={options.granularity!r} and density={options.density}"
        )
    return solver


def _replica(model: Any, compressed: CompressedModel) -> Any:
    if not hasattr(model, "named_parameters"):
        return compressed.state_dict()
    from copy import deepcopy

    return compressed.apply_to(deepcopy(model))


@dataclass
class _Work:
    """The tensors of a source: which to compress, and their compression by any choice."""

    source: Source
    options: Options
    importances: Mapping[str, Any] | None
    progress: Progress | None
    group: ProcessGroup | None

    def __post_init__(self) -> None:
        self._check_importances()
        self.reasons: dict[str, str] = {}
        self.weights_of: dict[str, Entry] = {}
        for name, entry in self.source.entries.items():
            known = self.importances is None or name in self.importances
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
            "sampling", lambda name: sample_of(self._weights(name)), self.weights_of
        )

    def build(self, choices: Mapping[str, Choice]) -> dict[str, CompressedTensor | DenseTensor]:
        """All tensors, in the order of the source; those whose choice changed are made anew."""
        changed = {
            name: entry
            for name, entry in self.weights_of.items()
            if name not in self._cache or self._cache[name][0] != choices[name]
        }
        made = self._spread(
            "compressing", lambda name: self._compressed(name, choices[name]), changed
        )
        self._cache |= {name: (choices[name], tensor) for name, tensor in made.items()}
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

    def _compressed(self, name: str, choice: Choice) -> CompressedTensor | DenseTensor:
        entry = self.source.entries[name]
        tensor = quantize(self._weights(name), choice.k, self.options, choice.price)
        if tensor.nbytes >= entry.size * numpy_dtype(entry.dtype).itemsize:
            return _dense(entry, "would not be smaller", None)
        return tensor

    def _weights(self, name: str) -> Weights:
        importance, quartic = self._importance_of(name)
        try:
            return as_weights(self.source.entries[name].read(), importance, quartic)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def _importance_of(self, name: str) -> tuple[Array | None, Array | None]:
        if self.importances is None:
            return None, None
        value = self.importances[name]
        pair = value if isinstance(value, (tuple, list)) else (value, None)
        first, second = (None if v is None else as_numpy(f"importances[{name!r}]", v) for v in pair)
        return first, second

    def _check_importances(self) -> None:
        if self.importances is None:
            return
        if not isinstance(self.importances, Mapping):
            kind = type(self.importances).__name__
            raise TypeError(f"importances: expected a mapping from names, got {kind}")
        known = self.source.entries.keys() | self.source.aliases.keys()
        unknown = sorted(map(str, set(self.importances) - known))
        if unknown:
            raise ValueError(f"importances: the model has no tensor {unknown[0]!r}")

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


def _fit(work: _Work, target: int, solver: str) -> dict[str, CompressedTensor | DenseTensor]:
    """The largest model found that a file of `target` bytes holds.

    Samples choose, whole tensors are measured, and the difference corrects the next choice.
    """
    if not work.weights_of:
        return _checked_size(work.build({}), target, work)
    samples = work.samples()
    choose: Chooser = (
        entropy_constrained_chooser(samples, work.n_weights, target, work.options)
        if solver == "entropy-constrained"
        else codebook_size_chooser(samples, work.n_weights, target, work.options)
    )
    dense = sum(work.dense(name, reason).nbytes for name, reason in work.reasons.items())
    allowance = _AIM * target - dense - 30 * len(work.source.entries)
    best: tuple[int, dict[str, CompressedTensor | DenseTensor]] | None = None
    fits, exceeds = -math.inf, math.inf
    for _ in range(_ROUNDS):
        try:
            choices = choose(max(allowance, 1.0))
        except ValueError:  # smaller than any choice
            choices = {name: _smallest(work.options) for name in samples}
        tensors = work.build(choices)
        size = _size(tensors, work)
        if size <= target and (best is None or size > best[0]):
            best = size, tensors
        if (1 - _TOLERANCE) * target <= size <= target:
            break
        fits, exceeds = (allowance, exceeds) if size <= target else (fits, allowance)
        allowance += _AIM * target - size
        if not fits < allowance < exceeds:
            allowance = (fits + exceeds) / 2
    return _checked_size(tensors if best is None else best[1], target, work)


def _smallest(options: Options) -> Choice:
    return Choice(2 if options.zero_codeword else 1)


def _checked_size(
    tensors: dict[str, CompressedTensor | DenseTensor], target: int, work: _Work
) -> dict[str, CompressedTensor | DenseTensor]:
    size = _size(tensors, work)
    if size > target:
        least = {name: _smallest(work.options) for name in work.weights_of}
        raise ValueError(
            "target_bytes, target_bits_per_weight: expected at least "
            f"{_size(work.build(least), work)} bytes for the file, got {target}"
        )
    return tensors


def _size(tensors: dict[str, CompressedTensor | DenseTensor], work: _Work) -> int:
    source = work.source
    model = CompressedModel(tensors, aliases=source.aliases, framework=source.framework)
    return model.nbytes
