"""Saying how far a long run is: on a terminal, and there only where it takes a while."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Any, Protocol

# Runs shorter than this, in seconds, say nothing by themselves.
PATIENCE = 3.0
# The plain line is written anew at most so often.
_INTERVAL = 0.5


class _Display(Protocol):
    def start(self) -> None: ...

    def update(self, done: int, detail: str) -> None: ...

    def stop(self) -> None: ...


class Progress:
    """A bar on standard error while a ``with`` block runs.

    ``asked`` is what the user said: ``True``, show it at once and wherever standard error leads;
    ``False``, never; ``None``, after `PATIENCE` seconds and on a terminal alone. The bar is rich's
    where that is installed, else a line of text.
    """

    def __init__(self, what: str, unit: str, total: int | None, asked: bool | None) -> None:
        self._lock = threading.Lock()
        self._latest = (0, "")
        self._display: _Display | None = None
        self._timer: threading.Timer | None = None
        self._shown = what, unit, total
        self._asked = asked

    def __enter__(self) -> Progress:
        if self._asked:
            self._show()
        elif self._asked is None and _is_watched():
            self._timer = threading.Timer(PATIENCE, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            display, self._display, self._asked = self._display, None, False
            if display is not None:
                display.update(*self._latest)
                display.stop()

    def update(self, done: int, detail: str = "") -> None:
        """So many units are done; ``detail`` says more."""
        with self._lock:
            self._latest = (done, detail)
            if self._display is not None:
                self._display.update(done, detail)

    def _show(self) -> None:
        with self._lock:
            if self._asked is False:  # the run ended as the timer fired
                return
            display = self._display = _display(*self._shown)
            display.start()
            display.update(*self._latest)


def _is_watched() -> bool:
    if "ipykernel" in sys.modules:
        return True
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _display(what: str, unit: str, total: int | None) -> _Display:
    try:
        return _Bar(what, unit, total)
    except ImportError:
        return _Line(what, unit, total)


class _Bar:
    def __init__(self, what: str, unit: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (
            TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
            TextColumn("{task.fields[detail]}"), TimeElapsedColumn(),
        )  # fmt: skip
        self._bar: Any = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("", total=total, detail="")

    def start(self) -> None:
        self._bar.start()

    def update(self, done: int, detail: str) -> None:
        self._bar.update(self._task, completed=done, detail=detail)

    def stop(self) -> None:
        self._bar.stop()


class _Line:
    def __init__(self, what: str, unit: str, total: int | None) -> None:
        self._text = what + ": {}" + ("" if total is None else f" of {total}") + f" {unit}"
        self._written = -1.0
        self._width = 0
        self._line = ""

    def start(self) -> None:
        pass

    def update(self, done: int, detail: str) -> None:
        self._line = f"{self._text.format(done)} {detail}".rstrip()
        if time.monotonic() - self._written >= _INTERVAL:
            self._write()

    def stop(self) -> None:
        self._write()
        sys.stderr.write("\n")
        sys.stderr.flush()

    def _write(self) -> None:
        sys.stderr.write("\r" + self._line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(self._line)
        self._written = time.monotonic()
