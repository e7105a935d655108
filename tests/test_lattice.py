"""Integers on a lattice of scales: their code, their values, their file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_oracle import learnt_as_documented

import wkmeans
from wkmeans._kernels.coding import decode_adaptively, encode_adaptively
from wkmeans.compression._model import CompressedModel
from wkmeans.compression.lattice.coding import MOST_ADAPTIVE, class_of, encode_integers
from wkmeans.compression.lattice.scales import (
    decode_scales,
    encode_scales,
    nearest_exponents,
    origin_of,
    scale_of,
)
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


def test_classes_of_spread_shorten_the_code_of_large_tensors():
    z, a, b = integers(1, 500, 600, 4.0)
    assert z.size > MOST_ADAPTIVE
    encoded = encode_integers(z, a, b)
    pooled = wkmeans.rate.entropy_bits(np.unique(z, return_counts=True)[1]) / 8
    assert encoded.payload.size < 0.85 * pooled
    # Within a twentieth of a bit a weight of the classes' own entropies, tables included.
    classes = class_of(a, b, encoded.width)
    own = sum(
        wkmeans.rate.entropy_bits(np.unique(z[classes == c], return_counts=True)[1]) / 8
        for c in np.unique(classes)
    )
    assert own <= encoded.payload.size < own + 0.05 * z.size / 8
    np.testing.assert_array_equal(encoded.decode().astype(np.int64) + encoded.low, z)
    np.testing.assert_array_equal(
        encoded.counts(), np.bincount((z - encoded.low).ravel(), minlength=encoded.k)
    )


def test_learnt_probabilities_find_what_scales_do_not_say():
    """Rows and columns of their own activity, under scales that are all equal."""
    rng = np.random.default_rng(7)
    sizes = rng.choice([0.1, 1.0, 3.0], (200, 1)) * rng.choice([0.2, 1.0], (1, 300))
    z = np.rint(rng.standard_normal((200, 300)) * sizes).astype(np.int64)
    encoded = encode_integers(z, np.zeros(200, np.int64), np.zeros(300, np.int64))
    pooled = wkmeans.rate.entropy_bits(np.unique(z, return_counts=True)[1]) / 8
    known = sum(
        wkmeans.rate.entropy_bits(np.unique(z[sizes == s], return_counts=True)[1]) / 8
        for s in np.unique(sizes)
    )
    assert known < encoded.payload.size < known + 0.25 * (pooled - known)


@pytest.mark.parametrize("spread", [0.4, 30.0])
def test_another_decoder_reads_learnt_integers(spread):
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 60, 9), rng.integers(0, 90, 14)
    z = np.rint(rng.standard_normal((9, 14)) * spread * 2.0 ** (3 - (a[:, None] + b) / 32))
    words = encode_adaptively(z.astype(np.int64), a, b)
    np.testing.assert_array_equal(decode_adaptively(words, a, b), z)
    np.testing.assert_array_equal(learnt_as_documented(words.tolist(), a.tolist(), b.tolist()), z)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40), st.integers(1, 30), st.integers(1, 30))
def test_any_words_are_integers_or_are_refused(words, rows, columns):
    data = np.array(words, np.uint32)
    found = decode_adaptively(data, np.zeros(rows), np.zeros(columns))
    if found is not None:
        again = encode_adaptively(found, np.zeros(rows), np.zeros(columns))
        np.testing.assert_array_equal(again, data)


def test_scales_are_refused_that_are_unsound():
    z, a, b = integers(5, 20, 30, 2.0)
    encoded = encode_integers(z, a, b)
    origin = origin_of(a, b)
    rows, columns = decode_scales(encoded.scales, 20, 30, origin)
    np.testing.assert_array_equal(rows, a)
    np.testing.assert_array_equal(columns, b)
    for payload, n_rows in (
        (encoded.scales[:-1], 20),
        (encoded.scales[:-4], 20),
        (encoded.scales, 21),
        (encoded.scales, 1 << 30),
        (encoded.scales[:0], 20),
    ):
        with pytest.raises(wkmeans.FormatError, match="scales"):
            decode_scales(payload, n_rows, 30, origin)
    far = encode_scales(np.array([0, 400]), np.array([0]))
    with pytest.raises(wkmeans.FormatError, match="too far apart"):
        decode_scales(far, 2, 1, (0, 0))
    assert encode_scales(np.zeros(100000, np.int64), np.zeros(9, np.int64)) is None


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
        {"origin": [1 << 40, 0]},
        {"scales": 3},
        {"scales": 1 << 41},
        {"width": 9},
        {"width": 3},
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


def test_integers_outside_what_a_file_says_are_refused():
    from dataclasses import replace

    encoded = encode_integers(*integers(3, 20, 30, 2.0))
    for change in ({"low": encoded.low + 1}, {"k": encoded.k - 1}):
        with pytest.raises(wkmeans.FormatError, match="integers after it"):
            replace(encoded, **change).decode()


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
