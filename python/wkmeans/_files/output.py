"""Files written whole or not at all, and never over what they were made of."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path


def check_output(path: Path, inputs: Iterable[Path] = (), argument: str = "path") -> None:
    """That `path` can be written to, before the work rather than after it.

    Raises
    ------
    ValueError
        Where it is one of the `inputs`, by whatever name, or what nobody can write a file into.
    OSError
        Where it is a directory, or lies in none.
    """
    held = _status(path)
    if held is None:
        if not Path(os.path.realpath(path)).parent.is_dir():
            raise FileNotFoundError(f"{argument}: no directory {path.parent}")
        return
    if stat.S_ISDIR(held.st_mode):
        raise IsADirectoryError(f"{argument}: expected a file, {path} is a directory")
    if not (stat.S_ISREG(held.st_mode) or _is_stream(held)):
        raise ValueError(
            f"{argument}: expected a file, a pipe or a character device, {path} is another kind"
        )
    for given in inputs:
        found = _status(given)
        if found is not None and os.path.samestat(held, found):
            raise ValueError(
                f"{argument}: {path} is the input {given}, which it would replace: name another"
            )


def write_file(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """All of `parts`, or nothing: whatever interrupts it, no half file is left.

    A symbolic link is followed, and what it leads to is replaced; a pipe or a device is written
    into. A file that is replaced hands on its permissions.
    """
    held = _status(path)
    if held is not None and not stat.S_ISREG(held.st_mode):
        check_output(path)
        with open(path, "wb") as stream:
            for part in parts:
                stream.write(part)
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}")
    created = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, created, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        if held is not None:
            os.chmod(temporary, stat.S_IMODE(held.st_mode))
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _status(path: Path) -> os.stat_result | None:
    """Of what a path leads to; None where nothing is there yet."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _is_stream(status: os.stat_result) -> bool:
    return stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode)
