"""Products with matrices that stay codes, against the dense product."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from wkmeans._kernels.codes import from_labels, from_packed


def dense(labels, codebooks, group):
    """What the codes stand for, in double precision."""
    rows, columns = labels.shape
    if group is None:
        return codebooks[0][labels].astype(np.float64)
    books = codebooks.reshape(rows, -1, codebooks.shape[1])[:, np.arange(columns) // group]
    return np.take_along_axis(books, labels[..., None], axis=2)[..., 0].astype(np.float64)


def problem(rng, rows, columns, k, group):
    count = 1 if group is None else rows * -(-columns // group)
    labels = rng.integers(0, k, (rows, columns))
    return labels, rng.normal(size=(count, k)).astype(np.float32)


def assert_close(actual, inputs, weights):
    """To 1e-5 of what the terms of a sum amount to, which is what single precision can promise."""
    expected = inputs.astype(np.float64) @ weights.T
    size = np.abs(inputs).astype(np.float64) @ np.abs(weights).T
    assert np.all(np.abs(actual - expected) <= 1e-6 * size)
    assert np.linalg.norm(actual - expected) <= 1e-5 * np.linalg.norm(expected) + 1e-30


@given(
    seed=seeds,
    rows=st.integers(1, 70),
    columns=st.one_of(st.integers(1, 70), st.sampled_from([128, 256, 300])),
    k=st.sampled_from([1, 2, 3, 4, 5, 8, 11, 16, 17, 32, 100, 128, 256]),
    batch=st.one_of(st.integers(1, 17), st.sampled_from([1, 40])),
    granularity=st.sampled_from(["tensor", "row", 16, 128, 10]),
)
def test_equals_the_dense_product(seed, rows, columns, k, batch, granularity):
    rng = np.random.default_rng(seed)
    group = {"tensor": None, "row": columns}.get(granularity, granularity)
    labels, codebooks = problem(rng, rows, columns, k, group)
    inputs = rng.normal(size=(batch, columns)).astype(np.float32)
    outputs = from_labels(labels, codebooks, group=group).multiply(inputs)
    assert outputs.dtype == np.float32
    assert outputs.shape == (batch, rows)
    assert_close(outputs, inputs, dense(labels, codebooks, group))


@pytest.mark.parametrize("batch", [1, 3, 8, 16, 50])
@pytest.mark.parametrize("k", [16, 200])
def test_threads_change_no_bit(batch, k):
    rng = np.random.default_rng(batch)
    labels, codebooks = problem(rng, 333, 512, k, 128)
    matrix = from_labels(labels, codebooks, group=128)
    inputs = rng.normal(size=(batch, 512)).astype(np.float32)
    one = matrix.multiply(inputs, 1)
    for threads in (2, 3, 8):
        assert matrix.multiply(inputs, threads).tobytes() == one.tobytes()


@pytest.mark.parametrize("k", [4, 16, 200])
def test_an_input_is_multiplied_alike_whatever_others_there_are(k):
    rng = np.random.default_rng(k)
    labels, codebooks = problem(rng, 30, 96, k, None)
    matrix = from_labels(labels, codebooks)
    inputs = rng.normal(size=(7, 96)).astype(np.float32)
    outputs = matrix.multiply(inputs)
    np.testing.assert_array_equal(matrix.multiply(inputs[::-1].copy()), outputs[::-1])
    for one, output in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(matrix.multiply(one[None])[0], output)


@pytest.mark.parametrize("k", [1, 2, 4, 8, 16, 64, 256])
@pytest.mark.parametrize("columns", [64, 37])
def test_a_files_packed_codes_are_taken(k, columns):
    coding = pytest.importorskip("wkmeans.compression.format.coding")
    rng = np.random.default_rng(k)
    labels, codebooks = problem(rng, 9, columns, k, columns)
    payload = coding.pack(labels.astype(np.uint16).ravel(), k)
    matrix = from_packed(np.asarray(payload), codebooks, labels.shape, group=columns)
    if columns == 64 and k > 1:
        np.testing.assert_array_equal(matrix.codes[: payload.size], payload)
    inputs = rng.normal(size=(2, columns)).astype(np.float32)
    assert_close(matrix.multiply(inputs), inputs, dense(labels, codebooks, columns))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("k", [5, 16, 90])
def test_codebooks_keep_their_dtype(dtype, k):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(k)
    labels, codebooks = problem(rng, 21, 200, k, 32)
    narrow = torch.from_numpy(codebooks).to(getattr(torch, dtype))
    narrow[0, :3] = torch.tensor([0.0, 3e-7, 60000.0])  # zero, a denormal half, a large one
    matrix = from_labels(labels, narrow, group=32)
    weights = dense(labels, narrow.double().numpy(), 32)
    for batch in (1, 5, 20):
        inputs = rng.normal(size=(batch, 200)).astype(np.float32)
        assert_close(matrix.multiply(inputs), inputs, weights)
    if dtype != "float64":
        assert matrix.tables.nbytes == 2 * (len(codebooks) * (1 << matrix.bits) + 16)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_instruction_set(isa):
    """In a process of its own: the set is chosen once, the narrower of this one and the widest."""
    script = """
