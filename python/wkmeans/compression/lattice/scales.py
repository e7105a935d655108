"""Scales of rows and columns as whole numbers of sixteenths of an octave.

What a file means hangs on no platform's powers of 2: sixteen constants, and shifts of exponents.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PER_OCTAVE = 16
MOST = 4 * PER_OCTAVE * 256
"""No exponent of a file, nor the sum of two, is as large as this."""

_SIXTEENTHS = np.array([
    1.0, 1.0442737824274138, 1.0905077326652577, 1.1387886347566916,
    1.189207115002721, 1.241857812073484, 1.2968395546510096, 1.3542555469368927,
    1.4142135623730951, 1.4768261459394993, 1.5422108254079407, 1.6104903319492543,
    1.681792830507429, 1.7562521603732995, 1.8340080864093424, 1.9152065613971474,
])  # fmt: skip


def scale_of(exponents: IntArray) -> FloatArray:
    """``2^(exponent / 16)``."""
    return np.asarray(np.ldexp(_SIXTEENTHS[exponents % PER_OCTAVE], exponents // PER_OCTAVE))


def nearest_exponents(scales: FloatArray, octaves: int = 15) -> IntArray:
    """The exponents nearest to positive scales, none more octaves below the largest than given."""
    exponents = np.rint(np.log2(scales) * PER_OCTAVE).astype(np.int64)
    least = exponents.max() - octaves * PER_OCTAVE
    return np.asarray(np.maximum(exponents, least))
