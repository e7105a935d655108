"""Hypothesis profiles: the same examples every time, or, by HYPOTHESIS_PROFILE=thorough, many.

And the same random numbers from torch.
"""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# Oracles are slow on purpose, and a loaded machine makes them slower: no deadlines.
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "default",
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=QUIET,
)
settings.register_profile(
    "thorough", max_examples=1000, deadline=None, print_blob=True, suppress_health_check=QUIET
)
# An instrumented kernel takes ten times as long, and looks at memory rather than at answers.
settings.register_profile("sanitized", settings.get_profile("default"), max_examples=15)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def _seeded_torch():
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _sound_on_a_played_device():
    yield
    if "cuda_device" in sys.modules:
        sys.modules["cuda_device"].check()
