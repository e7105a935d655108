"""A layer on a lattice, with feedback of errors, at one water level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wkmeans._kernels.feedback import CodeLengths, Factor, factorised, lattice_feedback
from wkmeans.compression.calibration.objective import FloatArray, Target
from wkmeans.compression.lattice.coding import (
    LARGEST,
    EncodedIntegers,
    TooFineError,
    encode_integers,
)
from wkmeans.compression.lattice.scales import IntArray, nearest_exponents, scale_of

PRICE = math.log(2) / 6
"""Squared steps that a bit is worth: the slope of rate against distortion where steps are small."""

_PASSES = 3
_CLASS = 16  # sixteenths of an octave that a class of columns spans while rates are estimated
_MOST_LENGTHS = 64  # integers beyond are taken to be as long as this one
_SHRINKAGE = (0.5, 1.1)


@dataclass(frozen=True)
class OnLattice:
    """The integers of all groups, one under another, and the values they stand for."""

    encoded: EncodedIntegers
    values: FloatArray  # (groups, outputs, inputs)
    cost: float


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
    scales = scale_of(layer.row_exponents)[:, np.newaxis] * scale_of(used)
    return OnLattice(encoded, (integers * scales).reshape(target.weights.shape), cost)


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
        self.row_exponents = nearest_exponents(level / np.sqrt(target.outputs.reshape(-1)))
        self._row_steps = scale_of(self.row_exponents).reshape(target.outputs.shape)
        largest = np.abs(target.weights / self.column_steps).max(axis=2) / self._row_steps
        if not (largest < LARGEST).all():
            raise TooFineError(f"level: {level:g} makes integers of {largest.max():g}")

    def column_exponents(self, shrinkage: FloatArray) -> tuple[IntArray, FloatArray]:
        """Scales nearest to the steps, shrunk, and the shrinkage that this makes."""
        exponents = nearest_exponents(self.column_steps * np.clip(shrinkage, *_SHRINKAGE))
        return exponents, scale_of(exponents) / self.column_steps

    def round(
        self, shrinkage: FloatArray, lengths: CodeLengths | None
    ) -> tuple[IntArray, float, FloatArray]:
        """Integers of all rows, what they cost, and the shrinkage that suits them."""
        integers, best, cost = [], [], 0.0
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
            integers.append(found.integers.astype(np.int64))
            best.append(found.best_shrinkage)
            cost += float((self._target.outputs[group] * found.costs).sum())
        return np.concatenate(integers), cost, np.mean(best, axis=0)


def _code_lengths(integers: IntArray, column_exponents: IntArray) -> CodeLengths:
    """From how often integers occur among columns of about the same step."""
    most = int(min(np.abs(integers).max(initial=0), _MOST_LENGTHS))
    classes = (column_exponents - column_exponents.min()) // _CLASS
    counts = np.full((int(classes.max()) + 1, 2 * most + 1), 0.5)
    columns = np.broadcast_to(classes, integers.shape)
    np.add.at(counts, (columns, np.clip(integers, -most, most) + most), 1.0)
    bits = np.log2(counts.sum(axis=1, keepdims=True) / counts)
    return CodeLengths(PRICE, bits, classes.astype(np.int32))
