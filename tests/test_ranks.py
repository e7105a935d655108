"""map_over_ranks: two gloo processes do what one does."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkmeans import compress, entropy_constrained
from wkmeans._ranks import balanced, map_over_ranks

SIZES = {"large": 5000, "small": 50, "middle": 2000, "other": 2500, "tiny": 3}


COMPRESSIONS = (
    {"bits": 3},
    {"target_bytes": 6000},
    {"target_bits_per_weight": 6, "granularity": "channel", "channel_scales": True},
)


def weights():
    rng = np.random.default_rng(0)
    return {name: rng.standard_t(5, (1, size)) for name, size in SIZES.items()}


def compressed(name, w):
    result = entropy_constrained(w, k=4, multiplier=1e-3)
    return result.centroids.tobytes(), result.labels.tobytes(), result.cost


RANK = """
import pickle, sys
sys.path.insert(0, sys.argv[4])
from torch import distributed
from test_ranks import *

rank = int(sys.argv[1])
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
group = distributed.group.WORLD
STEPS
distributed.destroy_process_group()
"""


def run_two_ranks(tmp_path, scenario, timeout=120):
    """What each of two processes leaves in its file."""
    store, outputs = tmp_path / "store", [tmp_path / f"rank{rank}" for rank in range(2)]
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                RANK.replace("STEPS", scenario),
                str(rank),
                str(store),
                str(outputs[rank]),
                str(Path(__file__).parent),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=timeout)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), errors
    return [pickle.loads(output.read_bytes()) for output in outputs]


SCENARIO = """
def fails(name, w):
    if name == "tiny":
        raise ArithmeticError("as it happens")

done = []
def function(name, w):
    done.append(name)
    return compressed(name, w)

results = map_over_ranks(function, weights(), SIZES, group)
try:
    map_over_ranks(fails, weights(), SIZES, group)
except (ArithmeticError, RuntimeError) as error:
    failure = f"{type(error).__name__}: {error}"
try:
    map_over_ranks(lambda name, size: size, SIZES, {**SIZES, "tiny": rank}, group)
except ValueError as error:
    difference = str(error)
files = [compress(weights(), group=group, **options).to_bytes() for options in COMPRESSIONS]
answers = list(results.items()), done, failure, difference, files
open(sys.argv[3], "wb").write(pickle.dumps(answers))
"""


@pytest.mark.slow
def test_two_processes(tmp_path):
    """They find what one finds, each its share of it, and hear of what goes wrong elsewhere."""
    pytest.importorskip("torch")
    answers = run_two_ranks(tmp_path, SCENARIO)
    found, done, failures, differences, files = zip(*answers, strict=True)
    shares = balanced(SIZES, 2)
    expected = list(map_over_ranks(compressed, weights(), SIZES, None).items())
    assert found == (expected, expected)
    assert list(map(sorted, done)) == list(map(sorted, shares))
    failed = next(rank for rank, share in enumerate(shares) if "tiny" in share)
    assert failures[failed] == "ArithmeticError: as it happens"
    assert failures[1 - failed] == (
        f"RuntimeError: rank {failed} of the group failed: {failures[failed]}"
    )
    alone = [compress(weights(), **options).to_bytes() for options in COMPRESSIONS]
    assert files == (alone, alone)
    assert all("same tensors on every rank" in difference for difference in differences)


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 100), min_size=1), st.integers(1, 5))
def test_parts_are_balanced(sizes, n_parts):
    parts = balanced(sizes, n_parts)
    assert sorted(name for part in parts for name in part) == sorted(sizes)
    totals = [sum(sizes[name] for name in part) for part in parts]
    assert max(totals) - min(totals) <= max(sizes.values())
