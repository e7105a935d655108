"""Tensors of every kind that exports tell apart, and the models around them."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from wkmeans.export import (  # noqa: E402
    IndexedTensor,
)

SHAPE = (6, 10)


def one_codebook(k=5, dtype=np.float32, shape=SHAPE):
    rng = np.random.default_rng(k)
    labels = rng.integers(0, k, shape).astype(np.uint8 if k <= 256 else np.uint16)
    return IndexedTensor(labels, np.sort(rng.normal(size=(1, k))).astype(dtype))


def a_codebook_a_row(k=4):
    rng = np.random.default_rng(k)
    groups = np.arange(SHAPE[0])[:, None]
    codebooks = np.sort(rng.normal(size=(SHAPE[0], k))).astype(np.float32)
    return IndexedTensor(rng.integers(0, k, SHAPE).astype(np.uint8), codebooks, groups)


def groups_that_do_not_divide():
    rng = np.random.default_rng(3)
    codebooks = rng.normal(size=(3, 4)).astype(np.float32)
    groups = np.arange(SHAPE[1]) // 4
    return IndexedTensor(rng.integers(0, 4, SHAPE).astype(np.uint8), codebooks, groups)


def scaled_rows():
    tensor = one_codebook(7)
    scale = np.exp(np.random.default_rng(0).normal(size=(SHAPE[0], 1))).astype(np.float32)
    return IndexedTensor(tensor.labels, tensor.codebook, scale=scale)


def with_a_zero():
    tensor = one_codebook(5)
    codebooks = tensor.codebook.copy()
    codebooks[0, 2] = 0.0
    return IndexedTensor(tensor.labels, codebooks)


TENSORS = {
    "two entries": lambda: one_codebook(2),
    "sixteen entries": lambda: one_codebook(16),
    "seventeen entries": lambda: one_codebook(17),
    "beyond a byte": lambda: one_codebook(300),
    "one entry": lambda: one_codebook(1),
    "a codebook a row": a_codebook_a_row,
    "groups that do not divide": groups_that_do_not_divide,
    "scaled rows": scaled_rows,
    "a zero": with_a_zero,
}

each_tensor = pytest.mark.parametrize("tensor", [make() for make in TENSORS.values()], ids=TENSORS)


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(SHAPE[1], SHAPE[0]), nn.ReLU(), nn.Linear(SHAPE[0], 3)).eval()


def dense_model(tensor):
    model = small_model()
    model[0].weight.data = torch.from_numpy(tensor.dequantize().astype(np.float32))
    return model


def assert_same(actual, expected):
    for part in ("labels", "codebook", "groups", "scale"):
        a, b = getattr(actual, part), getattr(expected, part)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


def compressed(granularity="tensor", codebook=np.float32, scales=False, shape=(4, 3, 2, 2)):
    from wkmeans.compression.tensors.layout import layout_of
    from wkmeans.compression.tensors.tensor import compressed_tensor

    rng = np.random.default_rng(0)
    layout = layout_of(shape, granularity)
    codebooks = np.sort(rng.normal(size=(layout.n_codebooks, 5)))
    scale = None
    if codebook == np.int8:
        codebooks, scale = np.rint(40 * codebooks), np.ones(layout.n_codebooks, np.float32) / 40
    return compressed_tensor(
        rng.integers(0, 5, shape).astype(np.uint8),
        codebooks.astype(codebook),
        dtype="float32",
        granularity=granularity,
        codebook_scale=scale,
        channel_scale=np.exp(rng.normal(size=layout.n_channels)).astype(np.float32)
        if scales
        else None,
    )


each_compression = pytest.mark.parametrize(
    "options",
    [
        {},
        {"granularity": "channel"},
        {"granularity": 5},
        {"granularity": 4, "codebook": np.int8},
        {"codebook": np.float16, "scales": True},
        {"granularity": "channel", "scales": True},
        {"granularity": 3, "shape": (10,), "scales": True},
    ],
    ids=str,
)
