"""Integers on a lattice of scales: their code, their values, their file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wkmeans
from wkmeans.compression._model import CompressedModel
from wkmeans.compression.lattice.coding import class_of, encode_integers
from wkmeans.compression.lattice.scales import nearest_exponents, scale_of
from wkmeans.compression.lattice.tensor import LatticeTensor, lattice_tensor


def integers(seed: int, rows: int, columns: int, spread: float):
    """Integers as steps make them: the finer, the larger."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-40, 40, rows), rng.integers(-900, -800, columns)
    sizes = spread / scale_of((a - a.min())[:, None] + (b - b.min()))
    return np.rint(rng.standard_normal((rows, columns)) * sizes).astype(np.int64), a, b


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999),
    rows=st.integers(1, 40),
    columns=st.integers(1, 60),
    spread=st.sampled_from([0.0, 0.3, 2.0, 40.0, 3000.0]),
)
def test_integers_come_back(seed, rows, columns, spread):
    z, a, b = integers(seed, rows, columns, spread)
    encoded = encode_integers(z, a, b)
    np.testing.assert_array_equal(encoded.decode().astype(np.int64) + encoded.low, z)
    np.testing.assert_array_equal(
        encoded.counts(), np.bincount((z - encoded.low).ravel(), minlength=encoded.k)
    )


def test_small_tensors_of_large_integers_have_no_tables():
    z, a, b = integers(6, 8, 9, 3000.0)
    encoded = encode_integers(z, a, b)
    assert encoded.payload.size == -(-z.size * (encoded.k - 1).bit_length() // 8)


def test_classes_of_spread_shorten_the_code():
    z, a, b = integers(1, 200, 300, 4.0)
    encoded = encode_integers(z, a, b)
    pooled = wkmeans.rate.entropy_bits(np.unique(z, return_counts=True)[1]) / 8
    assert encoded.payload.size < 0.85 * pooled
    # Within a tenth of a bit a weight of the classes' own entropies, tables included.
    classes = class_of(a, b, encoded.width)
    own = sum(
        wkmeans.rate.entropy_bits(np.unique(z[classes == c], return_counts=True)[1]) / 8
        for c in np.unique(classes)
    )
    assert own <= encoded.payload.size < own + 0.1 * z.size / 8


def test_scales_are_powers_of_two_in_sixteenths():
    exponents = np.arange(-700, 700)
    np.testing.assert_allclose(scale_of(exponents), 2.0 ** (exponents / 16), rtol=1e-15)
    np.testing.assert_array_equal(nearest_exponents(scale_of(np.arange(50))), np.arange(50))
    assert nearest_exponents(np.array([1.0, 1e-30])).min() == -240


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_and_files(tmp_path, dtype, transposed):
    z, a, b = integers(2, 30, 50, 3.0)
    b = b + 820
    shape = (50, 30) if transposed else (30, 5, 10)
    tensor = lattice_tensor(encode_integers(z, a, b), shape, dtype, transposed=transposed)
    expected = (z * scale_of(a)[:, None] * scale_of(b)).astype(dtype)
    expected = expected.T if transposed else expected.reshape(shape)
    np.testing.assert_array_equal(tensor.dequantize(), expected)
    assert tensor.dequantize().dtype == dtype and tensor.labels.shape == shape
    model = CompressedModel({"w": tensor})
    model.save(tmp_path / "f.safetensors")
    loaded = wkmeans.load(tmp_path / "f.safetensors")
    assert isinstance(loaded["w"], LatticeTensor)
    np.testing.assert_array_equal(loaded["w"].dequantize(), expected)
    assert loaded.to_bytes() == model.to_bytes()
    report = loaded.report()
    assert report.bytes == sum(row.bytes for row in report.tensors) + report.container_bytes
    assert "lattice" in report.to_json()


def test_damaged_files_are_refused(tmp_path):
    z, a, b = integers(3, 20, 30, 2.0)
    path = tmp_path / "f.safetensors"
    good = CompressedModel({"w": lattice_tensor(encode_integers(z, a, b), (20, 30), "float32")})
    data = bytearray(good.to_bytes())
    for position in range(len(data) - 200, len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        with pytest.raises(wkmeans.FormatError):
            wkmeans.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"lines": [20, 29]},
        {"lines": [0, 30]},
        {"lines": [1 << 41, 30]},
        {"codes": [0, 0]},
        {"codes": [-5, 1 << 20]},
        {"least": [1 << 40, 0]},
        {"width": 9},
        {"bytes": 1},
        {"shape": [20, 31]},
        {"codebook": True},
        {"transposed": 1},
    ],
)
def test_forged_descriptions_are_refused(change):
    from wkmeans.compression.format.fields import Fields, Payload
    from wkmeans.compression.format.kinds.lattice import LATTICE

    z, a, b = integers(3, 20, 30, 2.0)
    tensor = lattice_tensor(encode_integers(z, a, b), (20, 30), "float32")
    described, parts = LATTICE.describe(tensor), LATTICE.parts(tensor)
    data = np.concatenate([np.frombuffer(part.tobytes(), np.uint8) for part in parts])
    same = LATTICE.read(Fields("here", described), Payload(data))
    np.testing.assert_array_equal(same.dequantize(), tensor.dequantize())
    with pytest.raises(wkmeans.FormatError):
        LATTICE.read(Fields("here", described | change), Payload(data))


def test_codebooks_of_a_lattice_can_be_tuned(tmp_path):
    torch = pytest.importorskip("torch", reason="fine-tuning needs torch")
    z, a, b = integers(4, 12, 20, 2.0)
    b = b + 820
    tensor = lattice_tensor(encode_integers(z, a, b), (12, 20), "float32")
    model = torch.nn.Linear(20, 12, bias=False)
    compressed = CompressedModel({"weight": tensor}, framework="torch")
    compressed.parametrize(model)
    np.testing.assert_allclose(model.weight.detach().numpy(), tensor.dequantize(), rtol=1e-6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-1.25)  # turns their order round
    tuned = compressed.tuned(model)
    np.testing.assert_allclose(tuned["weight"].dequantize(), -1.25 * tensor.dequantize(), rtol=1e-6)
    tuned.save(tmp_path / "f.safetensors")
    loaded = wkmeans.load(tmp_path / "f.safetensors")
    np.testing.assert_array_equal(loaded["weight"].dequantize(), tuned["weight"].dequantize())
