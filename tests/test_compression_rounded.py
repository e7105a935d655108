"""Floats of a few bits of mantissa: their values, their bytes, and what a file says of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import wkmeans

for module in ("safetensors", "ml_dtypes", "rich"):
    pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[compress]'")
from wkmeans.compression.format.fields import Fields, Payload  # noqa: E402
from wkmeans.compression.format.kinds.rounded import ROUNDED  # noqa: E402
from wkmeans.compression.tensors.rounded import (  # noqa: E402
    LEAST_BITS,
    MOST_BITS,
    MOST_VALUES,
    RoundedTensor,
    encode_floats,
    rounded_vector,
)

finite = st.floats(-(2.0**126), 2.0**126, width=32)
vectors = hnp.arrays(np.float32, st.integers(1, 70), elements=finite)
bits_kept = st.integers(LEAST_BITS, MOST_BITS)


@given(vectors, bits_kept)
def test_numbers_are_rounded_to_the_nearest(values, bits):
    """To half a step of normal ones, and of those below all normal ones."""
    found = encode_floats(values, bits).decode()
    exact = values.astype(np.float64)
    step = 2.0**-bits * np.maximum(2.0 ** np.floor(np.log2(np.abs(exact) + 2.0**-200)), 2.0**-126)
    assert (np.abs(found - exact) <= step / 2).all()
    assert (np.signbit(found) == np.signbit(values)).all()
    mantissas = found.view(np.uint32) & ((1 << 23) - 1)
    assert (mantissas % (1 << (23 - bits)) == 0).all()


@given(vectors, bits_kept)
def test_what_is_rounded_stays_as_it_is(values, bits):
    once = encode_floats(values, bits).decode()
    again = encode_floats(once, bits)
    assert again.decode().tobytes() == once.tobytes()
    assert again.tails.size == again.tail_bytes


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, np.finfo(np.float32).max])
def test_what_is_not_finite_is_not_rounded(value):
    """The largest float rounds to infinity."""
    values = np.array([1.0, value], np.float32)
    assert encode_floats(values, 5) is None
    kept = rounded_vector(np.tile(values, 50), "float32", 5, "a vector")
    assert kept.dequantize().tobytes() == np.tile(values, 50).tobytes()


@pytest.mark.parametrize("bits", [3, 5, 8])
def test_bytes_are_about_those_of_exponents_and_bits(bits):
    """A normal number's exponent has 2.4 bits of entropy, and is coded with a sign of its own."""
    values = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    assert 8 * encode_floats(values, bits).nbytes / 4000 < bits + 1 + 2.7
    assert 8 * encode_floats(np.abs(values), bits).nbytes / 4000 < bits + 2.7


def kept(values, bits=5, dtype="float32"):
    return rounded_vector(np.asarray(values, dtype), dtype, bits, "a vector")


def test_the_shortest_that_keeps_the_bits_is_chosen():
    rng = np.random.default_rng(1)
    many = kept(rng.standard_normal(1000))
    assert isinstance(many, RoundedTensor)
    assert "rounded to 5 bits" in many.reason
    few = kept(rng.standard_normal(10))
    assert few.stored_dtype == "float16"
    assert "stored in float16" in few.reason
    tiny = kept(1e-6 * rng.standard_normal(10))  # whose last bits float16 does not hold
    assert tiny.stored_dtype == "float32"
    assert kept(rng.standard_normal(10), dtype="float64").stored_dtype == "float16"
    assert kept(1e6 * rng.standard_normal(10), dtype="float64").stored_dtype == "float64"
    assert kept(rng.standard_normal(MOST_VALUES + 1)).stored_dtype == "float16"
    assert kept([]).size == 0


@pytest.mark.parametrize("shape", [(300,), (20, 15), (1, 300)])
def test_saved_and_loaded(shape, tmp_path):
    values = np.random.default_rng(2).standard_normal(shape)
    model = wkmeans.CompressedModel({"v": kept(values)})
    model.save(tmp_path / "f")
    loaded = wkmeans.load(tmp_path / "f")
    assert isinstance(loaded["v"], RoundedTensor)
    assert loaded["v"].reason == model["v"].reason
    assert loaded["v"].nbytes == model["v"].nbytes < 2 * 300
    found = loaded.state_dict()["v"]
    assert found.shape == shape
    assert found.tobytes() == model.state_dict()["v"].tobytes()
    assert loaded.to_bytes() == (tmp_path / "f").read_bytes()


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("dtype", "float16", "unexpected dtype 'float16'"),
        ("shape", [0], "unexpected shape"),
        ("shape", [MOST_VALUES, 2], "unexpected shape"),
        ("mantissa", 0, "unexpected mantissa '0'"),
        ("mantissa", LEAST_BITS - 1, "unexpected mantissa"),
        ("mantissa", MOST_BITS + 1, "unexpected mantissa"),
        ("mantissa", 9, "bytes of mantissas"),
        ("origin", 255, "unexpected origin '255'"),
        ("origin", 0, "those of finite numbers"),
        ("origin", 254, "those of finite numbers"),
        ("bytes", 6, "unexpected bytes '6'"),
        ("bytes", 4, "do not end where they do"),
        ("signed", 1, "unexpected signed '1'"),
    ],
)
def test_forged_members_are_refused_by_name(member, value, message):
    tensor = kept(np.random.default_rng(3).standard_normal(300))
    described = ROUNDED.describe(tensor) | {member: value}
    payload = np.concatenate(ROUNDED.parts(tensor))
    with pytest.raises(wkmeans.FormatError, match=message):
        ROUNDED.read(Fields("tensor 'v'", described), Payload(payload))


def test_a_file_is_read_into_no_more_than_eleven_times_its_size():
    """The most that can be: numbers of one exponent, none negative."""
    values = np.zeros(MOST_VALUES, np.float32)
    assert values.nbytes <= 11 * encode_floats(values, LEAST_BITS).nbytes


def test_other_values_are_rounded_to_as_many_bits():
    rng = np.random.default_rng(4)
    tensor = kept(rng.standard_normal(300))
    other = tensor.with_values(rng.standard_normal(300).astype(np.float32))
    assert isinstance(other, RoundedTensor)
    assert other.encoded.bits == 5
    assert other.encoded.decode().tobytes() == other.dequantize().tobytes()
    endless = np.full(300, np.inf, np.float32)
    dense = tensor.with_values(endless)
    assert dense.dequantize().tobytes() == endless.tobytes()
    assert dense.reason.endswith("rounded to 5 bits; tuned beyond that, so as it is")
