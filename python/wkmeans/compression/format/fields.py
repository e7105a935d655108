"""What a file says about its tensors, checked member by member before anything is believed."""

from __future__ import annotations

import math
from typing import Any

from wkmeans._files.errors import FormatError
from wkmeans._files.safetensors import size_in_bytes
from wkmeans._kernels.arrays import Array
from wkmeans.compression.format.coding import LEAST_CHUNK
from wkmeans.compression.tensors.dtypes import array_of

MAX_SIZE = 2**40
_MAX_DIMENSIONS = 64


class Fields:
    """The members of one description; each is taken once, and none may be left over."""

    def __init__(self, where: str, members: Any) -> None:
        self.where = where
        self._members = dict(expect(where, members, dict, "a description"))

    def has(self, name: str) -> bool:
        return name in self._members

    def take(self, name: str, default: Any = None) -> Any:
        """A member as it stands; the caller checks it."""
        return self._members.pop(name, default)

    def text(self, name: str) -> str:
        text: str = expect(self.where, self.take(name), str, f"{name} as text")
        return text

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
        value = self.take(name, default)
        if type(value) is not str or value not in choices:
            raise self.unexpected(name, value)
        return value

    def count(self, name: str, default: int | None = None, most: int = MAX_SIZE) -> int:
        value = self.take(name, default)
        if not is_count(value) or value > most:
            raise self.unexpected(name, value)
        return int(value)

    def count_or_none(self, name: str) -> int:
        """A count that may be 0."""
        value = self.take(name)
        if type(value) is not int or not 0 <= value <= MAX_SIZE:
            raise self.unexpected(name, value)
        return value

    def chunk(self) -> int | None:
        """Weights that are coded independently of all others; all of them where it is missing."""
        if not self.has("chunk"):
            return None
        chunk = self.count("chunk")
        if chunk < LEAST_CHUNK:
            raise self.unexpected("chunk", chunk)
        return chunk

    def flag(self, name: str) -> bool:
        value = self.take(name, False)
        if type(value) is not bool:
            raise self.unexpected(name, value)
        return value

    def cost(self) -> float:
        """For information: any finite number; one beyond a double's range is not written."""
        if not self.has("cost"):
            return math.inf
        value = self.take("cost")
        if type(value) not in (int, float) or not math.isfinite(value):
            raise FormatError(f"{self.where}: expected a cost, got {str(value)[:80]!r}")
        return float(value)

    def shape(self) -> tuple[int, ...]:
        """Dimensions, zeros among them; their product is below what an index can count."""
        shape = self.take("shape")
        expect(self.where, shape, list, "a shape")
        if len(shape) > _MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
            raise self.unexpected("shape", shape)
        size = 1
        for length in shape:
            size *= length or 1  # NumPy counts past a 0
            if size > MAX_SIZE:
                raise self.unexpected("shape", shape)
        return tuple(shape)

    def granularity(self, default: Any = None) -> Any:
        value = self.take("granularity", default)
        if value not in ("tensor", "channel") and not is_count(value):
            raise self.unexpected("granularity", value)
        return value

    def unexpected(self, name: str, value: Any) -> FormatError:
        return FormatError(f"{self.where}: unexpected {name} {str(value)[:80]!r}")

    def check_nothing_is_left(self) -> None:
        if self._members:
            raise FormatError(f"{self.where}: unknown member {min(self._members)[:80]!r}")


class Payload:
    """The bytes of all tensors, taken in the order in which they were written."""

    def __init__(self, data: Array) -> None:
        self._data = data
        self._position = 0

    def take(self, fields: Fields, what: str, dtype: str, shape: tuple[int, ...]) -> Array:
        """The next array, aligned as its dtype needs; dtypes below a byte stay packed bytes."""
        size = size_in_bytes(dtype, shape)
        if size > self._data.size - self._position:
            raise FormatError(
                f"{fields.where}: expected {size} bytes of {what}, "
                f"{self._data.size - self._position} are left in the file"
            )
        data = self._data[self._position : self._position + size]
        self._position += size
        return array_of(data, dtype, shape)

    def check_nothing_is_left(self, where: str) -> None:
        if self._position != self._data.size:
            raise FormatError(
                f"{where}: {self._data.size - self._position} bytes belong to no tensor"
            )


def expect(where: str, value: Any, kind: type, expected: str) -> Any:
    if type(value) is not kind:
        raise FormatError(f"{where}: expected {expected}, got {str(value)[:80]!r}")
    return value


def is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIZE
