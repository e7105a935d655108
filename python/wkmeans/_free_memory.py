"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import os
from typing import Any


def give_back() -> None:
    """What lies free between what is in use, for which allocators seldom ask.

    Tensors of many sizes that come and go leave several times the memory of a network behind, a
    part of which is of use again. Where the C library is not glibc there is nothing to call.
    """
    if _trim is not None:
        _trim(0)


def _found() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None


_trim = _found()
