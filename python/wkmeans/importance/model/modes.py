"""The modes that torch's calls go through, put back as they were.

torch takes a mode off its stack while the mode itself runs, and puts it on again, in functions of
Python's that an interruption may end in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import overrides
from torch.utils import _python_dispatch as dispatch

# How each stack is read, pushed to and popped from.
_FUNCTIONS: Any = (
    overrides._get_current_function_mode_stack,
    overrides._push_mode,
    overrides._pop_mode,
)
_DISPATCH: Any = (
    dispatch._get_current_dispatch_mode_stack,
    dispatch._push_mode,
    dispatch._pop_mode,
)


def keep_modes() -> Callable[[], None]:
    """What puts back the stacks of this thread as they are now; to be called in it."""
    before = [(stack, stack[0]()) for stack in (_FUNCTIONS, _DISPATCH)]

    def put_back() -> None:
        for (current, push, pop), modes in before:
            found = current()
            same = 0
            while same < min(len(found), len(modes)) and found[same] is modes[same]:
                same += 1
            for _ in found[same:]:
                pop()
            for mode in modes[same:]:
                push(mode)

    return put_back
