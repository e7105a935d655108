"""How far files of Gaussian layers are from the least rate that their distortion allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wkmeans.compression._model import CompressedModel
from wkmeans.compression.lattice.coding import LARGEST
from wkmeans.compression.lattice.tensor import lattice_tensor
from wkmeans.rate_distortion import layer_bound

pytest.importorskip("torch", reason="calibration needs torch")

from wkmeans.compression.calibration.objective import Target
from wkmeans.compression.lattice.quantise import of_several_values
from wkmeans.compression.lattice.ridge import better_on_lattice
from wkmeans.importance.first.tape import Slot
from wkmeans.importance.matrices.layers import Layer

ROWS, COLUMNS = 2048, 256


def gaussian_layer(decay: float) -> Target:
    """Independent weights, and inputs of eigenvalues ``exp(-decay i / n)`` in a random basis."""
    rng = np.random.default_rng(int(decay))
    basis = np.linalg.qr(rng.standard_normal((COLUMNS, COLUMNS)))[0]
    eigenvalues = np.exp(-decay * np.arange(COLUMNS) / COLUMNS)
    return Target(
        "w",
        Layer(Slot("w"), 1, ROWS, COLUMNS),
        rng.standard_normal((1, ROWS, COLUMNS)),
        ((basis * eigenvalues) @ basis.T)[np.newaxis],
        np.ones((1, ROWS)),
    )


def measured(target: Target, level: float) -> tuple[float, float]:
    """Bits a weight of the file, and how many more they are than the bound's."""
    found = better_on_lattice(target, level, None)
    tensor = lattice_tensor(found.encoded, (ROWS, COLUMNS), "float32")
    error = target.weights[0] - tensor.dequantize()
    distortion = np.einsum("ri,ij,rj->", error, target.matrix[0], error) / ROWS
    bits = 8 * CompressedModel({"w": tensor}).nbytes / (ROWS * COLUMNS)
    return bits, bits - layer_bound(distortion, 1.0, target.matrix[0]).rate / COLUMNS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decay", "bits", "most"),
    [
        (1, 1, 0.13),
        (1, 2, 0.1),
        (1, 3, 0.11),
        (4, 1, 0.16),
        (4, 2, 0.115),
        (4, 3, 0.105),
        (8, 2, 0.155),
        (8, 3, 0.125),
    ],
)
def test_files_are_near_the_bound(decay, bits, most):
    target = gaussian_layer(decay)
    # Of all columns active, at the geometric mean of the eigenvalues.
    level = np.sqrt(2 * np.pi * np.e) * 2.0**-bits * np.exp(-decay / 4)
    found, gap = measured(target, level)
    for _ in range(3):
        if abs(found - bits) < 0.03:
            break
        level *= 2.0 ** (found - bits)
        found, gap = measured(target, level)
    assert abs(found - bits) < 0.05
    assert 0 < gap < most


@pytest.mark.parametrize("level", [0.1, 0.01, 0.001])
def test_fine_steps_cost_what_rounding_does(level):
    target = gaussian_layer(4)
    few = replace(target, weights=target.weights[:, :256], outputs=np.ones((1, 256)))
    cost = better_on_lattice(few, level, None).cost / few.weights.size
    assert 0.95 < 12 * cost / level**2 < 1.05


def test_groups_of_one_row_cost_what_rounding_does():
    one = gaussian_layer(4)
    groups = replace(
        one,
        weights=one.weights[0, :64, np.newaxis],
        matrix=np.repeat(one.matrix, 64, axis=0),
        outputs=np.ones((64, 1)),
    )
    cost = better_on_lattice(groups, 0.01, None).cost / groups.weights.size
    assert 0.95 < 12 * cost / 0.01**2 < 1.05


@pytest.mark.parametrize("scale", [0.0, 1e-200])
def test_a_group_of_no_energy_does_no_harm(scale):
    one = gaussian_layer(8)
    rows = one.weights[:, :64]
    both = replace(
        one,
        weights=np.concatenate([rows, scale * rows]),
        matrix=np.repeat(one.matrix, 2, axis=0),
        outputs=np.ones((2, 64)),
    )
    found = better_on_lattice(both, 0.1, None)
    assert found.integers[:64].any() and not found.integers[64:].any()
    assert np.isfinite(found.cost)


def test_a_layer_that_a_level_gives_nothing_keeps_more_than_one_value():
    target = gaussian_layer(1)
    few = replace(target, weights=target.weights[:, :16], outputs=np.ones((1, 16)))

    def make(level):
        return better_on_lattice(few, level, None)

    assert make(1e3).encoded.k == 1
    assert of_several_values(few, 1e3, make).encoded.k > 1
    np.testing.assert_array_equal(of_several_values(few, 0.1, make).integers, make(0.1).integers)
    nothing = replace(few, weights=np.zeros_like(few.weights))
    found = of_several_values(nothing, 0.1, lambda level: better_on_lattice(nothing, level, None))
    assert found.encoded.k == 1


def test_a_row_that_wants_larger_integers_than_a_file_holds_spares_the_others():
    target = gaussian_layer(1)
    few = replace(target, weights=target.weights[:, :64], outputs=target.outputs[:, :64].copy())
    few.outputs[0, 0] = 1e14
    found = better_on_lattice(few, 0.01, None)
    error = few.weights[0] - found.values
    assert np.abs(found.integers).max() < LARGEST
    # Of the one row sixteen bits, of the others what the level says.
    assert np.abs(error[0]).max() < 1e-3 * np.abs(few.weights[0, 0]).max()
    assert 0.002 < error[1:].std() < 0.02
