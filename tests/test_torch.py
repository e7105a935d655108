"""Tensors in, tensors out: the same answers as NumPy's, and no surprises on the way."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from wkmeans import cost_curve, prune, wkmeans

torch = pytest.importorskip("torch")

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    w, I, H = rng.normal(size=(3, 6, 10))
    return w, np.abs(I), np.abs(H)


def exact(tensor):
    """The tensor's values as a float64 array."""
    return tensor.detach().to(torch.float64).numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", ["optimal", "lloyd"])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_tensors_are_answered_with_tensors(arrays, dtype, solver, axis):
    w, I, H = (torch.from_numpy(x).to(dtype) for x in arrays)
    result = wkmeans(w, 3, importance=I, quartic_importance=H, solver=solver, axis=axis)
    assert isinstance(result.centroids, torch.Tensor)
    assert isinstance(result.labels, torch.Tensor)
    assert result.centroids.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert result.labels.dtype == torch.uint8
    assert result.labels.shape == w.shape
    assert result.centroids.device == result.labels.device == w.device
    dense = result.dequantize()
    assert isinstance(dense, torch.Tensor)
    assert dense.shape == w.shape

    numbers = [exact(x) for x in (w, I, H)]
    if dtype != torch.float64:
        numbers = [x.astype(np.float32) for x in numbers]
    expected = wkmeans(
        numbers[0],
        3,
        importance=numbers[1],
        quartic_importance=numbers[2],
        solver=solver,
        axis=axis,
    )
    np.testing.assert_allclose(result.cost, expected.cost, rtol=1e-9)
    np.testing.assert_allclose(result.centroids.numpy(), expected.centroids, rtol=1e-6)
    np.testing.assert_array_equal(result.labels.numpy(), expected.labels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_value_of_a_small_grid_is_read_right(dtype):
    """As many centroids as values reproduce them, denormals, signed zeros and extremes too."""
    limits = torch.finfo(dtype)
    values = [0.0, -0.0, limits.tiny, -limits.tiny, limits.tiny / 4, 1.0, -1.5, limits.eps]
    values += [limits.max, limits.min] if dtype != torch.float64 else [1e70, -1e70]
    w = torch.tensor(values, dtype=dtype)
    result = wkmeans(w, len(values))
    np.testing.assert_array_equal(exact(result.dequantize()), exact(w))
    assert float(result.cost) == 0


def test_bfloat16_is_optimal(arrays):
    w = torch.from_numpy(arrays[0]).to(torch.bfloat16)
    result = wkmeans(w, 4, importance=torch.from_numpy(arrays[1]))
    optimum = oracle.optimal(exact(w), arrays[1], None, 4)
    attainable = float(oracle.rounded_cost(optimum.clusters, np.float32))
    assert float(optimum.cost) * (1 - 1e-12) <= float(result.cost) <= attainable * (1 + 1e-9)


@pytest.mark.parametrize(
    ("k", "dtype"), [(256, torch.uint8), (257, torch.int32), (65536, torch.int32)]
)
def test_labels_are_of_a_type_torch_can_index_with(k, dtype):
    w = torch.arange(300.0)
    result = wkmeans(w, k)
    assert result.labels.dtype == dtype
    if k >= 300:
        assert torch.equal(result.dequantize(), w)


@pytest.mark.parametrize("view", ["transposed", "strided", "expanded", "storage offset", "0-d"])
def test_views(view):
    base = torch.randn(8, 9, generator=torch.Generator().manual_seed(0))
    tensor = {
        "transposed": base.T,
        "strided": base[::2, ::3],
        "expanded": base[:1].expand(5, 9),
        "storage offset": base[3:, 1:],
        "0-d": base[0, 0],
    }[view]
    result, expected = wkmeans(tensor, 3), wkmeans(tensor.contiguous().numpy().copy(), 3)
    np.testing.assert_array_equal(result.centroids.numpy(), expected.centroids)
    np.testing.assert_array_equal(result.labels.numpy(), expected.labels)
    mask = prune(tensor, 0.5)
    np.testing.assert_array_equal(mask.numpy(), prune(tensor.contiguous().numpy().copy(), 0.5))


def test_parameters_are_accepted(arrays):
    w = torch.nn.Parameter(torch.from_numpy(arrays[0]))
    I = torch.from_numpy(arrays[1]).requires_grad_()
    result = wkmeans(w, 3, importance=I)
    assert not result.centroids.requires_grad
    assert not result.dequantize().requires_grad
    assert not prune(w, 0.5, importance=I).requires_grad
    assert w.requires_grad
    assert w.grad is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_input_is_never_modified(arrays, dtype):
    tensors = [torch.from_numpy(x).to(dtype) for x in arrays]
    copies = [x.clone() for x in tensors]
    w, I, H = tensors
    for axis in (None, 0, 1):
        wkmeans(w, 3, importance=I, quartic_importance=H, axis=axis)
        wkmeans(w, 3, importance=I, quartic_importance=H, axis=axis, solver="lloyd")
        prune(w, 0.5, importance=I, quartic_importance=H, axis=axis)
    for x, copy in zip(tensors, copies, strict=True):
        assert torch.equal(x, copy)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_pruning(arrays, dtype, axis):
    w, I, H = (torch.from_numpy(x).to(dtype) for x in arrays)
    mask = prune(w, 0.3, importance=I, quartic_importance=H, axis=axis)
    assert mask.dtype == torch.bool
    np.testing.assert_array_equal(
        mask.numpy(), oracle.prune_mask(exact(w), 0.3, exact(I), exact(H), axis=axis)
    )


def test_pruning_a_state_dict():
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 2))
    masks = prune(model.state_dict(), 0.25)
    weights = np.concatenate([exact(x).ravel() for x in model.state_dict().values()])
    assert list(masks) == list(model.state_dict())
    assert all(isinstance(m, torch.Tensor) for m in masks.values())
    np.testing.assert_array_equal(
        np.concatenate([m.numpy().ravel() for m in masks.values()]),
        oracle.prune_mask(weights, 0.25),
    )


