"""Saying how far an estimate is: the user's function after each batch, or a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from wkmeans._progress import Progress

ProgressFunction = Callable[[int, int], None]


def _nothing(batches: int, examples: int) -> None:
    """Nobody asked."""


@dataclass(frozen=True)
class Reports:
    """What to call with the numbers of batches and of examples done.

    ``after_batch`` once a batch, ``within_batch`` as often as there is news: one may be long.
    """

    after_batch: ProgressFunction
    within_batch: ProgressFunction


@contextmanager
def reporting(progress: bool | ProgressFunction | None, n_batches: int | None) -> Iterator[Reports]:
    """Reports to ``progress``, or to a bar where that is not a function."""
    if callable(progress):
        yield Reports(progress, _nothing)
        return
    with Progress("importances", "batches", n_batches, progress) as bar:

        def update(batches: int, examples: int) -> None:
            bar.update(batches, f"{examples} examples")

        yield Reports(update, update)
