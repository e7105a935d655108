"""How tensors of a CUDA device reach `wkmeans._cuda`, and what becomes of its answers."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from cuda_device import DEVICE, needs_device, on_device

import wkmeans as package
from wkmeans import cost_curve, prune, wkmeans
from wkmeans._kernels import arrays

torch = pytest.importorskip("torch")


def assert_close(actual, expected, rtol):
    assert actual.dtype == expected.dtype
    torch.testing.assert_close(actual.double().cpu(), expected.double(), rtol=rtol, atol=0)


def tensors(shape, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype)


def assert_same(actual, expected):
    """Of one clustering, whose sums are made in another order."""
    assert actual.centroids.device == actual.labels.device == DEVICE
    assert_close(actual.centroids, expected.centroids, rtol=1e-6)
    assert torch.equal(actual.labels.cpu(), expected.labels)
    assert actual.labels.is_contiguous()
    for name, rtol in {"cost": 1e-9, "lower_bound": 1e-6, "scale": 0}.items():
        a, b = getattr(actual, name), getattr(expected, name)
        assert isinstance(a, type(b))
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=rtol)
    if expected.lower_bound is None:  # Lloyd's rounds; an optimum has none to count
        np.testing.assert_array_equal(actual.n_iter, expected.n_iter)
    assert actual.axis == expected.axis
    assert_close(actual.dequantize(), expected.dequantize(), rtol=1e-6)


CALLS = {
    "plain": {},
    "lloyd, given": {"solver": "lloyd", "init": [-1.0, 0.0, 1.0]},
    "lloyd, certified": {"solver": "lloyd", "certify": True, "init": "kmeans++", "seed": 3},
    "int8": {"centroid_dtype": "int8", "include_zero": True},
    "float8": {"centroid_dtype": torch.float8_e4m3fn},
}


@needs_device
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS)
def test_answers_are_arranged_as_the_cpus(dtype, axis, options):
    w = tensors((4, 6, 5), dtype).transpose(0, 2)
    importances = {
        "importance": tensors((6, 1), dtype, 1).abs(),
        "quartic_importance": tensors((), dtype, 2).abs(),
    }
    on_gpu = {name: on_device(importance) for name, importance in importances.items()}
    actual = wkmeans(on_device(w), 3, axis=axis, **on_gpu, **options)
    assert_same(actual, wkmeans(w, 3, axis=axis, **importances, **options))


@needs_device
def test_wide_labels_are_int32():
    result = wkmeans(on_device(tensors((900,), torch.float32)), 300)
    assert result.labels.dtype == torch.int32
    assert int(result.labels.max()) == 299


@needs_device
@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("k", [5, 300])
def test_labels_of_new_weights_are_the_cpus(axis, k):
    w, others = tensors((400, 3), torch.float32), tensors((70, 3), torch.bfloat16, 1)
    result = wkmeans(w, k, axis=axis)
    labels = result.labels_for(on_device(others))
    assert labels.device == DEVICE
    assert torch.equal(labels.cpu(), result.labels_for(others))
    assert torch.equal(wkmeans(on_device(w), k, axis=axis).labels_for(others), labels.cpu())
    others[7, 1] = float("nan")
    with pytest.raises(ValueError, match=r"^new_weights: .* nan at index \(7, 1\)"):
        result.labels_for(on_device(others))


@needs_device
def test_curves_and_masks_are_arranged_as_the_cpus():
    def answers(move):
        w = move(tensors((6, 8), torch.float32).t())
        I = move(tensors((8, 1), torch.float64, 1).abs())
        both = {"a": w, "b": move(tensors((5,), torch.float32, 2))}
        yield cost_curve(w, 4, importance=I, axis=0)
        yield cost_curve(w, 4, include_zero=True)
        yield prune(w, 0.4, importance=I)
        yield prune(w, 0.4, importance=I, axis=0)
        yield prune(w, pattern=(1, 3))
        yield from prune(both, 0.3).values()

    for actual, expected in zip(answers(on_device), answers(lambda value: value), strict=True):
        assert actual.device == DEVICE
        assert_close(actual, expected, rtol=1e-9)


@needs_device
def test_bad_values_are_named_as_on_the_cpu():
    w, I = torch.ones(3, 4), torch.ones(4)
    I[2] = -1
    for function in (wkmeans, prune, cost_curve):
        with pytest.raises(ValueError, match=r"importance: .* got -1.0 at index 2; clamp"):
            function(on_device(w), 1, importance=on_device(I), axis=0)
    w[1, 3] = float("inf")
    with pytest.raises(ValueError, match=r"weights: .* got inf at index \(1, 3\)$"):
        wkmeans(on_device(w), 1)


@needs_device
def test_arguments_are_checked_as_on_the_cpu():
    w = on_device(torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"importance: expected a shape that broadcasts to .*3, 4"):
        wkmeans(w, 1, importance=on_device(torch.ones(3)))
    with pytest.raises(ValueError, match="axis: expected -2 to 1"):
        wkmeans(w, 1, axis=2)
    with pytest.raises(ValueError, match="weights: expected at least one value"):
        wkmeans(on_device(torch.ones(0)), 1)
    with pytest.raises(TypeError, match="weights: expected dtype"):
        wkmeans(on_device(torch.ones(3, dtype=torch.int32)), 1)
    with pytest.raises(TypeError, match=r"importance: expected a tensor on cuda.*, got ndarray"):
        wkmeans(w, 1, importance=np.ones(4))
    with pytest.raises(TypeError, match=r"importance: expected a tensor on cuda.*, got one on cpu"):
        wkmeans(w, 1, importance=torch.ones(4))


def test_a_build_without_the_module_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(arrays, "is_on_cuda", lambda value: True)
    monkeypatch.setitem(sys.modules, "wkmeans._cuda", None)
    monkeypatch.delattr(package, "_cuda", raising=False)
    for function in (wkmeans, prune, cost_curve):
        with pytest.raises(ImportError, match=r"wkmeans\._cuda, .*WKMEANS_CUDA=ON"):
            function(torch.ones(3), 1)
