"""A process ends with status 0 though daemon threads are still at work."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import threading, time
import numpy as np
import wkmeans

w = np.random.default_rng(0).normal(size={size}).astype(np.float32)
begun = threading.Event()

def work():
    while True:
        begun.set()
        {call}

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
time.sleep({wait})
"""


def status_of(program):
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    return run.returncode, run.stderr.decode()


@pytest.mark.parametrize("wait", [0.0, 0.01, 0.1])
@pytest.mark.parametrize(
    ("call", "size"),
    [
        ("wkmeans.wkmeans(w, 16)", 3_000_000),
        ("wkmeans.wkmeans(w, 4, n_threads=1)", 300),
        ("wkmeans.cost_curve(w, 64)", 20_000),
        ("wkmeans.prune(w, 0.5)", 1_000_000),
    ],
    ids=["long", "short", "curve", "prune"],
)
def test_daemon_threads_in_a_kernel(call, size, wait):
    assert status_of(PROGRAM.format(call=call, size=size, wait=wait)) == (0, "")