def test_cost_curve(arrays):
    curve = cost_curve(torch.from_numpy(arrays[0]), 5)
    np.testing.assert_array_equal(np.asarray(curve), cost_curve(arrays[0], 5))


def test_an_initial_codebook_may_be_a_tensor():
    w, init = torch.arange(12.0), torch.tensor([0.0, 5.0, 11.0])
    result = wkmeans(w, 3, solver="lloyd", init=init)
    expected = wkmeans(w.numpy(), 3, solver="lloyd", init=init.numpy())
    np.testing.assert_array_equal(result.centroids.numpy(), expected.centroids)


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.complex64, torch.uint8])
def test_dtypes_outside_the_list(dtype):
    for argument, w, keywords in (
        ("weights", torch.ones(4, dtype=dtype), {}),
        ("importance", torch.ones(4), {"importance": torch.ones(4, dtype=dtype)}),
    ):
        for function, second in ((wkmeans, 2), (prune, 0.5)):
            with pytest.raises(TypeError, match=rf"\b{argument}\b"):
                function(w, second, **keywords)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_finite(dtype, bad):
    w = torch.ones(3, 4, dtype=dtype)
    w[1, 2] = bad
    for function, second in ((wkmeans, 2), (prune, 0.5)):
        with pytest.raises(ValueError, match=r"weights.*\b1, 2\b"):
            function(w, second)


@pytest.mark.parametrize("make", ["sparse", "meta"])
def test_tensors_without_plain_memory(make):
    tensor = torch.eye(3).to_sparse() if make == "sparse" else torch.empty(3, device="meta")
    with pytest.raises((TypeError, ValueError), match="weights"):
        wkmeans(tensor, 2)
