"""Freed memory goes back to the system where the allocator would have kept it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fresh import run_python

from wkmeans import _free_memory

RESIDENT = """
import numpy as np
from pathlib import Path
from wkmeans._free_memory import give_back

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

arrays = [np.ones(12_000) for _ in range(1000)]  # small enough to lie side by side
held = resident()
del arrays[:-1]
kept = resident()
give_back()
print(held - kept, kept - resident(), float(arrays[0].sum()))
"""


@pytest.mark.skipif(
    _free_memory._trim is None or not Path("/proc/self/status").exists(), reason="needs glibc"
)
def test_what_lies_free_below_what_is_in_use_goes_back():
    ran = run_python(RESIDENT)
    assert ran.returncode == 0, ran.stderr
    by_itself, given_back, total = map(float, ran.stdout.split())
    assert by_itself < 20e6 and given_back > 70e6
    assert total == 12_000


def test_nothing_is_called_where_there_is_nothing_to_call(monkeypatch):
    monkeypatch.setattr(_free_memory, "_trim", None)
    _free_memory.give_back()
