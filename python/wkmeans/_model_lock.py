"""The lock under which a model is read, or run with other tensors in its parameters' places."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager

_lock = threading.RLock()


def _renew() -> None:
    """A forked process has none of the threads that may have held the old one."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def model_lock() -> AbstractContextManager[bool]:
    """For a ``with`` statement: one thread at a time, which may enter again.

    A function of Python's own would be a place to be interrupted between taking the lock and
    knowing it; this is the interpreter's.
    """
    return _lock
