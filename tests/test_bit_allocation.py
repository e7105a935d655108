"""allocate_bits: within its budget, at one price of a bit, better than the same bits for all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkmeans import allocate_bits, entropy_constrained
from wkmeans._bit_allocation import within_budget


def layers():
    rng = np.random.default_rng(0)
    return {
        "wide": 0.02 * rng.standard_t(5, (60, 50)),
        "narrow": rng.normal(size=500).astype(np.float32),
        "sparse": rng.normal(size=2000) * rng.integers(0, 2, 2000),
        "constant": np.ones(40),
    }


def importances():
    rng = np.random.default_rng(1)
    return {name: np.exp(rng.normal(0, 2, w.shape)) for name, w in layers().items()}


@pytest.mark.parametrize("bits_a_weight", [0.3, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_within_the_budget_and_near_it(bits_a_weight, weighted):
    weights = layers()
    budget = bits_a_weight * sum(w.size for w in weights.values())
    importance = importances() if weighted else None
    found = allocate_bits(weights, budget, k=64, importance=importance, centroid_bits=16)
    assert list(found.tensors) == list(weights)
    # Small tensors change in steps: a codeword more is some per cent of all here.
    assert 0.95 * budget <= found.bits <= budget
    stored = sum(t.bits + 16 * len(t.centroids) for t in found.tensors.values())
    assert math.isclose(found.bits, stored, rel_tol=1e-12)
    assert math.isclose(found.cost, sum(t.cost for t in found.tensors.values()), rel_tol=1e-12)
    for name, tensor in found.tensors.items():
        alone = entropy_constrained(
            weights[name],
            importance and importance[name],
            k=64,
            multiplier=found.multiplier,
            max_iter=50,
        )
        np.testing.assert_array_equal(tensor.labels, alone.labels)
        assert tensor.labels.shape == weights[name].shape


def test_beats_the_same_bits_a_weight_for_every_tensor():
    weights, importance = layers(), importances()
    del weights["constant"]
    together = allocate_bits(weights, 2.0 * 5500, k=64, importance=importance, centroid_bits=0)
    apart = [
        allocate_bits({n: w}, 2.0 * w.size, k=64, importance=importance, centroid_bits=0)
        for n, w in weights.items()
    ]
    assert together.cost < 0.9 * sum(a.cost for a in apart)


def test_more_bits_than_anything_needs():
    weights = {"a": np.array([1.0, 2.0, 2.0]), "b": np.zeros(5)}
    found = allocate_bits(weights, 1e6, k=8)
    assert found.multiplier == 0 and found.cost == 0


def test_fewer_bits_than_there_can_be():
    with pytest.raises(ValueError, match="bits: expected at least 128, what one codeword a tensor"):
        allocate_bits(layers(), 100, k=8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": {}}, "weights: expected at least one array"),
        ({"importance": {"b": None}}, "importance: expected an entry for each weight, none for"),
        ({"weights": {"a": [1.0, np.nan]}}, r"weights\['a'\]: expected finite values"),
        ({"importance": {"a": [1.0, -1.0]}}, r"importance\['a'\]: .* got -1"),
    ],
)
def test_bad_arguments(arguments, message):
    call = {"weights": {"a": [1.0, 2.0]}, "bits": 100.0, "k": 2, **arguments}
    weights, bits = call.pop("weights"), call.pop("bits")
    with pytest.raises(ValueError, match=message):
        allocate_bits(weights, bits, **call)


@given(
    steps=st.lists(st.tuples(st.floats(-300, 300), st.integers(1, 10**6)), min_size=1, max_size=30),
    first=st.floats(-100, 100),
    budget=st.floats(0.0, 1.0),
)
def test_any_falling_staircase(steps, first, budget):
    """The best step is found, or one within tolerance, wherever the search starts."""
    floor = 10.0

    def size_at(multiplier):
        return floor + sum(height for at, height in steps if multiplier < 2.0**at)

    limit = floor + budget * (size_at(0.0) - floor)
    found = within_budget(size_at, lambda size: size, limit, 10**5, 2.0**first)
    best = max(size for size in [floor, *(size_at(2.0**at) for at, _ in steps)] if size <= limit)
    assert found <= limit
    assert found >= 0.995 * limit or found >= best
