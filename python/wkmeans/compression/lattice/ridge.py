"""Directions that the water level leaves no bits: a lattice that spends none on them.

Feedback makes up for rounding one column by others. Along an eigenvector of S whose weights cost
less than the level (Theorem 2 gives it no bits) that moves them far and for nothing, and integers
grow. To minimise ``(w - v) S (w - v)' + r v v'`` instead keeps them small; up to a constant it is
``(u - v) (S + r I) (u - v)'`` with ``u = w S (S + r I)^-1``. For normal weights of variance s^2
an r near .7 of ``level^2 / (12 s^2)`` is best, and takes a tenth of a bit off layers of strongly
correlated inputs. Weights of networks are less alike, and most of their layers do better without.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wkmeans.compression.calibration.objective import Target
from wkmeans.compression.lattice.quantise import SLOPE, OnLattice, factors_of, on_lattice

_SHARE = 0.7
_WORTH = 0.995  # of the cost without
_ROWS = 256  # that decide for a layer
_LEAST = 1e-6  # squared levels that a weight costs at zero, where a ridge could matter


def better_on_lattice(target: Target, level: float, n_threads: int | None) -> OnLattice:
    """`on_lattice` with a ridge or without, whichever costs less on some of the rows.

    Raises `TooFineError` where integers are larger than a file holds.
    """
    some = target.of_rows(_ROWS)
    factors = factors_of(target, n_threads)
    plain = on_lattice(some, level, n_threads, factors)
    ridged = _ridged(some, level, n_threads)
    if _lagrangian(ridged, level) >= _WORTH * _lagrangian(plain, level):
        return plain if some is target else on_lattice(target, level, n_threads, factors)
    return ridged if some is target else _ridged(target, level, n_threads)


def _ridged(target: Target, level: float, n_threads: int | None) -> OnLattice:
    energy = (target.outputs[:, :, np.newaxis] * target.weights**2).mean(axis=(1, 2))
    diagonal = np.diagonal(target.matrix, axis1=1, axis2=2).mean(axis=1)
    # A group of no energy, as pruning leaves them, has nothing to be drawn together.
    matters = energy * diagonal > _LEAST * level**2
    ridge = np.divide(_SHARE * level**2 / 12, energy, out=np.zeros_like(energy), where=matters)
    matrix = target.matrix.copy()
    np.einsum("gii->gi", matrix)[...] += ridge[:, np.newaxis]
    drawn = np.asarray(np.linalg.solve(matrix, (target.weights @ target.matrix).mT).mT, np.float64)
    found = on_lattice(replace(target, weights=drawn, matrix=matrix), level, n_threads)
    return replace(found, cost=target.cost_of(found.values))


def _lagrangian(found: OnLattice, level: float) -> float:
    """What the layer costs together with its bits, in squared levels."""
    return found.cost / level**2 + SLOPE * 8 * found.encoded.payload.nbytes
