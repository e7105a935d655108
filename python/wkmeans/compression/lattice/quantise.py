"""A layer on a lattice, with feedback of errors, at one water level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wkmeans._kernels.arrays import Array
from wkmeans._kernels.feedback import (
    Factor,
    best_factors,
    factorised,
    lattice_feedback,
)
from wkmeans.compression.calibration.objective import FloatArray, Target
from wkmeans.compression.lattice.coding import (
    LARGEST,
    EncodedIntegers,
    encode_integers,
)
from wkmeans.compression.lattice.rows import own_importances, row_coefficients
from wkmeans.compression.lattice.scales import nearest_exponents, scale_of
from wkmeans.compression.lattice.trellis import block_of, error_of, trellis_order

SLOPE = math.log(2) / 6
"""Squared steps that a bit costs where steps are small: distortion against rate."""

_PASSES = 2
_FACTORS = (0.5, 1.1)  # of a column's step, from pass to pass
_LOWERED = 32  # octaves of the level, at most
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
    """Steps in proportion to ``level / (m_rr l_ii)``, finer in columns of few integers but zero.

    ``m_rr`` is ``sqrt(g_r)`` where rows do not matter together.

    The integers of a column are those of a trellis that are nearest to its targets: of the quarter
    of a bit that single integers lose to the bound, a trellis of eight states gains two thirds, and
    files of networks become about a twentieth smaller. Choosing shorter codes instead, or values
    nearer to zero for the same integers, gains where inputs are independent and little is fed back;
    files of networks had up to twice the divergence with either.

    Groups have rows of their own and share the columns' steps. Where rows matter together, errors
    are fed back from row to row, too. What is fed back are the errors of the values that will be
    stored, their scales rounded. Raises `TooFineError` where integers are larger than a file holds.
    """
    layer = _Layer(target, level, n_threads, factors or factors_of(target, n_threads))
    exponents = nearest_exponents(layer.column_steps)
    for _ in range(_PASSES):
        used = exponents
        integers, cost, factors_of_steps = layer.round(scale_of(used))
        exponents = nearest_exponents(scale_of(used) * np.clip(factors_of_steps, *_FACTORS))
        if np.array_equal(exponents, used):
            break
    encoded = encode_integers(integers, layer.row_exponents, used, layer.block)
    found = OnLattice(encoded, integers, cost)
    if target.coupling is None:
        return found
    return replace(found, cost=target.cost_of(found.values))  # of rows in their final order


def of_several_values(
    target: Target, level: float, make: Callable[[float], OnLattice]
) -> OnLattice:
    """`make(level)`, or at the first of the octaves below where not all integers are the same.

    A layer that the level gives nothing is a few bytes away from one that still does something.
    """
    found = make(level)
    for octave in range(1, _LOWERED if target.weights.any() else 1):
        if found.encoded.k > 1:
            break
        found = make(level * 2.0**-octave)
    return found


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
        groups, rows, _ = target.weights.shape
        self.block = block_of(groups, rows, together=target.coupling is not None)
        own = np.stack([own_importances(outputs, target.coupling) for outputs in target.outputs])
        self._importances = own
        # To cost what rounding to steps of a level does, for fewer bits.
        step = level / math.sqrt(12 * error_of(self.block))
        steps = np.maximum(step / np.sqrt(own.reshape(-1)), self._finest_steps())
        self.row_exponents = nearest_exponents(steps)
        exponents = self.row_exponents.reshape(own.shape)
        self._row_steps = scale_of(exponents)
        self._orders = [trellis_order(of_group, self.block) for of_group in exponents]
        self._coefficients = (
            None
            if target.coupling is None
            else row_coefficients(target.outputs[0], target.coupling, self._orders[0])
        )

    def _finest_steps(self) -> FloatArray:
        """Of each row: its integers, before any feedback, are half as large as a file holds."""
        rows = self._target.weights.reshape(-1, len(self.column_steps))
        step = max(1, _AT_ONCE // rows.shape[1])
        parts = [
            np.abs(rows[start : start + step] / self.column_steps).max(axis=1)
            for start in range(0, len(rows), step)
        ]
        return np.asarray(np.concatenate(parts) / (LARGEST / 2))

    def round(self, column_steps: FloatArray) -> tuple[Array, float, FloatArray]:
        """Integers of all rows, what they cost, and the factors of steps that suit them."""
        integers = np.empty(self._target.weights.shape, np.int32)
        products, squares = np.zeros((2, len(column_steps)))
        cost = 0.0
        for group, (factor, order) in enumerate(zip(self._factors, self._orders, strict=True)):
            found = lattice_feedback(
                self._target.weights[group, order],
                factor,
                row_steps=self._row_steps[group, order],
                column_steps=column_steps,
                block=self.block,
                row_coefficients=self._coefficients,
                n_threads=self._n_threads,
            )
            integers[group, order] = found.integers
            products += found.products
            squares += found.squares
            cost += float((self._importances[group, order] * found.costs).sum())
        return integers.reshape(-1, len(products)), cost, best_factors(products, squares)
