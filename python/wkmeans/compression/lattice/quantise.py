"""A layer on a lattice, with feedback of errors, at one water level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wkmeans._kernels.arrays import Array
from wkmeans._kernels.feedback import CodeLengths, Factor, factorised, lattice_feedback
from wkmeans.compression.calibration.objective import FloatArray, Target
from wkmeans.compression.lattice.coding import (
    LARGEST,
    EncodedIntegers,
    encode_integers,
)
from wkmeans.compression.lattice.scales import IntArray, nearest_exponents, scale_of

PRICE = 0.1
"""Squared steps that a bit is worth. Where steps are small the slope of rate against distortion is
ln(2) / 6 = .116; at a bit or two a little less gains on Gaussian layers and on networks' outputs
(bits above the bound for eigenvalues exp(-8 i / n): .374 became .363 at 2 and .308 .304 at 3)."""

_PASSES = 3
_CLASS = 16  # sixteenths of an octave that a class of columns spans while rates are estimated
_MOST_LENGTHS = 64  # integers beyond are taken to be as long as this one
_SHRINKAGE = (0.5, 1.1)
_AT_ONCE = 1 << 20  # weights


@dataclass(frozen=True)
class OnLattice:
    """The integers of all groups, one under another, and as they are stored."""

    encoded: EncodedIntegers
    integers: Array  # (groups * outputs, inputs)
    cost: float

    @property
    def values(self) -> FloatArray:
        """``(groups * outputs, inputs)``, made anew each time."""
        rows, columns = self.encoded.row_exponents, self.encoded.column_exponents
        return np.asarray(self.integers * scale_of(rows)[:, np.newaxis] * scale_of(columns))


def factors_of(target: Target, n_threads: int | None) -> list[Factor]:
    """Of each group's matrix; they serve any number of levels and any rows."""
    return [factorised(matrix, n_threads=n_threads) for matrix in target.matrix]


def on_lattice(
    target: Target, level: float, n_threads: int | None, factors: Sequence[Factor] | None = None
) -> OnLattice:
    """Steps ``level / (sqrt(g_r) l_ii)``, shrunk, rounded with regard to what integers cost.

    Groups have rows of their own and share the columns' steps. What is fed back are the errors of
    the values that will be stored, their scales rounded. Raises `TooFineError` where integers are
    larger than a file holds.
    """
    layer = _Layer(target, level, n_threads, factors or factors_of(target, n_threads))
    exponents, shrinkage = layer.column_exponents(np.ones(len(layer.column_steps)))
    lengths = None
    for _ in range(_PASSES):
        integers, cost, best = layer.round(shrinkage, lengths)
        used = exponents
        exponents, shrinkage = layer.column_exponents(best)
        lengths = _code_lengths(integers, exponents)
    encoded = encode_integers(integers, layer.row_exponents, used)
    return OnLattice(encoded, integers, cost)


class _Layer:
    """What stays the same from pass to pass."""

    def __init__(
        self, target: Target, level: float, n_threads: int | None, factors: Sequence[Factor]
    ) -> None:
        self._target = target
        self._n_threads = n_threads
        self._factors = factors
        diagonals = np.stack([factor.diagonal for factor in self._factors])
        self.column_steps = np.exp(-np.log(diagonals).mean(axis=0))
        steps = np.maximum(level / np.sqrt(target.outputs.reshape(-1)), self._finest_steps())
        self.row_exponents = nearest_exponents(steps)
        self._row_steps = scale_of(self.row_exponents).reshape(target.outputs.shape)

    def _finest_steps(self) -> FloatArray:
        """Of each row: its integers, before any feedback, are half as large as a file holds."""
        rows = self._target.weights.reshape(-1, len(self.column_steps))
        step = max(1, _AT_ONCE // rows.shape[1])
        parts = [
            np.abs(rows[start : start + step] / self.column_steps).max(axis=1)
            for start in range(0, len(rows), step)
        ]
        return np.asarray(np.concatenate(parts) / (LARGEST / 2))

    def column_exponents(self, shrinkage: FloatArray) -> tuple[IntArray, FloatArray]:
        """Scales nearest to the steps, shrunk, and the shrinkage that this makes."""
        exponents = nearest_exponents(self.column_steps * np.clip(shrinkage, *_SHRINKAGE))
        return exponents, scale_of(exponents) / self.column_steps

    def round(
        self, shrinkage: FloatArray, lengths: CodeLengths | None
    ) -> tuple[Array, float, FloatArray]:
        """Integers of all rows, what they cost, and the shrinkage that suits them."""
        integers: list[Array] = []
        best: list[FloatArray] = []
        cost = 0.0
        for group, factor in enumerate(self._factors):
            found = lattice_feedback(
                self._target.weights[group],
                factor,
                row_steps=self._row_steps[group],
                column_steps=self.column_steps,
                shrinkage=shrinkage,
                code_lengths=lengths,
                n_threads=self._n_threads,
            )
            integers.append(found.integers)
            best.append(found.best_shrinkage)
            cost += float((self._target.outputs[group] * found.costs).sum())
        rows = integers[0] if len(integers) == 1 else np.concatenate(integers)
        return rows, cost, np.mean(best, axis=0)


def _code_lengths(integers: Array, column_exponents: IntArray) -> CodeLengths:
    """From how often integers occur among columns of about the same step."""
    most = int(min(np.abs(integers).max(initial=0), _MOST_LENGTHS))
    classes = (column_exponents - column_exponents.min()) // _CLASS
    shape = int(classes.max()) + 1, 2 * most + 1
    counts = np.full(shape, 0.5).reshape(-1)
    places = classes * shape[1] + most
    step = max(1, _AT_ONCE // integers.shape[1])
    for start in range(0, len(integers), step):
        part = np.clip(integers[start : start + step], -most, most) + places
        counts += np.bincount(part.reshape(-1), minlength=counts.size)
    counts = counts.reshape(shape)
    bits = np.log2(counts.sum(axis=1, keepdims=True) / counts)
    return CodeLengths(PRICE, bits, classes.astype(np.int32))
