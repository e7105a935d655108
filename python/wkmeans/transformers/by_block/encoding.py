"""One part of a network, compressed under the whole importance matrices of its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from wkmeans.compression import CompressedModel
from wkmeans.compression._floor import DEFAULT_FLOOR, WeighedTensors
from wkmeans.compression._plan import Options
from wkmeans.compression._work import Tensors, Work
from wkmeans.compression.budget.allocation import Choice
from wkmeans.compression.calibration.codebooks import dense_bytes, serves, with_codebooks
from wkmeans.compression.calibration.objective import Target
from wkmeans.compression.lattice.coding import TooFineError
from wkmeans.compression.lattice.quantise import factors_of, of_several_values, on_lattice
from wkmeans.compression.lattice.tensor import lattice_tensor
from wkmeans.compression.source import Entry, open_source
from wkmeans.compression.tensors.dtypes import as_numpy, as_torch
from wkmeans.compression.tensors.tensor import CompressedTensor
from wkmeans.importance.matrices.layers import Layer
from wkmeans.importance.matrices.moments import Moments
from wkmeans.transformers.by_block.sensitivity import Sensitivity
from wkmeans.transformers.by_block.targets import Part

Encode = Callable[[Target, Entry], "CompressedTensor | None"]
"""The tensor that stands for a weight; None where this way of coding does not serve it.

Raises `TooFineError` where no file holds it.
"""


def work_on(
    tensors: dict[str, torch.Tensor], options: Options, importances: dict[str, Any] | None = None
) -> Work:
    """The tensors of a part: which to compress, and the rest of them."""
    weighed = WeighedTensors(importances, DEFAULT_FLOOR)
    return Work(open_source(tensors), options, weighed, None, None)


def at_level(exponent: float, n_threads: int | None) -> Encode:
    """Integers on a lattice at a water level, lower where all of a tensor would be zero."""

    def encode(target: Target, entry: Entry) -> CompressedTensor | None:
        factors = factors_of(target, n_threads)
        found = of_several_values(
            target, 2.0**exponent, lambda level: on_lattice(target, level, n_threads, factors)
        )
        if found.encoded.k == 1:
            return None
        return lattice_tensor(
            found.encoded,
            entry.shape,
            entry.dtype,
            transposed=target.layer.transposed,
            cost=found.cost,
        )

    return encode


def by_codebooks(k: int, options: Options) -> Encode:
    """Codebooks of k centroids."""

    def encode(target: Target, entry: Entry) -> CompressedTensor | None:
        if not serves(target, options):
            return None
        return with_codebooks(target, k, options, entry.shape, entry.dtype)

    return encode


def compressed_part(
    part: Part, work: Work, encode: Encode, *, drifts: bool, k: int | None = None
) -> CompressedModel:
    """Stage after stage, each against what those before it give where inputs drift.

    With `k`, what `encode` does not serve has diagonal importances; else it stays dense.
    """
    made: Tensors = {}
    changed: dict[str, torch.Tensor] = {}

    def keep(name: str, tensor: CompressedTensor | None) -> torch.Tensor:
        entry = work.weights_of[name]
        small = dense_bytes(entry.shape, entry.dtype)
        if tensor is None and k is not None:
            made[name] = work.made({name: Choice(k)})[name]
        elif tensor is None or tensor.nbytes >= small:
            made[name] = work.as_it_is(name, "would not be smaller")
        else:
            made[name] = tensor
        stored: torch.Tensor = as_torch(made[name].dequantize())
        return stored

    for stage in part.stages():
        wanted = [layer for layer in stage if layer.slot.name in work.weights_of]
        if not wanted:
            continue
        moments = part.moments([stage], changed if drifts else None)[0]

        def encoded(number: int, wanted: list[Layer] = wanted, moments: Moments = moments) -> Found:
            layer = wanted[number]
            if layer.slot.name == part.embedding:
                target = part.tied(layer, moments)
            else:
                target = part.target(layer, moments, drifts=drifts)
            return _tried(encode, target, work.weights_of[layer.slot.name])

        names = [layer.slot.name for layer in wanted]
        for layer, found in zip(wanted, _all(part, encoded, names, work), strict=True):
            stored = keep(layer.slot.name, found)
            changed |= {layer.slot.name: stored, **part.bias_of(layer, stored, moments)}
    tables = [name for name in work.weights_of if name not in made]

    def encoded_table(number: int) -> Found:
        entry = work.weights_of[tables[number]]
        if len(entry.shape) != 2:
            return None
        return _tried(encode, part.table(tables[number]), entry)

    for name, found in zip(tables, _all(part, encoded_table, tables, work), strict=True):
        keep(name, found)
    tensors: Tensors = {}
    for name in work.source.entries:
        if name in made:
            tensors[name] = made[name]
        elif name in changed:
            tensors[name] = work.corrected(name, as_numpy(name, changed[name]))
        else:
            tensors[name] = work.dense(name, work.reasons[name])
    return work.model(tensors)


Found = CompressedTensor | TooFineError | None
"""What becomes of one weight; an error where no file holds it, which all ranks are to raise."""


def _tried(encode: Encode, target: Target, entry: Entry) -> Found:
    try:
        return encode(target, entry)
    except TooFineError as error:
        return error


def _all(
    part: Part, encoded: Callable[[int], Found], names: Sequence[str], work: Work
) -> list[CompressedTensor | None]:
    """Of weights that do not wait for one another, shared out among ranks."""
    sizes = [work.weights_of[name].size for name in names]
    found = part.ranks.share(encoded, range(len(names)), sizes.__getitem__)
    kept: list[CompressedTensor | None] = []
    for one in found:
        if isinstance(one, TooFineError):
            raise one
        kept.append(one)
    return kept


def diagonals_of(
    part: Part, found: dict[str, Sensitivity], names: list[str]
) -> dict[str, torch.Tensor]:
    """Importances of single weights: of what each reads times of what it is read by."""
    diagonals = {}
    layers = {layer.slot.name: layer for stage in part.stages() for layer in stage}
    for name in names:
        shape = part.tensors[name].shape
        one = found.get(name)
        if name in layers and one is not None:
            product = one.outputs.unsqueeze(2) * one.inputs.unsqueeze(1)
            diagonals[name] = layers[name].restored(product, tuple(shape)).float()
        elif len(shape) == 2:
            rows = torch.from_numpy(part.table(name).outputs[0])
            diagonals[name] = rows.unsqueeze(1).float().expand(shape)
    return diagonals