import numpy as np
from wkmeans._kernels.codes import from_labels
rng = np.random.default_rng(0)
for k in (2, 8, 16, 100):
    for batch in (1, 6, 30):
        labels, codebook = rng.integers(0, k, (37, 150)), rng.normal(size=(1, k))
        inputs = rng.normal(size=(batch, 150)).astype(np.float32)
        outputs = from_labels(labels, codebook).multiply(inputs)
        expected = inputs @ codebook[0][labels].T
        assert np.linalg.norm(outputs - expected) <= 1e-6 * np.linalg.norm(expected)
"""
    environment = {**os.environ, "WKMEANS_ISA": isa}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=120)


def test_memory_is_that_of_codes_and_codebooks():
    rng = np.random.default_rng(3)
    labels, codebooks = problem(rng, 64, 256, 16, 256)
    matrix = from_labels(labels, codebooks, group=256)
    assert matrix.nbytes <= 64 * 256 // 2 + codebooks.nbytes + 128


def test_strided_inputs_and_none_at_all():
    rng = np.random.default_rng(4)
    labels, codebooks = problem(rng, 8, 32, 4, None)
    matrix = from_labels(labels, codebooks)
    inputs = rng.normal(size=(32, 3)).astype(np.float32).T
    assert_close(matrix.multiply(inputs), inputs, dense(labels, codebooks, None))
    assert matrix.multiply(inputs[:0]).shape == (0, 8)


def test_bad_arguments():
    labels, codebooks = np.zeros((4, 8), int), np.zeros((1, 4))
    matrix = from_labels(labels, codebooks)
    for call, message in (
        (lambda: matrix.multiply(np.zeros((2, 7))), r"inputs: expected shape \(batch, 8\)"),
        (lambda: from_labels(labels + 4, codebooks), "labels: expected 0 to 3, got 4 to 4"),
        (lambda: from_labels(labels[0], codebooks), "labels: expected shape"),
        (lambda: from_labels(labels, np.zeros((1, 257))), "codebooks: .*k up to 256"),
        (lambda: from_labels(labels, codebooks, group=4), r"codebooks: expected shape \(8, k\)"),
        (lambda: from_labels(labels, codebooks * np.nan), "codebooks: expected finite"),
        (lambda: from_labels(labels, codebooks, group=0), "group: expected at least 1"),
        (
            lambda: from_packed(np.zeros(7, np.uint8), codebooks, (4, 8)),
            "payload: expected 8 b",
        ),
        (lambda: from_packed(np.zeros(0, np.uint8), codebooks, (0, 8)), "shape: expected pos"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
