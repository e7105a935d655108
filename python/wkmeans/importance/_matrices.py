"""Whole importance matrices of a model's layers: estimated, merged, saved."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import Any, NamedTuple

import torch
from torch import nn

from wkmeans.importance._estimate import resolve_loss
from wkmeans.importance.first.engine import Engine
from wkmeans.importance.losses.losses import Loss, LossFunction
from wkmeans.importance.matrices.outputs import squares_of, used_otherwise
from wkmeans.importance.matrices.sums import LayerSums, stacked, sums_of
from wkmeans.importance.model.batches import Inputs, read_batch
from wkmeans.importance.model.functional import (
    Forward,
    FunctionalModel,
    ParameterFilter,
    require_independent_examples,
    whole,
)
from wkmeans.importance.model.lease import lend
from wkmeans.importance.run import matrix_storage
from wkmeans.importance.run.distributed import all_reduce_layers
from wkmeans.importance.run.soundness import require_finite_sums
from wkmeans.importance.run.state import require_equal

EXACT, FACTORED, ABSENT = "exact", "factored", "absent"


class LayerImportance(NamedTuple):
    """The importance of a layer's rows ``w``: that of group i and output r is
    ``outputs[i, r] * matrix[i]``.

    Attributes
    ----------
    matrix : float64 tensor (groups, inputs, inputs)
        The mean over positions of ``x x'``, what the layer multiplies.
    outputs : float64 tensor (groups, outputs)
        Fisher's importance of each output: the mean over examples of squared derivatives, summed
        over positions.
    is_transposed : bool
        The parameter holds inputs first, as GPT-2's ``Conv1D`` does: its columns are the rows.
    """

    matrix: torch.Tensor
    outputs: torch.Tensor
    is_transposed: bool


@dataclass(frozen=True, eq=False, repr=False)
class ImportanceMatrices(Mapping[str, LayerImportance]):
    """A mapping from parameter name to `LayerImportance`, of the parameters that multiply inputs.

    A parameter that is used in blocks of its rows, as attention's ``in_proj_weight`` is, has a
    group for each block; a grouped or depthwise convolution one for each of its groups.

    Attributes
    ----------
    loss : str
        What the outputs' derivatives are of.
    count : int
        Examples.
    layers : dict of str to LayerSums
        What is merged and saved.
    absent : tuple of str
        Parameters of two dimensions and more that have no matrix: embeddings, transposed
        convolutions, what is used in more than one way, and what the examples did not reach.
    """

    loss: str
    count: int
    layers: dict[str, LayerSums]
    absent: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> LayerImportance:
        sums = self.layers[name]
        outputs = sums.squares / (sums.probes * self.count)
        return LayerImportance(sums.matrix, outputs, sums.is_transposed)

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def methods(self) -> dict[str, str]:
        """For each parameter ``"exact"``, where the derivatives at its outputs do not vary, so that
        Fisher's matrix is the product of both parts; ``"factored"``, where that is an
        approximation; or ``"absent"``."""
        found = {n: EXACT if sums.is_exact else FACTORED for n, sums in self.layers.items()}
        return found | dict.fromkeys(self.absent, ABSENT)

    def diagonals(self) -> dict[str, torch.Tensor]:
        """The importance of each weight alone, in its parameter's shape, for `wkmeans.compress`."""
        found = {}
        for name, (matrix, outputs, is_transposed) in self.items():
            own = outputs.unsqueeze(2) * matrix.diagonal(dim1=1, dim2=2).unsqueeze(1)
            found[name] = (own.mT if is_transposed else own).reshape(self.layers[name].shape)
        return found

    def __add__(self, other: ImportanceMatrices) -> ImportanceMatrices:
        """Merge two runs over different examples.

        Raises ``ValueError`` naming the first difference where they are not of one loss and of the
        same parameters.
        """
        if not isinstance(other, ImportanceMatrices):
            return NotImplemented
        require_equal(self.signature(), other.signature())
        layers = {name: sums + other.layers[name] for name, sums in self.layers.items()}
        return replace(self, count=self.count + other.count, layers=layers)

    def all_reduce(self, group: Any = None) -> ImportanceMatrices:
        """Merge the ranks of a ``torch.distributed`` process group; every rank gets the result.

        Each rank estimates over its own share of the examples and then calls this. Raises
        ``ValueError``, on every rank, where the ranks' are not of one loss and of the same
        parameters.
        """
        count, layers = all_reduce_layers(self.count, self.layers, self.signature(), group)
        return replace(self, count=count, layers=layers)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the sums and the count to a safetensors file; ``load`` gives the same bits back."""
        matrix_storage.save(path, self.loss, self.count, self.layers, self.absent)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> ImportanceMatrices:
        """Read what ``save`` wrote, onto the CPU; raises `FormatError` where it is unsound."""
        return cls(*matrix_storage.load(path))

    def signature(self) -> dict[str, Any]:
        """What two runs must have in common to be merged."""
        return {
            "loss": self.loss,
            "absent": self.absent,
            **{f"shape of {name!r}": sums.signature() for name, sums in self.layers.items()},
        }

    def __repr__(self) -> str:
        return f"ImportanceMatrices(loss={self.loss!r}, count={self.count}, layers={len(self)})"


def estimate_matrices(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: str | LossFunction = "cross_entropy",
    temperature: float = 1.0,
    parameters: ParameterFilter | None = None,
    forward: Forward | None = None,
    seed: int = 0,
) -> ImportanceMatrices:
    """The whole importance matrices of a model's layers, the paper's Eq. 6 in two factors.

    Of every parameter that multiplies inputs (linear layers, convolutions of any groups, stride and
    dilation, projections within attention, recurrent layers, GPT-2's ``Conv1D``) the second moments
    of the inputs, and Fisher's importance of each output from two random probes of each example:
    together they stand for the matrix ``E (dL/dy)^2 x x'`` of each row.

    Parameters
    ----------
    model, batches, loss, temperature, parameters, forward, seed
        As for `estimate` with objective ``"fisher"``: inputs alone are enough.

    Returns
    -------
    ImportanceMatrices
        A mapping from parameter name to `LayerImportance`.

    Raises
    ------
    ValueError, TypeError
        As for `estimate`.

    Notes
    -----
    A forward pass, two backward passes, and ``inputs^2`` products for each position of a layer, in
    double; ``inputs^2`` doubles are held for each group of a layer.
    """
    resolved = resolve_loss(loss, temperature, "example")
    model = whole(model)
    functional = lend(model, lambda: FunctionalModel.of(model, parameters, forward))
    require_independent_examples(model)
    run = _Run(functional, resolved, torch.Generator().manual_seed(seed))
    for position, raw in enumerate(batches):
        inputs = read_batch(position, raw, needs_targets=False).inputs
        lend(model, partial(run.add, inputs, position))
    if run.count == 0:
        raise ValueError("batches: expected at least one example, got none")
    return run.matrices()


_QUANTITIES = {
    "second": ("inputs", "second moment of the inputs"),
    "squares": ("derivatives", "squared derivative at the outputs"),
    "fourths": ("derivatives", "fourth power of the derivative at the outputs"),
}


class _Run:
    """Sums over the examples seen so far."""

    def __init__(self, model: FunctionalModel, loss: Loss, generator: torch.Generator) -> None:
        self._engine, self._loss, self._generator = Engine(model), loss, generator
        self._shapes = {name: tuple(p.shape) for name, p in model.parameters.items()}
        self._sums: dict[str, dict[tuple[int, int] | None, LayerSums]] = defaultdict(dict)
        self._other: set[str] = set()
        self.count = 0

    def add(self, inputs: Inputs, position: int) -> None:
        """One batch more; ``ValueError`` where the sums are no numbers then."""
        self._other |= used_otherwise(self._engine, inputs)
        for found, squares in squares_of(self._engine, inputs, self._loss, self._generator):
            slot = found.layer.slot
            if slot.name in self._shapes and slot.name not in self._other:
                more = sums_of(found, squares, self._shapes[slot.name])
                blocks = self._sums[slot.name]
                known = blocks.get(slot.rows)
                blocks[slot.rows] = more if known is None else known + more
        self.count += len(inputs)
        for part, (of, quantity) in _QUANTITIES.items():
            require_finite_sums(position, quantity, self._totals(part), of)

    def _totals(self, part: str) -> dict[str, torch.Tensor]:
        """One part of all sums, by parameters and blocks of their rows."""
        return {
            name if rows is None else f"{name}[{rows[0]}:{rows[1]}]": getattr(sums, part)
            for name, blocks in self._sums.items()
            for rows, sums in blocks.items()
        }

    def matrices(self) -> ImportanceMatrices:
        """What they come to."""
        layers = {}
        for name, blocks in self._sums.items():
            made = stacked([blocks[rows] for rows in sorted(blocks, key=_first_row)])
            if made is not None and name not in self._other and _covers(made):
                layers[name] = made
        shapes = self._shapes.items()
        absent = tuple(name for name, shape in shapes if len(shape) > 1 and name not in layers)
        return ImportanceMatrices(self._loss.name, self.count, layers, absent)


def _first_row(rows: tuple[int, int] | None) -> int:
    return -1 if rows is None else rows[0]


def _covers(sums: LayerSums) -> bool:
    """Whether groups are all of the parameter."""
    groups, outputs = sums.squares.shape
    return groups * outputs * sums.second.shape[2] == math.prod(sums.shape)
