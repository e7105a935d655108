"""Bytes of a layer by the level, from some of its rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="layers come from torch")

from wkmeans.compression.calibration.objective import Target
from wkmeans.compression.lattice import curve as curve_module
from wkmeans.compression.lattice.coding import TooFineError
from wkmeans.compression.lattice.curve import SizeCurve, level_of
from wkmeans.compression.lattice.quantise import on_lattice
from wkmeans.importance.first.tape import Slot
from wkmeans.importance.matrices.layers import Layer


def layer(rows: int, columns: int = 48) -> Target:
    rng = np.random.default_rng(rows)
    inputs = rng.standard_normal((columns, 2 * columns)) * np.exp(rng.normal(0, 0.5, (columns, 1)))
    return Target(
        "w",
        Layer(Slot("w"), 1, rows, columns),
        rng.standard_normal((1, rows, columns)),
        (inputs @ inputs.T / columns)[np.newaxis],
        np.exp(rng.normal(0, 1, (1, rows))),
    )


def size_at(target: Target, exponent: float) -> int:
    return on_lattice(target, 2.0**exponent, 1).encoded.payload.nbytes


def test_points_are_what_small_layers_take():
    target = layer(100)
    curve = SizeCurve.of(target, 3, 1)
    assert [curve.at(x) for x in curve.exponents] == [size_at(target, x) for x in curve.exponents]
    assert (np.diff(curve.exponents) == 1).all() and (np.diff(curve.sizes) <= 0).all()
    assert curve.energy == target.cost_of(np.zeros_like(target.weights))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_some_rows_say_what_all_take(bits):
    target = layer(1500)
    curve = SizeCurve.of(target, bits, 1)
    assert curve.energy == pytest.approx(target.cost_of(np.zeros_like(target.weights)), rel=0.2)
    for exponent in np.linspace(curve.exponents[2], curve.exponents[-3], 7):
        whole = size_at(target, exponent)
        # Of fewer weights less can be learnt about the code.
        assert whole <= curve.at(exponent) < 1.1 * whole + 100
    middle = np.log2(level_of(curve.energy, target.weights.size, bits))
    assert 0.5 < 8 * curve.at(middle) / target.weights.size / bits < 1.5


def test_beyond_the_points_sizes_stay():
    curve = SizeCurve.of(layer(30), 2, 1)
    assert curve.at(-1000) == curve.sizes[0] and curve.at(1000) == curve.sizes[-1]


def test_levels_that_are_too_fine_have_no_point(monkeypatch):
    target = layer(30)
    whole = SizeCurve.of(target, 2, 1)

    def refusing(some, level, *rest):
        if level < 2.0 ** whole.exponents[4]:
            raise TooFineError("too fine")
        return on_lattice(some, level, *rest)

    monkeypatch.setattr(curve_module, "on_lattice", refusing)
    coarse = SizeCurve.of(target, 2, 1)
    assert np.array_equal(coarse.exponents, whole.exponents[4:])
    assert np.array_equal(coarse.sizes, whole.sizes[4:])

    def refusing_all(*_):
        raise TooFineError("too fine")

    monkeypatch.setattr(curve_module, "on_lattice", refusing_all)
    assert SizeCurve.of(target, 2, 1).at(0.0) == np.inf


def test_a_layer_of_zeros_takes_next_to_nothing():
    target = layer(30)
    curve = SizeCurve.of(replace(target, weights=0 * target.weights), 2, 1)
    assert curve.energy == 0 and curve.at(0) < 30
