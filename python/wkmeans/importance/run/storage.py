"""Importances as a safetensors file: sums as tensors, everything else as metadata."""

from __future__ import annotations

import json
import math
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from wkmeans._files.errors import FormatError
from wkmeans._files.output import write_file
from wkmeans._files.safetensors import Piece, file_of
from wkmeans.importance.run.state import OBJECTIVES, State

if TYPE_CHECKING:
    from types import ModuleType

FORMAT = "wkmeans.importances"
VERSION = "1"
_SUMS, _QUARTIC_SUMS = "importance:", "quartic_importance:"
_VARIANCES, _QUARTIC_VARIANCES = "variance:", "quartic_variance:"


def save(state: State, path: str | PathLike[str], extra: dict[str, str] | None = None) -> None:
    """Write ``state``, and ``extra`` metadata, to ``path``: all of it or nothing.

    ``ValueError`` for what ``load`` would refuse.
    """
    tensors = {
        prefix + name: total
        for prefix, totals in (
            (_SUMS, state.sums),
            (_QUARTIC_SUMS, state.quartic_sums or {}),
            (_VARIANCES, state.variance_sums),
            (_QUARTIC_VARIANCES, state.quartic_variance_sums),
        )
        for name, total in totals.items()
    }
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "objective": state.objective,
        "loss": state.loss,
        "temperature": repr(state.temperature),
        "mu": repr(state.mu),
        "count": str(state.count),
        "methods": json.dumps(state.methods, sort_keys=True),
    } | (extra or {})
    _interpreted("importances to save", metadata, tensors)
    write(path, metadata, tensors)


def write(
    path: str | PathLike[str], metadata: dict[str, str], tensors: dict[str, torch.Tensor]
) -> None:
    """A safetensors file, whole or not at all."""
    arrays = {name: total.detach().cpu().numpy() for name, total in tensors.items()}
    pieces = {name: Piece(a.dtype.name, a.shape, (a,)) for name, a in sorted(arrays.items())}
    write_file(Path(path), file_of(pieces, dict(sorted(metadata.items()))))


def load(path: str | PathLike[str]) -> State:
    """Read and check the importances at ``path``; `FormatError` where they are not sound."""
    return load_with_metadata(path)[0]


def load_with_metadata(path: str | PathLike[str]) -> tuple[State, dict[str, str]]:
    """The importances at ``path``, and all of the file's metadata."""
    where = fspath(path)
    metadata, tensors = read_file(where)
    try:
        return _interpreted(where, metadata, tensors), metadata
    except ValueError as error:
        raise FormatError(str(error)) from error


def _interpreted(where: str, metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> State:
    """What metadata and tensors say; ``ValueError`` where they are not sound."""
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{where}: not an importances file (its metadata lacks format={FORMAT!r})")
    if metadata.get("version") != VERSION:
        raise ValueError(
            f"{where}: expected version {VERSION!r} of the format, got {metadata.get('version')!r}"
        )
    objective = metadata.get("objective", "")
    if objective not in OBJECTIVES:
        raise ValueError(f"{where}: expected an objective among {OBJECTIVES}, got {objective!r}")
    quartic = with_prefix(tensors, _QUARTIC_SUMS)
    state = State(
        objective=objective,
        loss=metadata.get("loss", ""),
        temperature=_number(where, metadata, "temperature"),
        mu=_number(where, metadata, "mu"),
        count=checked_count(where, metadata),
        sums=with_prefix(tensors, _SUMS),
        quartic_sums=quartic if objective == "gradient+hessian" else None,
        methods=_methods(where, metadata),
        variance_sums=with_prefix(tensors, _VARIANCES),
        quartic_variance_sums=with_prefix(tensors, _QUARTIC_VARIANCES),
    )
    _check_tensors(where, state, tensors, quartic)
    return state


def _safetensors() -> ModuleType:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            "saving and loading importances needs safetensors: pip install 'wkmeans[torch]'"
        ) from error
    return safetensors.torch


def read_file(where: str) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    _safetensors()
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(where, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise FormatError(f"{where}: not a readable safetensors file: {error}") from error


def with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): total
        for name, total in tensors.items()
        if name.startswith(prefix)
    }


def _number(where: str, metadata: dict[str, str], key: str) -> float:
    text = metadata.get(key, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: {key}: expected a finite number, got {text!r}")
    return value


def checked_count(where: str, metadata: dict[str, str]) -> int:
    text = metadata.get("count", "")
    # ASCII digits only and few of them: int() would take other digits, and any number of them.
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) > 0):
        raise ValueError(f"{where}: count: expected a positive integer, got {text[:40]!r}")
    return int(text)


def _methods(where: str, metadata: dict[str, str]) -> dict[str, str]:
    try:
        methods = json.loads(metadata.get("methods", "{}"))
    except (ValueError, RecursionError):
        methods = None
    if not isinstance(methods, dict) or not all(isinstance(m, str) for m in methods.values()):
        raise ValueError(f"{where}: methods: expected a JSON object of strings, got another text")
    return methods


def _check_tensors(
    where: str,
    state: State,
    tensors: dict[str, torch.Tensor],
    quartic: dict[str, torch.Tensor],
) -> None:
    known = (_SUMS, _QUARTIC_SUMS, _VARIANCES, _QUARTIC_VARIANCES)
    strangers = [n for n in tensors if not n.startswith(known)]
    if strangers:
        raise ValueError(f"{where}: unknown tensor {strangers[0]!r}")
    expected = state.sums if state.quartic_sums is not None else {}
    if quartic.keys() != expected.keys():
        odd = sorted(quartic.keys() ^ expected.keys())[0]
        raise ValueError(
            f"{where}: {odd!r} has only one of the two importances, or one too many, for "
            f"objective {state.objective!r}"
        )
    signed = {_QUARTIC_SUMS: True, _SUMS: state.objective == "hessian"}
    for name, total in tensors.items():
        prefix = name[: name.index(":") + 1]
        check_sum(where, name, total, may_be_negative=signed.get(prefix, False))
    variances = (state.variance_sums, state.quartic_variance_sums)
    for name, total in (item for totals in (quartic, *variances) for item in totals.items()):
        mine = state.sums.get(name)
        if mine is None:
            raise ValueError(f"{where}: {name!r} has a variance and no sum")
        if total.shape != mine.shape:
            raise ValueError(
                f"{where}: {name!r}: expected importances of one shape, got {tuple(mine.shape)} "
                f"and {tuple(total.shape)}"
            )


def check_sum(where: str, name: str, total: torch.Tensor, *, may_be_negative: bool) -> None:
    if total.dtype != torch.float64:
        raise ValueError(f"{where}: {name!r}: expected torch.float64, got {total.dtype}")
    sound = total.isfinite() if may_be_negative else total.isfinite() & (total >= 0)
    if not bool(sound.all()):
        index = tuple((~sound).nonzero()[0].tolist())
        expected = "finite" if may_be_negative else "finite, non-negative"
        raise ValueError(
            f"{where}: {name!r}: expected {expected} sums, got {float(total[index])} at index "
            f"{index}"
        )
