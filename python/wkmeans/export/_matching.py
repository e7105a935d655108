"""Which initializer of an ONNX graph stands for which compressed tensors.

Exporters rename, transpose, stack and reorder: an LSTM's matrix becomes one of the directions of
an initializer, its gates in another order. Wherever that went by whole rows, the rows are found
again by their values, and labels and codebooks follow them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wkmeans.compression.tensors.indexed import IndexedTensor

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Match:
    """An initializer, and the tensor that is to compute it, laid out as it is."""

    initializer: str
    tensor: IndexedTensor


def matches(
    tensors: Mapping[str, IndexedTensor], dense: Mapping[str, Values]
) -> tuple[list[Match], dict[str, str]]:
    """Matches of tensors with initializers, and why the other tensors have none.

    Parameters
    ----------
    tensors : mapping of IndexedTensor
        By the names of parameters.
    dense : mapping of arrays
        The graph's initializers by name; each is matched once.

    Raises
    ------
    ValueError
        Where an initializer bears a tensor's name and has another shape, and where no tensor at all
        is found.
    """
    found: list[Match] = []
    left = dict(dense)
    rest: dict[str, IndexedTensor] = {}
    for name, tensor in tensors.items():
        match = _by_name(name, tensor, left) or _by_values(tensor, left)
        if match is None:
            rest[name] = tensor
        else:
            found.append(match)
            del left[match.initializer]
    for match, names in _by_rows(rest, left):
        found.append(match)
        for name in names:
            del rest[name]
    if rest and not found:
        name = next(iter(rest))
        raise ValueError(
            f"tensors: expected names or values of the model's initializers, got {name!r}"
        )
    reason = "no initializer has its values, whole or row by row"
    return found, dict.fromkeys(rest, reason)


def _by_name(name: str, tensor: IndexedTensor, dense: Mapping[str, Values]) -> Match | None:
    if name not in dense:
        return None
    if dense[name].shape != tensor.shape:
        raise ValueError(
            f"tensors[{name!r}]: expected shape {dense[name].shape}, got {tensor.shape}"
        )
    return Match(name, tensor)


def _by_values(tensor: IndexedTensor, dense: Mapping[str, Values]) -> Match | None:
    for candidate in _layouts(tensor):
        values = candidate.dequantize()
        for name, array in dense.items():
            if array.shape == candidate.shape and np.array_equal(array, values.astype(array.dtype)):
                return Match(name, candidate)
    return None


def _layouts(tensor: IndexedTensor) -> Iterator[IndexedTensor]:
    yield tensor
    if len(tensor.shape) == 2:

        def transposed(array: Any) -> Any:
            return None if array is None else np.broadcast_to(array, tensor.shape).T

        yield IndexedTensor(
            tensor.labels.T, tensor.codebook, transposed(tensor.groups), transposed(tensor.scale)
        )


def _by_rows(
    tensors: Mapping[str, IndexedTensor], dense: Mapping[str, Values]
) -> Iterator[tuple[Match, list[str]]]:
    """Initializers that hold every row of some tensors, and nothing else, in whatever order."""
    left = {name: tensor for name, tensor in tensors.items() if len(tensor.shape) == 2}
    for name, array in dense.items():
        if array.ndim < 2 or array.dtype.kind != "f" or not array.size:
            continue
        rows = array.reshape(-1, array.shape[-1])
        places = _places_of(rows, left)
        if places is None:
            continue
        used = list(dict.fromkeys(tensor_name for tensor_name, _ in places))
        if sum(left[tensor_name].shape[0] for tensor_name in used) != len(rows):
            continue
        yield Match(name, _assembled(places, left, array.shape)), used
        for tensor_name in used:
            del left[tensor_name]


def _places_of(rows: Values, tensors: Mapping[str, IndexedTensor]) -> list[tuple[str, int]] | None:
    """Tensor and row of each row; None where one is in none of the tensors."""
    known: dict[bytes, list[tuple[str, int]]] = {}
    for name, tensor in tensors.items():
        if tensor.shape[1] == rows.shape[1]:
            for row, values in enumerate(tensor.dequantize().astype(rows.dtype)):
                known.setdefault(_key(values), []).append((name, row))
    places = []
    for row in rows:
        candidates = known.get(_key(row))
        if not candidates:
            return None
        # Equal rows stand for one another; each is used once while there are several.
        places.append(candidates.pop(0) if len(candidates) > 1 else candidates[0])
    return places


def _key(row: Values) -> bytes:
    return bytes((row + row.dtype.type(0)).tobytes())  # negative zeros become zeros


def _assembled(
    places: list[tuple[str, int]], tensors: Mapping[str, IndexedTensor], shape: tuple[int, ...]
) -> IndexedTensor:
    """The tensor of these rows: one list of codebooks, and each row's among them."""
    names = list(dict.fromkeys(name for name, _ in places))
    k = max(tensors[name].k for name in names)
    codebooks: list[Values] = []
    first: dict[str, int] = {}
    for name in names:
        codebook = tensors[name].codebook
        first[name] = sum(len(earlier) for earlier in codebooks)
        codebooks.append(np.pad(codebook, ((0, 0), (0, k - codebook.shape[1])), mode="edge"))
    labels = [tensors[name].labels[row] for name, row in places]
    groups = [
        first[name] + _row_of(tensors[name].groups, tensors[name], row) for name, row in places
    ]
    scales = None
    if any(tensors[name].scale is not None for name in names):
        scales = [_row_of(tensors[name].scale, tensors[name], row, 1.0) for name, row in places]
    codebook = np.concatenate(codebooks)
    return IndexedTensor(
        _stacked(labels, shape),
        codebook,
        _stacked(groups, shape) if len(codebook) > 1 else None,
        None if scales is None else _stacked(scales, shape),
    )


def _row_of(values: Any, tensor: IndexedTensor, row: int, default: float = 0) -> Values:
    """What is broadcast to one row: a number where it is the same for all of it."""
    if values is None:
        return np.asarray([default], np.float32 if default else np.int32)
    whole = np.broadcast_to(values, (tensor.shape[0], values.shape[-1] if values.ndim else 1))
    return np.asarray(whole[row])


def _stacked(rows: list[Values], shape: tuple[int, ...]) -> Any:
    width = max(row.size for row in rows)
    stacked = np.stack([np.broadcast_to(row, (width,)) for row in rows])
    return stacked.reshape(*shape[:-1], width)
