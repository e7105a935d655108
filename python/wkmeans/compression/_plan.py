"""What `compress` is asked to do, and which tensors it leaves dense and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wkmeans._kernels.checks import checked_density, checked_integer, checked_k, checked_pattern
from wkmeans._kernels.dtypes import FLOAT_DTYPES, dtype_name
from wkmeans._kernels.formats import FORMATS
from wkmeans.compression._selection import named_by
from wkmeans.compression.source import Entry
from wkmeans.compression.tensors.layout import Granularity, checked_granularity


@dataclass(frozen=True)
class Rounding:
    """Vectors that stay dense, and how many bits of their mantissas are stored at least."""

    names: frozenset[str]
    bits: int


@dataclass(frozen=True)
class Options:
    """Everything about a tensor's compression but its number of centroids, checked.

    `rounding` is calibration's choice.
    """

    granularity: Granularity
    density: float | None
    pattern: tuple[int, int] | None
    keep_zeros: bool
    channel_scales: bool
    codebook_dtype: str | None
    dense_dtype: str | None
    coding: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    min_size: int
    n_threads: int | None
    rounding: Rounding | None = None

    @property
    def prunes(self) -> bool:
        return self.density is not None or self.pattern is not None

    @property
    def zero_centroid(self) -> bool:
        return self.prunes or self.keep_zeros


def make_options(
    *,
    granularity: Any,
    density: float | None,
    pattern: tuple[int, int] | None,
    keep_zeros: bool | None,
    channel_scales: bool,
    codebook_dtype: Any,
    dense_dtype: Any,
    coding: str,
    include: Any,
    exclude: Any,
    min_size: int,
    n_threads: int | None,
) -> Options:
    if density is not None:
        density = checked_density(density)
    if pattern is not None:
        if density is not None:
            raise ValueError(f"density: expected None with a pattern, got {density}")
        pattern = checked_pattern(pattern)
    if coding not in ("auto", "packed", "ans"):
        raise ValueError(f"coding: expected 'auto', 'packed' or 'ans', got {coding!r}")
    codebook = None if codebook_dtype is None else dtype_name(codebook_dtype)
    if codebook is not None and codebook not in FORMATS:
        raise ValueError(f"codebook_dtype: expected one of {', '.join(FORMATS)}, got {codebook!r}")
    dense = None if dense_dtype is None else dtype_name(dense_dtype)
    if dense is not None and dense not in FLOAT_DTYPES:
        raise ValueError(f"dense_dtype: expected one of {', '.join(FLOAT_DTYPES)}, got {dense!r}")
    return Options(
        granularity=checked_granularity(granularity),
        density=density,
        pattern=pattern,
        keep_zeros=(density is not None or pattern is not None)
        if keep_zeros is None
        else bool(keep_zeros),
        channel_scales=bool(channel_scales),
        codebook_dtype=codebook,
        dense_dtype=dense,
        coding=coding,
        include=_patterns("include", include),
        exclude=_patterns("exclude", exclude),
        min_size=int(min_size),
        n_threads=n_threads,
    )


def _patterns(argument: str, patterns: Any) -> tuple[str, ...]:
    if isinstance(patterns, str):
        return (patterns,)
    given = tuple(patterns) if isinstance(patterns, Iterable) else (patterns,)
    if patterns is not None and not all(isinstance(pattern, str) for pattern in given):
        raise TypeError(f"{argument}: expected patterns that are strings, got {patterns!r}")
    return () if patterns is None else given


@dataclass(frozen=True)
class Selection:
    """The tensors that patterns name, each with its pattern; `included` is None without any."""

    excluded: Mapping[str, str]
    included: Mapping[str, str] | None


def select(options: Options, names: Mapping[str, str]) -> Selection:
    """What the options' patterns mean among `names`, from each name to the stored one."""
    return Selection(
        excluded=named_by("exclude", options.exclude, names),
        included=named_by("include", options.include, names) if options.include else None,
    )


def reason_to_stay_dense(
    name: str, entry: Entry, options: Options, selection: Selection, has_importance: bool
) -> str | None:
    """Why this tensor is not compressed, or None where it is."""
    if entry.dtype not in FLOAT_DTYPES:
        kind = "narrow" if entry.dtype.startswith("float") else "not floating point"
        return f"{kind} ({entry.dtype})"
    if entry.size == 0:
        return "empty"
    if name in selection.excluded:
        return f"excluded by {selection.excluded[name]!r}"
    if selection.included is not None:
        if name not in selection.included:
            return "not included"
    elif entry.is_buffer:
        return "a buffer"
    elif len(entry.shape) < 2:
        return "a bias, a norm or another vector"
    elif entry.size < options.min_size:
        return f"fewer than {options.min_size} weights"
    if options.pattern is not None and _row_length(entry) % options.pattern[1]:
        kept, group = options.pattern
        return f"rows of {_row_length(entry)} weights are no groups of {group} to keep {kept} of"
    return None if has_importance else "the importances do not name it"


def _row_length(entry: Entry) -> int:
    return entry.size // entry.shape[0] if len(entry.shape) > 1 else entry.size


@dataclass(frozen=True)
class Budget:
    """How large the result may be: centroids for each tensor, or bytes for the file."""

    k: int | None = None
    target_bytes: int | None = None
    bits_per_weight: float | None = None

    def bytes_for(self, n_weights: int) -> int | None:
        """Bytes of the file, for a model of so many weights; None where k is fixed."""
        if self.bits_per_weight is not None:
            return math.floor(self.bits_per_weight * n_weights / 8)
        return self.target_bytes


def make_budget(
    bits: Any, k: Any, target_bytes: Any, target_bits_per_weight: Any, k_min: int
) -> Budget:
    given = {
        "bits": bits,
        "k": k,
        "target_bytes": target_bytes,
        "target_bits_per_weight": target_bits_per_weight,
    }
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ValueError(
            f"expected exactly one of {', '.join(given)}, got {', '.join(named) or 'none'}"
        )
    if bits is not None:
        return Budget(k=2 ** checked_integer("bits", bits, 1, 16))
    if k is not None:
        return Budget(k=checked_k("k", k, k_min))
    if target_bytes is not None:
        return Budget(target_bytes=checked_integer("target_bytes", target_bytes, 1, 2**62))
    if not 0 < target_bits_per_weight < math.inf:
        raise ValueError(
            f"target_bits_per_weight: expected a positive number, got {target_bits_per_weight}"
        )
    return Budget(bits_per_weight=float(target_bits_per_weight))
