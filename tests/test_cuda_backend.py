"""What reaches `wkmeans._cuda`, and what becomes of its answers: with a stand-in for the module
that reads and writes the memory it is told of, which here is the host's."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import wkmeans as package
from wkmeans import _core, cost_curve, prune, wkmeans
from wkmeans._kernels import arrays, cuda_backend

torch = pytest.importorskip("torch")

NUMPY = {"float16": np.float16, "float32": np.float32, "float64": np.float64, "bfloat16": np.uint16}


def memory(address, shape, dtype):
    """The host's memory as an array."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = (ctypes.c_byte * size).from_address(address)
    return np.frombuffer(buffer, dtype).reshape(shape)


class StandIn:
    """The module's functions by way of `_core`."""

    class BadValue(ValueError):  # noqa: N818
        pass

    def Operand(self, address, dtype, problem_stride, item_stride):  # noqa: N802
        return SimpleNamespace(address=address, dtype=dtype, strides=(problem_stride, item_stride))

    def Batch(self, n_problems, n_items, *operands):  # noqa: N802
        return SimpleNamespace(shape=(n_problems, n_items), operands=operands)

    def Results(self, *addresses):  # noqa: N802
        names = ["centroids", "labels", "label_dtype", "scales", "costs", "lower_bounds", "n_iters"]
        return SimpleNamespace(**dict(zip(names, addresses, strict=True)))

    def Queue(self, device, stream, allocate, release):  # noqa: N802
        return SimpleNamespace(allocate=allocate, release=release)

    def problems(self, batch):
        def rows(operand):
            if operand is None:
                return None
            item = np.dtype(NUMPY[operand.dtype])
            span = 1 + sum((n - 1) * s for n, s in zip(batch.shape, operand.strides, strict=True))
            flat = memory(operand.address, (span,), item)
            strides = [s * item.itemsize for s in operand.strides]
            return np.lib.stride_tricks.as_strided(flat, batch.shape, strides), operand.dtype

        return _core.Problems(*map(rows, batch.operands), axis=1, entry="")

    def explained(self, function, *arguments, **options):
        try:
            return function(*arguments, **options)
        except _core.InvalidValue as error:
            raise self.BadValue(error.args[0], 0) from None

    ClusterOptions = _core.ClusterOptions

    def cluster(self, queue, batch, options, results):
        answers = self.explained(_core.cluster, self.problems(batch), options, results.label_dtype)
        n = batch.shape[0]
        memory(results.centroids, answers[0].shape, np.float64)[:] = answers[0]
        memory(results.labels, batch.shape, results.label_dtype)[:] = answers[1]
        for name, answer in zip(("scales", "costs", "lower_bounds"), answers[2:5], strict=True):
            memory(getattr(results, name), (n,), np.float64)[:] = answer
        memory(results.n_iters, (n,), np.int64)[:] = answers[5]

    def cost_curve(self, queue, batch, *, costs, k_max, **options):
        answer = self.explained(_core.cost_curve, self.problems(batch), k_max=k_max, **options)
        memory(costs, answer.shape, np.float64)[:] = answer

    def prune(self, queue, batch, keep, mask):
        memory(mask, batch.shape, bool)[:] = self.explained(
            _core.prune, self.problems(batch), keep, 1
        )

    def prune_together(self, queue, batches, keep, masks):
        answers = _core.prune_together([self.problems(batch) for batch in batches], keep, 1)
        for batch, address, answer in zip(batches, masks, answers, strict=True):
            memory(address, batch.shape, bool)[:] = answer

    def prune_pattern(self, queue, batch, keep, group, mask):
        memory(mask, batch.shape, bool)[:] = _core.prune_pattern(
            self.problems(batch), keep, group, 1
        )


@pytest.fixture
def through_stand_in(monkeypatch):
    """Tensors on the CPU take the way of those on a device."""
    monkeypatch.setitem(sys.modules, "wkmeans._cuda", StandIn())
    monkeypatch.setattr(package, "_cuda", sys.modules["wkmeans._cuda"], raising=False)
    monkeypatch.setattr(arrays, "is_on_cuda", lambda value: isinstance(value, torch.Tensor))
    monkeypatch.setattr(cuda_backend.CudaProblem, "queue", lambda self: None)
    return package._cuda


def tensors(shape, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype)


