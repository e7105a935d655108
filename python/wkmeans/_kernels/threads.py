"""How many threads a kernel may use."""

from __future__ import annotations

import os

from wkmeans._kernels.checks import checked_integer

_VARIABLES = ("WKMEANS_NUM_THREADS", "OMP_NUM_THREADS")


def resolve_n_threads(n_threads: int | None) -> int:
    """`n_threads` itself, or every core this process may run on where it is None.

    The environment variables WKMEANS_NUM_THREADS and OMP_NUM_THREADS, in this order, lower the
    default. Results do not depend on the number.
    """
    if n_threads is None:
        return _from_environment() or _available_cores()
    return min(checked_integer("n_threads", n_threads, 1), 1024)


def _from_environment() -> int | None:
    for variable in _VARIABLES:
        # OMP_NUM_THREADS may list one number per nesting level; ours is the outermost.
        text = os.environ.get(variable, "").split(",")[0].strip()
        if text.isdecimal() and int(text) > 0:
            return min(int(text), 1024)
    return None


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
