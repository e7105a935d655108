"""On a CUDA device, or on a host that plays it: the CPU's answers, the same bits every time."""

from __future__ import annotations

from decimal import Decimal

import cuda_device
import numpy as np
import oracle
import pytest
from checks import assert_close, underflow
from cuda_device import on_device
from hypothesis import given
from hypothesis import strategies as st
from strategies import IMPORTANCES, WEIGHTS, problems, tame_problems

from wkmeans import cost_curve, prune, wkmeans

torch = pytest.importorskip("torch")
pytestmark = cuda_device.needs_device

# Beyond the solver of small problems, beyond a first look's sums, and several tiles for each block.
LARGE = 120_000 if cuda_device.IS_PLAYED else 300_000


def keywords_on_device(problem):
    return {name: on_device(array) for name, array in problem.keywords.items()}


def assert_same_optimum(problem, actual, expected):
    floor = underflow(problem)
    assert_close(actual.cost, Decimal(float(expected.cost)), rtol=1e-9, atol=floor)
    assert Decimal(float(actual.lower_bound)) <= Decimal(float(expected.cost)) + floor
    centroids = actual.centroids.double().cpu().numpy()
    nearest = oracle.nearest_labels(problem.weights, centroids)
    np.testing.assert_array_equal(actual.labels.cpu().numpy(), nearest)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("importance", IMPORTANCES)
@given(st.data())
def test_the_optimum_is_the_cpus_for_every_family(weights, importance, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    problem = data.draw(problems(weights=(weights,), importances=(importance,), dtype=dtype))
    expected = wkmeans(problem.weights, problem.k, **problem.keywords)
    actual = wkmeans(on_device(problem.weights), problem.k, **keywords_on_device(problem))
    assert actual.labels.device.type == actual.centroids.device.type == "cuda"
    assert_same_optimum(problem, actual, expected)


@pytest.mark.parametrize("centroid_dtype", ["float16", "float8_e4m3fn", "int8"])
@given(problem=tame_problems(), include_zero=st.booleans())
def test_formats_and_zero_are_the_cpus(problem, centroid_dtype, include_zero):
    options = {"centroid_dtype": centroid_dtype, "include_zero": include_zero}
    expected = wkmeans(torch.from_numpy(problem.weights), problem.k, **options)
    actual = wkmeans(on_device(problem.weights), problem.k, **options)
    assert_close(
        actual.cost, Decimal(float(expected.cost)), rtol=1e-9, atol=float(underflow(problem))
    )


@pytest.mark.parametrize("init", ["quantile", "linear", "kmeans++"])
@given(problem=tame_problems())
def test_lloyd_makes_the_cpus_rounds(problem, init):
    options = {"solver": "lloyd", "init": init, "max_iter": 20}
    expected = wkmeans(problem.weights, problem.k, **problem.keywords, **options)
    actual = wkmeans(
        on_device(problem.weights), problem.k, **keywords_on_device(problem), **options
    )
    assert actual.n_iter == expected.n_iter
    np.testing.assert_array_equal(actual.labels.cpu().numpy(), expected.labels)


@given(problem=problems())
def test_curves_are_the_cpus(problem):
    expected = cost_curve(problem.weights, problem.k, **problem.keywords)
    actual = cost_curve(on_device(problem.weights), problem.k, **keywords_on_device(problem))
    floor = float(underflow(problem))
    np.testing.assert_allclose(actual.cpu().numpy(), expected, rtol=1e-9, atol=floor)


@given(problem=tame_problems(), density=st.floats(0, 1))
def test_masks_are_the_cpus(problem, density):
    expected = prune(problem.weights, density, **problem.keywords)
    actual = prune(on_device(problem.weights), density, **keywords_on_device(problem))
    np.testing.assert_array_equal(actual.cpu().numpy(), expected)


def large_tensors(dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(LARGE, generator=generator).to(dtype)
    w[::1000] *= 30
    importance = torch.rand(LARGE, generator=generator).to(dtype)
    importance[::7] = 0
    return w, importance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [16, 300])
@pytest.mark.parametrize("solver", ["optimal", "lloyd"])
def test_large_problems_are_the_cpus_and_repeat(dtype, weighted, k, solver):
    w, importance = large_tensors(dtype)
    options = {"solver": solver, "max_iter": 15}
    expected = wkmeans(w, k, importance=importance if weighted else None, **options)
    first, second = (
        wkmeans(on_device(w), k, importance=on_device(importance) if weighted else None, **options)
        for _ in range(2)
    )
    np.testing.assert_allclose(first.cost, expected.cost, rtol=1e-9)
    assert first.cost == second.cost
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.centroids, second.centroids)


@pytest.mark.parametrize("shape", [(4096, 512), (64, 4096), (3, 20000)])
@pytest.mark.parametrize("axis", [0, -1])
def test_rows_are_the_cpus(shape, axis):
    w = torch.randn(shape, generator=torch.Generator().manual_seed(1))[:24]
    H = torch.rand(shape[1], generator=torch.Generator().manual_seed(2))
    expected = wkmeans(w, 8, quartic_importance=H, axis=axis)
    actual = wkmeans(on_device(w), 8, quartic_importance=on_device(H), axis=axis)
    assert actual.labels.shape == w.shape
    np.testing.assert_allclose(actual.cost.cpu(), expected.cost, rtol=1e-9)


def test_work_waits_for_what_the_callers_stream_does_first():
    w, _ = large_tensors(torch.float32)
    expected = wkmeans(on_device(w), 16).cost
    if cuda_device.IS_PLAYED:
        assert wkmeans(cuda_device.written_late(w), 16).cost == expected
        return
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = torch.zeros(LARGE, device="cuda")
        torch.cuda._sleep(50_000_000)
        late.copy_(w, non_blocking=True)
        assert wkmeans(late, 16).cost == expected


def test_large_masks_are_the_cpus():
    w, importance = large_tensors(torch.float32)
    arrays = {"a": w, "b": w.round(), "c": importance[:5]}
    on_gpu = {name: on_device(array) for name, array in arrays.items()}
    for density in (0.0, 0.3, 1.0):
        expected, actual = prune(arrays, density), prune(on_gpu, density)
        for name in arrays:
            assert torch.equal(actual[name].cpu(), expected[name])
    rows = w.reshape(-1, 60)
    assert torch.equal(prune(on_device(rows), 0.2, axis=0).cpu(), prune(rows, 0.2, axis=0))
    for pattern in ((2, 4), (20, 60)):
        assert torch.equal(
            prune(on_device(rows), pattern=pattern).cpu(), prune(rows, pattern=pattern)
        )


@pytest.mark.parametrize("n", [50, LARGE])
def test_bad_values_are_named_as_on_the_cpu(n):
    w, importance = torch.ones(n), torch.ones(n)
    importance[7:] = -2  # many threads find one
    for call in (wkmeans, prune):
        with pytest.raises(ValueError, match=r"importance: .* got -2.0 at index 7; clamp"):
            call(on_device(w), 1, importance=on_device(importance))
    w[n - 1] = float("nan")
    with pytest.raises(ValueError, match=rf"weights: .* got nan at index {n - 1}$"):
        wkmeans(on_device(w), 2)


def test_rows_after_bad_ones_are_looked_at_in_turn():
    w = torch.ones(40, 9)
    w[3:, 4] = float("inf")
    with pytest.raises(ValueError, match=r"weights: .* got inf at index \(3, 4\)$"):
        wkmeans(on_device(w), 2, axis=1)