def assert_same(actual, expected):
    assert torch.equal(actual.centroids, expected.centroids)
    assert torch.equal(actual.labels, expected.labels)
    assert actual.labels.is_contiguous()
    for name in ("cost", "lower_bound", "n_iter", "scale"):
        a, b = getattr(actual, name), getattr(expected, name)
        assert type(a) is type(b)
        assert a is b or torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    assert actual.axis == expected.axis
    assert torch.equal(actual.dequantize(), expected.dequantize())


CALLS = {
    "plain": {},
    "lloyd, given": {"solver": "lloyd", "init": [-1.0, 0.0, 1.0]},
    "lloyd, certified": {"solver": "lloyd", "certify": True, "init": "kmeans++", "seed": 3},
    "int8": {"centroid_dtype": "int8", "include_zero": True},
    "float8": {"centroid_dtype": torch.float8_e4m3fn},
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("options", CALLS.values(), ids=CALLS)
def test_answers_are_arranged_as_the_cpus(through_stand_in, monkeypatch, dtype, axis, options):
    w = tensors((4, 6, 5), dtype).transpose(0, 2)
    options = {
        "importance": tensors((6, 1), dtype, 1).abs(),
        "quartic_importance": tensors((), dtype, 2).abs(),
        "axis": axis,
        **options,
    }
    actual = wkmeans(w, 3, **options)
    monkeypatch.setattr(arrays, "is_on_cuda", lambda value: False)
    assert_same(actual, wkmeans(w, 3, **options))


def test_wide_labels_are_int32(through_stand_in):
    result = wkmeans(tensors((900,), torch.float32), 300)
    assert result.labels.dtype == torch.int32
    assert int(result.labels.max()) == 299


def test_curves_and_masks_are_arranged_as_the_cpus(through_stand_in, monkeypatch):
    w = tensors((6, 8), torch.float32).t()
    I = tensors((8, 1), torch.float64, 1).abs()
    both = {"a": w, "b": tensors((5,), torch.float32, 2)}

    def answers():
        yield cost_curve(w, 4, importance=I, axis=0)
        yield cost_curve(w, 4, include_zero=True)
        yield prune(w, 0.4, importance=I)
        yield prune(w, 0.4, importance=I, axis=0)
        yield prune(w, pattern=(1, 3))
        yield from prune(both, 0.3).values()

    actual = list(answers())
    monkeypatch.setattr(arrays, "is_on_cuda", lambda value: False)
    for a, b in zip(actual, answers(), strict=True):
        assert torch.equal(a, b)
        assert a.dtype == b.dtype


def test_bad_values_are_named_as_on_the_cpu(through_stand_in):
    w, I = torch.ones(3, 4), torch.ones(4)
    I[2] = -1
    for function in (wkmeans, prune, cost_curve):
        with pytest.raises(ValueError, match=r"importance: .* got -1.0 at index 2; clamp"):
            function(w, 1, importance=I, axis=0)
    w[1, 3] = float("inf")
    with pytest.raises(ValueError, match=r"weights: .* got inf at index \(1, 3\)$"):
        wkmeans(w, 1)


def test_arguments_are_checked_as_on_the_cpu(through_stand_in):
    w = torch.ones(3, 4)
    with pytest.raises(ValueError, match=r"importance: expected a shape that broadcasts to .*3, 4"):
        wkmeans(w, 1, importance=torch.ones(3))
    with pytest.raises(ValueError, match="axis: expected -2 to 1"):
        wkmeans(w, 1, axis=2)
    with pytest.raises(ValueError, match="weights: expected at least one value"):
        wkmeans(torch.ones(0), 1)
    with pytest.raises(TypeError, match="weights: expected dtype"):
        wkmeans(torch.ones(3, dtype=torch.int32), 1)
    with pytest.raises(TypeError, match="weights: expected a dense tensor"):
        wkmeans(torch.ones(3).to_sparse(), 1)
    with pytest.raises(TypeError, match=r"importance: expected a tensor on cpu.*, got ndarray"):
        wkmeans(w, 1, importance=np.ones(4))


def test_a_build_without_the_module_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(arrays, "is_on_cuda", lambda value: True)
    monkeypatch.setitem(sys.modules, "wkmeans._cuda", None)
    monkeypatch.delattr(package, "_cuda", raising=False)
    for function in (wkmeans, prune, cost_curve):
        with pytest.raises(ImportError, match=r"wkmeans\._cuda, .*WKMEANS_CUDA=ON"):
            function(torch.ones(3), 1)
