"""Saying how far a long run is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ProgressFunction = Callable[[int, int], None]


@contextmanager
def reporting(
    progress: bool | ProgressFunction, n_batches: int | None
) -> Iterator[ProgressFunction]:
    """A function to call with the numbers of batches and of examples done."""
    if callable(progress):
        yield progress
        return
    if not progress:
        yield lambda batches, examples: None
        return
    try:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )
    except ImportError as error:
        raise ImportError("progress=True needs rich: pip install rich") from error
    columns = (
        TextColumn("importances"), BarColumn(), MofNCompleteColumn(), TextColumn("batches"),
        TextColumn("{task.fields[examples]} examples"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns) as bar:
        task = bar.add_task("", total=n_batches, examples=0)
        yield lambda batches, examples: bar.update(task, completed=batches, examples=examples)
