"""Rows of a layer whose errors matter together, on a lattice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="calibration needs torch")

from wkmeans.compression.calibration.objective import Target
from wkmeans.compression.lattice.quantise import on_lattice
from wkmeans.compression.lattice.ridge import better_on_lattice
from wkmeans.compression.lattice.rows import own_importances, row_coefficients
from wkmeans.importance.first.tape import Slot
from wkmeans.importance.matrices.layers import Layer


def correlation(rows: int, rank: int, share: float, rng) -> np.ndarray:
    """What `share` of a matrix of low rank and the identity make, with a diagonal of ones."""
    factor = rng.standard_normal((rows, rank))
    factor /= np.linalg.norm(factor, axis=1, keepdims=True)
    return share * factor @ factor.T + (1 - share) * np.eye(rows)


def layer(rows: int, columns: int, seed: int, rank: int = 4, share: float = 0.7) -> Target:
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((columns, 2 * columns)) * np.exp(rng.normal(0, 1, (columns, 1)))
    return Target(
        "w",
        Layer(Slot("w"), 1, rows, columns),
        rng.standard_normal((1, rows, columns)),
        (inputs @ inputs.T / columns)[np.newaxis],
        np.exp(rng.normal(0, 1, (1, rows))),
        correlation(rows, rank, share, rng),
    )


def brute_force(target: Target, values: np.ndarray) -> float:
    errors = target.weights[0] - values
    roots = np.sqrt(target.outputs[0])
    total = 0.0
    for r, one in enumerate(errors):
        for s, other in enumerate(errors):
            g = target.coupling[r, s] * roots[r] * roots[s]
            total += g * float(one @ target.matrix[0] @ other)
    return total


@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_costs_are_the_objective_of_what_is_stored(rows, columns, seed):
    target = layer(rows, columns, seed)
    found = on_lattice(target, 0.5, 1)
    expected = brute_force(target, found.values)
    assert found.cost == pytest.approx(expected, rel=1e-9)
    assert target.cost_of(found.values) == pytest.approx(expected, rel=1e-9)


def test_coefficients_are_those_of_a_factor_of_the_matrix():
    """Were all errors from rows' own targets independent, costs would add up by importances."""
    target = layer(7, 3, seed=1)
    outputs, weights = target.outputs[0], target.weights[0]
    order = np.argsort(outputs, kind="stable")
    own = own_importances(outputs, target.coupling)
    coefficients = row_coefficients(outputs, target.coupling, order)
    errors = np.zeros_like(weights)
    rng = np.random.default_rng(2)
    total = 0.0
    for i, row in enumerate(order):
        reached = weights[row] + coefficients[i, :i] @ errors[order[:i]]
        values = reached + rng.standard_normal(3)
        errors[row] = weights[row] - values
        total += own[row] * float((reached - values) @ target.matrix[0] @ (reached - values))
    assert total == pytest.approx(brute_force(target, weights - errors), rel=1e-9)
    np.testing.assert_array_equal(own_importances(outputs, None), outputs)


def test_rows_that_do_not_matter_together_are_as_without():
    target = layer(20, 12, seed=3)
    alone = on_lattice(replace(target, coupling=None), 0.4, 1)
    found = on_lattice(replace(target, coupling=np.eye(20)), 0.4, 1)
    assert np.array_equal(found.integers, alone.integers)
    assert found.cost == pytest.approx(alone.cost, rel=1e-9)


@pytest.mark.parametrize("rows", [64, 600])
def test_what_matters_together_costs_less_for_the_same_bytes(rows):
    target = layer(rows, 48, seed=4, rank=6)
    level = 0.5
    found = better_on_lattice(target, level, 1)
    alone = replace(target, coupling=None)
    coarse, fine = level * 2.0**-3, level * 2.0**3
    for _ in range(20):  # the level at which rows taken one by one have as many bytes
        middle = np.sqrt(coarse * fine)
        peer = better_on_lattice(alone, middle, 1)
        if peer.encoded.payload.nbytes > found.encoded.payload.nbytes:
            coarse = middle
        else:
            fine = middle
    assert found.cost == pytest.approx(target.cost_of(found.values), rel=1e-9)
    assert found.cost < 0.8 * target.cost_of(peer.values)


def test_some_rows_keep_what_they_have_together():
    target = layer(9, 4, seed=5)
    some = target.of_rows(3)
    assert np.array_equal(some.weights[0], target.weights[0][[0, 3, 6]])
    assert np.array_equal(some.outputs[0], target.outputs[0][[0, 3, 6]])
    assert np.array_equal(some.coupling, target.coupling[np.ix_([0, 3, 6], [0, 3, 6])])
