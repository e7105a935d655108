"""Integers on a trellis: their code and their file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_oracle import along_the_trellis, learnt_as_documented, tabled_as_documented

import wkmeans
from wkmeans._kernels.coding import decode_adaptively, encode_adaptively
from wkmeans.compression._model import CompressedModel
from wkmeans.compression.format.fields import Fields, Payload
from wkmeans.compression.format.kinds.lattice import LATTICE
from wkmeans.compression.lattice import coding
from wkmeans.compression.lattice.coding import ADAPTIVE, EncodedIntegers, encode_integers
from wkmeans.compression.lattice.scales import scale_of
from wkmeans.compression.lattice.tensor import lattice_tensor
from wkmeans.compression.lattice.trellis import block_of, chunk_of, trellis_order

pytest.importorskip("torch", reason="calibration needs torch")

from wkmeans.compression.calibration.objective import Target
from wkmeans.compression.lattice.quantise import on_lattice
from wkmeans.importance.first.tape import Slot
from wkmeans.importance.matrices.layers import Layer


def integers(seed: int, rows: int, columns: int, spread: float, block: int):
    """Integers as steps make them: the finer, the larger."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-40, 40, rows), rng.integers(-90, 10, columns)
    sizes = spread / scale_of((a - a.min())[:, None] + (b - b.min()))
    halves = np.rint(rng.standard_normal((rows, columns)) * sizes).astype(np.int64)
    return along_the_trellis(halves, a, block), a, b


@pytest.fixture
def tabled(monkeypatch):
    """As if all tensors were large."""
    monkeypatch.setattr(coding, "MOST_ADAPTIVE", 0)


def check(encoded: EncodedIntegers, z: np.ndarray) -> None:
    assert encoded.low % 2 == 0 and encoded.k % 2 == 0
    np.testing.assert_array_equal(encoded.decode().astype(np.int64) + encoded.low, z)
    np.testing.assert_array_equal(
        encoded.counts(), np.bincount((z - encoded.low).ravel(), minlength=encoded.k)
    )


SIZES = {
    "seed": st.integers(0, 999),
    "rows": st.integers(1, 40),
    "columns": st.integers(1, 30),
    "spread": st.sampled_from([0.3, 2.0, 40.0, 3000.0]),
    "block": st.integers(1, 50),
}


@settings(max_examples=60, deadline=None)
@given(**SIZES, is_tabled=st.booleans())
def test_integers_come_back(seed, rows, columns, spread, block, is_tabled):
    z, a, b = integers(seed, rows, columns, spread, block)
    with pytest.MonkeyPatch.context() as patch:
        if is_tabled:
            patch.setattr(coding, "MOST_ADAPTIVE", 0)
        encoded = encode_integers(z, a, b, block)
    if z.min() == z.max():  # a few bytes need no trellis
        assert encoded.block is None and encoded.k == 1
    else:
        assert encoded.block == block and (encoded.width == ADAPTIVE) != is_tabled
        check(encoded, z)


@pytest.mark.parametrize("block", [40, 300])
def test_large_tensors_have_chunks_of_whole_blocks(block):
    z, a, b = integers(1, 900, 400, 4.0, block)
    encoded = encode_integers(z, a, b, block)
    assert chunk_of(block, 900, 400) == (200 if block == 40 else 300) * 400
    assert encoded.width != ADAPTIVE
    check(encoded, z)


@pytest.mark.parametrize("spread", [0.4, 30.0])
def test_another_decoder_reads_learnt_integers(spread):
    rng = np.random.default_rng(3)
    a, b = np.sort(rng.integers(0, 60, 9))[::-1].copy(), rng.integers(0, 90, 14)
    sizes = spread * 2.0 ** (3 - (a[:, None] + b) / 32)
    z = along_the_trellis(np.rint(rng.standard_normal((9, 14)) * sizes).astype(np.int64), a, 5)
    words = encode_adaptively(z, a, b, 5)
    np.testing.assert_array_equal(decode_adaptively(words, a, b, 5), z)
    np.testing.assert_array_equal(
        learnt_as_documented(words.tolist(), a.tolist(), b.tolist(), 5), z
    )


@pytest.mark.parametrize("block", [7, 64])
def test_another_decoder_reads_tables(tabled, block):
    z, a, b = integers(4, 300, 500, 3.0, block)
    encoded = encode_integers(z, a, b, block)
    found = tabled_as_documented(encoded.payload, a, b, encoded.width, block, encoded.low)
    np.testing.assert_array_equal(found, z)


@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=40),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 40),
)
def test_any_words_are_integers_or_are_refused(words, rows, columns, block):
    data = np.array(words, np.uint32)
    found = decode_adaptively(data, np.zeros(rows), np.zeros(columns), block)
    if found is not None:
        again = encode_adaptively(found, np.zeros(rows), np.zeros(columns), block)
        np.testing.assert_array_equal(again, data)


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 10**6), byte=st.integers(1, 255), is_tabled=st.booleans())
def test_damaged_payloads_are_read_or_refused(position, byte, is_tabled):
    z, a, b = integers(6, 40, 30, 2.0, 16)
    with pytest.MonkeyPatch.context() as patch:
        if is_tabled:
            patch.setattr(coding, "MOST_ADAPTIVE", 0)
        encoded = encode_integers(z, a, b, 16)
    payload = encoded.payload.copy()
    payload[position % payload.size] ^= byte
    damaged = replace(encoded, payload=payload)
    try:
        damaged.check()
        labels = damaged.decode()
    except wkmeans.FormatError:
        return
    assert labels.max() < encoded.k


