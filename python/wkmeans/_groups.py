"""What is done for a few large things or many small ones at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


def in_groups(
    names: Iterable[str], size_of: Callable[[str], int], most: int
) -> Iterator[list[str]]:
    """The names in order, as many at a time as are no larger than `most` together, one at least."""
    group: list[str] = []
    total = 0
    for name in names:
        size = size_of(name)
        if group and total + size > most:
            yield group
            group, total = [], 0
        group.append(name)
        total += size
    if group:
        yield group
