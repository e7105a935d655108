"""`RoundedTensor`: numbers of a few bits of mantissa, their exponents entropy-coded."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from wkmeans._files.errors import FormatError
from wkmeans._kernels.arrays import Array
from wkmeans._kernels.coding import decode_adaptively, encode_adaptively
from wkmeans.compression.format.coding import pack, packed_size, unpack
from wkmeans.compression.tensors.tensor import DenseTensor

_MANTISSA = 23
"""Bits of a float32's mantissa."""
LEAST_BITS, MOST_BITS = 3, 12
"""Tensors are decoded as soon as a file is read: of one bit, to 32 times their bytes in it."""
MOST_VALUES = 1 << 16
"""Of one tensor, for the same reason."""
_SIGN, _INFINITE = np.uint32(1 << 31), 255


@dataclass(frozen=True)
class EncodedFloats:
    """Float32 numbers whose mantissas have `bits` bits, in bytes.

    Attributes
    ----------
    exponents : uint8 array
        Words of an adaptive coder: exponents, less `origin`.
    tails : uint8 array
        The sign, where there are any, and the mantissa of each number, packed.
    bits, origin, size : int
    signed : bool
    """

    exponents: Array
    tails: Array
    bits: int
    origin: int
    size: int
    signed: bool

    @property
    def nbytes(self) -> int:
        return int(self.exponents.size + self.tails.size)

    @property
    def tail_bytes(self) -> int:
        """How long `tails` has to be."""
        return packed_size(self.size, self._k)

    @property
    def _k(self) -> int:
        return 1 << (self.bits + self.signed)

    def decode(self) -> Array:
        """Float32; raises `FormatError` where the bytes are unsound."""
        words = np.frombuffer(self.exponents.tobytes(), "<u4").astype(np.uint32)
        found = decode_adaptively(words, *_spreads(self.size))
        if found is None:
            raise FormatError("exponents: the entropy-coded words do not end where they do")
        exponents = found[0].astype(np.int64) + self.origin
        if exponents.min() < 0 or exponents.max() >= _INFINITE:
            raise FormatError("exponents: expected those of finite numbers")
        tails = unpack(self.tails, self.size, self._k).astype(np.uint32)
        mantissas = tails & np.uint32((1 << self.bits) - 1)
        magnitudes = (exponents.astype(np.uint32) << np.uint32(self.bits)) | mantissas
        found_bits = magnitudes << np.uint32(_MANTISSA - self.bits)
        found_bits |= (tails >> np.uint32(self.bits)) * _SIGN
        values: Array = found_bits.view(np.float32)
        return values


def encode_floats(values: Array, bits: int) -> EncodedFloats | None:
    """Numbers rounded to the nearest of `bits` bits of mantissa; None where one is not finite."""
    raw = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
    signs = raw >> np.uint32(31)
    dropped = _MANTISSA - bits
    magnitudes = (raw & ~_SIGN) + np.uint32(1 << (dropped - 1)) >> np.uint32(dropped)
    exponents = (magnitudes >> np.uint32(bits)).astype(np.int64)
    if exponents.max() >= _INFINITE:
        return None
    signed = bool(signs.any())
    tails = magnitudes & np.uint32((1 << bits) - 1) | signs << np.uint32(bits)
    origin = int(np.median(exponents))
    words = encode_adaptively((exponents - origin)[np.newaxis], *_spreads(len(raw)))
    return EncodedFloats(
        np.frombuffer(words.astype("<u4").tobytes(), np.uint8),
        pack(tails, 1 << (bits + signed)),
        bits,
        origin,
        len(raw),
        signed,
    )


def _spreads(size: int) -> tuple[Array, Array]:
    return np.zeros(1, np.int64), np.zeros(size, np.int64)


@dataclass(frozen=True, eq=False, repr=False)
class RoundedTensor(DenseTensor):
    """A float32 tensor that stays dense, but for bits of its mantissas.

    Attributes
    ----------
    encoded : EncodedFloats
        `values` in bytes.
    """

    encoded: EncodedFloats = field(kw_only=True)

    @property
    def nbytes(self) -> int:
        """Bytes of the values in the file."""
        return self.encoded.nbytes

    def with_values(self, values: Array) -> DenseTensor:
        """Other values, rounded to as many bits; as they are where one is not finite."""
        encoded = encode_floats(values, self.encoded.bits)
        if encoded is None:
            return DenseTensor(values.astype(np.float32), self.dtype, self._outgrown)
        return rounded_tensor(encoded, self.shape, self.reason)


def rounded_tensor(encoded: EncodedFloats, shape: tuple[int, ...], reason: str) -> RoundedTensor:
    """The tensor of `shape` that the bytes stand for; raises `FormatError` where unsound."""
    return RoundedTensor(encoded.decode().reshape(shape), "float32", reason, encoded=encoded)


_DESCRIPTION = 20
"""Bytes that a file says more of this kind than of a plain one, about."""
_NOTHING = 2.0**-10
"""Of the largest: what numbers below that keep, halves may lose."""


def rounded_vector(values: Array, dtype: str, bits: int, reason: str) -> DenseTensor:
    """The shortest that keeps as many bits of mantissas: these, float16, or the values as they are.

    `values` are of dtype float32 or float64.
    """
    best, shortest = DenseTensor(values, dtype, reason), int(values.nbytes)
    halves = _halves(values, bits)
    if halves is not None:
        best = DenseTensor(halves, dtype, f"{reason}; stored in float16")
        shortest = best.nbytes
    if dtype == "float32" and 0 < values.size <= MOST_VALUES:
        encoded = encode_floats(values, bits)
        if encoded is not None and encoded.nbytes + _DESCRIPTION < shortest:
            best = rounded_tensor(encoded, values.shape, f"{reason}; rounded to {bits} bits")
    return best


def _halves(values: Array, bits: int) -> Array | None:
    """In float16, where that keeps so many bits of what is not next to nothing."""
    if not np.isfinite(values).all():
        return None
    with np.errstate(over="ignore"):
        halves: Array = values.astype(np.float16)
    magnitudes = np.abs(values)
    significant = np.maximum(magnitudes, _NOTHING * magnitudes.max(initial=0.0))
    lost = np.abs(halves.astype(values.dtype) - values)
    return halves if (lost <= 2.0 ** -(bits + 1) * significant).all() else None