@pytest.mark.parametrize("is_tabled", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_files(tmp_path, monkeypatch, transposed, is_tabled):
    if is_tabled:
        monkeypatch.setattr(coding, "MOST_ADAPTIVE", 0)
    z, a, b = integers(2, 30, 50, 3.0, 12)
    shape = (50, 30) if transposed else (30, 5, 10)
    tensor = lattice_tensor(encode_integers(z, a, b, 12), shape, "float32", transposed=transposed)
    expected = (z * scale_of(a)[:, None] * scale_of(b)).astype("float32")
    expected = expected.T if transposed else expected.reshape(shape)
    model = CompressedModel({"w": tensor})
    model.save(tmp_path / "f.safetensors")
    loaded = wkmeans.load(tmp_path / "f.safetensors")
    np.testing.assert_array_equal(loaded["w"].dequantize(), expected)
    assert loaded["w"].encoded.block == 12
    assert loaded.to_bytes() == model.to_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"trellis": 0},
        {"trellis": -3},
        {"trellis": True},
        {"trellis": 1 << 70},
        {"trellis": 12, "width": 0},
        {"codes": [-7, 20]},
        {"codes": [-8, 21]},
        {"chunk": 1 << 12},
    ],
)
def test_forged_descriptions_are_refused(change):
    z, a, b = integers(3, 20, 30, 2.0, 12)
    tensor = lattice_tensor(encode_integers(z, a, b, 12), (20, 30), "float32")
    described, parts = LATTICE.describe(tensor), LATTICE.parts(tensor)
    data = np.concatenate([np.frombuffer(part.tobytes(), np.uint8) for part in parts])
    same = LATTICE.read(Fields("here", described), Payload(data))
    np.testing.assert_array_equal(same.dequantize(), tensor.dequantize())

    def read():
        fields = Fields("here", described | change)
        LATTICE.read(fields, Payload(data))
        fields.check_nothing_is_left()

    with pytest.raises(wkmeans.FormatError):
        read()


def test_another_block_reads_other_integers_or_is_refused():
    z, a, b = integers(3, 20, 30, 2.0, 12)
    encoded = encode_integers(z, a, b, 12)
    for block in (1, 7, 1 << 40):
        try:
            found = replace(encoded, block=block).decode()
        except wkmeans.FormatError:
            continue
        assert not np.array_equal(found + encoded.low, z)


def test_rows_of_one_scale_stand_together_in_each_block():
    exponents = np.array([3, 5, 3, 5, 1, 9, 9, 2])
    assert trellis_order(exponents, 5).tolist() == [1, 3, 0, 2, 4, 5, 6, 7]
    assert trellis_order(exponents, 1).tolist() == list(range(8))


def test_blocks_are_shares_of_one_group():
    assert block_of(1, 4000, together=False) == 256
    assert block_of(1, 10, together=False) == 10
    assert block_of(1, 2048, together=True) == 2048
    assert block_of(8, 4000, together=False) == 400
    assert block_of(8, 9, together=False) == 9
    assert block_of(8, 257, together=False) == 257


def test_groups_follow_trellises_of_their_own():
    rng = np.random.default_rng(5)
    matrices = [oracle @ oracle.T for oracle in rng.standard_normal((3, 6, 9))]
    target = Target(
        "w",
        Layer(Slot("w"), 3, 300, 6),
        rng.standard_normal((3, 300, 6)),
        np.stack(matrices),
        np.exp(rng.normal(0, 1, (3, 300))),
    )
    found = on_lattice(target, 0.3, 1)
    assert found.encoded.block == 300
    check(found.encoded, found.integers)
    errors = target.weights - found.values.reshape(3, 300, 6)
    costs = np.einsum("gr,gri,gij,grj->", target.outputs, errors, target.matrix, errors)
    assert found.cost == pytest.approx(costs, rel=1e-9)


def test_tuned_centroids_keep_the_trellis_while_their_order_lasts():
    torch = pytest.importorskip("torch")
    z, a, b = integers(4, 12, 20, 2.0, 12)
    tensor = lattice_tensor(encode_integers(z, a, b, 12), (12, 20), "float32")
    for factor, block in ((1.25, 12), (-1.25, None)):
        model = torch.nn.Linear(20, 12, bias=False)
        compressed = CompressedModel({"weight": tensor}, framework="torch")
        compressed.parametrize(model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(factor)
        tuned = compressed.tuned(model)["weight"]
        np.testing.assert_allclose(tuned.dequantize(), factor * tensor.dequantize(), rtol=1e-6)
        assert tuned.encoded.block == block
