"""The house in order: rooms of sources stay small, and no include runs from a lower one up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[1] / "csrc"
SOURCES = {".h", ".cpp", ".cu", ".cuh"}
MOST_FILES = 20

# From the ground up; a file includes its own floor and those below.
FLOORS = [
    ["math"],
    ["cpu/base"],
    ["cpu/sort", "cpu/prune", "cpu/products", "cpu/coding"],
    ["cpu/read", "cpu/codes"],
    ["cpu/label"],
    ["cpu/intervals"],
    ["cpu/layered", "cpu/squeeze", "cpu/lloyd", "cpu/feedback"],
    ["cpu/lagrangian", "cpu/lattice"],
    ["cpu/descent"],
    ["cpu/cluster"],
    ["cpu/entropy"],
    ["cuda/device"],
    ["cuda/items"],
    ["cuda/batch", "cuda/large", "cuda/prune"],
    ["cuda"],
    ["bind"],
    ["bind/cuda"],
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

pytestmark = pytest.mark.skipif(not CSRC.is_dir(), reason="needs the sources beside the tests")


def sources(folder: Path = CSRC) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in SOURCES)


def room_of(path: Path) -> str:
    return path.parent.relative_to(CSRC).as_posix()


def includes(path: Path) -> list[Path]:
    found = re.findall(r'^#include "((?:math|cpu|cuda|bind)/.+)"$', path.read_text(), re.MULTILINE)
    return [CSRC / name for name in found]


def test_every_room_has_a_floor():
    assert {room_of(path) for path in sources()} == set(FLOOR_OF)


def test_rooms_stay_small():
    files: dict[str, int] = {}
    for path in sources():
        files[room_of(path)] = files.get(room_of(path), 0) + 1
    assert {room: n for room, n in files.items() if n > MOST_FILES} == {}
    loose = [path for path in (CSRC / "cpu").iterdir() if path.is_file()]
    assert len(loose) <= 4
    loose = [path for path in (CSRC / "cuda").iterdir() if path.is_file()]
    assert len(loose) <= 12


def test_includes_name_files_of_the_tree():
    missing = [
        f"{path.relative_to(CSRC)}: {target.relative_to(CSRC)}"
        for path in sources()
        for target in includes(path)
        if not target.is_file()
    ]
    assert missing == []


def test_no_include_runs_up():
    upward = []
    for path in sources():
        for target in includes(path):
            own, other = room_of(path), room_of(target)
            same_floor = FLOOR_OF[own] == FLOOR_OF[other] and own != other
            if FLOOR_OF[other] > FLOOR_OF[own] or same_floor:
                upward.append(f"{path.relative_to(CSRC)} -> {target.relative_to(CSRC)}")
    assert upward == []
