"""The tensors of a model by name, not yet read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wkmeans._kernels.arrays import Array


@dataclass(frozen=True)
class Entry:
    """One tensor, not yet read.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
    read : callable
        Its values; of a dtype narrower than a byte, its packed bytes.
    is_buffer : bool
        Known not to be a parameter, so that it stays as it is unless asked for.
    from_file : bool
        Nobody can tell whether it is a parameter, so that it need not be finite.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Array]
    is_buffer: bool = False
    from_file: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Source:
    """Tensors by name, each stored once.

    Attributes
    ----------
    entries : dict of Entry
    framework : {"torch", "numpy"}
        What `state_dict` should answer with.
    aliases : dict of str
        From every further name of a tied tensor to the first.
    left_out : dict of str
        From what belonged to the model and is no tensor of it to the reason.
    wrapped : dict of str
        From names that tensors have within wrappers of the module to their plain ones.
    inputs : tuple of Path
        The files that entries are read from, and what said which these are.
    """

    entries: dict[str, Entry]
    framework: str
    aliases: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    wrapped: dict[str, str] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()

    def names(self) -> dict[str, str]:
        """Every name that a tensor has, and the one it is stored under."""
        plain = {name: name for name in self.entries} | self.aliases
        wrapped = {name: plain[known] for name, known in self.wrapped.items() if known in plain}
        return wrapped | plain
