"""Which tensors the patterns of `include` and `exclude` mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase


def named_by(argument: str, patterns: Iterable[str], names: Mapping[str, str]) -> dict[str, str]:
    """The stored tensors that patterns mean, each with the first pattern that means it.

    Parameters
    ----------
    argument : str
        What errors call the patterns.
    patterns : iterable of str
        A pattern that is a name means this one alone, whatever characters it has; others are
        `fnmatch` patterns.
    names : mapping of str
        From every name of each tensor to the one it is stored under.

    Raises
    ------
    ValueError
        For a pattern that means nothing; the message lists names that are near it.
    """
    meant: dict[str, str] = {}
    for pattern in patterns:
        found = [pattern] if pattern in names else [n for n in names if fnmatchcase(n, pattern)]
        if not found:
            near = get_close_matches(pattern, names, n=3, cutoff=0.5)
            hint = f"; near it are {', '.join(map(repr, near))}" if near else ""
            raise ValueError(f"{argument}: no tensor is named by {pattern!r}{hint}")
        for name in found:
            meant.setdefault(names[name], pattern)
    return meant
