"""JSON that came in a file: nothing of it may mean two things, nor be what no file can hold."""

from __future__ import annotations

import json
from typing import Any


def strict_json(text: bytes) -> Any:
    """What `text` says.

    Raises
    ------
    ValueError
        Where it is not JSON, where a name appears twice in one object, and for text that is no
        Unicode, as half of a surrogate pair is none.
    RecursionError
        Where it is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_members)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name appears twice")
    for pair in pairs:
        for value in pair:
            if isinstance(value, str):
                value.encode()
    return members
