"""What looks like an array and is none: refused with a remedy; and what is one all the same."""

import warnings

import numpy as np
import pytest

import wkmeans as package
from wkmeans import compress, cost_curve, entropy_constrained, prune, rate, wkmeans

torch = pytest.importorskip("torch")
estimate = package.importance.estimate

W = np.random.default_rng(0).normal(size=(8, 40)).astype(np.float32)
CALLS = {
    "wkmeans": lambda w: wkmeans(w, 2),
    "lloyd": lambda w: wkmeans(w, 2, solver="lloyd"),
    "importance": lambda w: wkmeans(W, 2, importance=w),
    "importance_matrix": lambda w: wkmeans(W, 2, importance_matrix=w),
    "cost_curve": lambda w: cost_curve(w, 2),
    "prune": lambda w: prune(w, 0.5),
    "mapping": lambda w: prune({"w": W, "other": w}, 0.5),
    "entropy_constrained": lambda w: entropy_constrained(w, k=2, multiplier=0.0),
    "labels_for": lambda w: wkmeans(W, 2).labels_for(w),
    "compress": lambda w: compress({"w": w}, k=2),
    "importances": lambda w: compress({"w": W}, k=2, importances={"w": w}),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is about to drop the dtype
        return torch.quantize_per_tensor(torch.from_numpy(W), 0.1, 0, torch.qint8)


@every_call
def test_masked_arrays(call):
    w = np.ma.masked_greater(W, 1.0)
    with pytest.raises(TypeError, match=r"masked array; select with \.compressed\(\), or fill"):
        call(w)
    with pytest.raises(TypeError, match="masked array"):
        call(np.ma.masked_array(W))  # nothing is masked today
    with pytest.raises(TypeError, match="masked array"):
        call(list(w))


def test_what_the_message_about_masks_says_works():
    w = np.ma.masked_greater(np.append(W.ravel(), np.float32(1e6)), 1e5)
    selected = wkmeans(w.compressed(), 4)
    filled = wkmeans(w.filled(0), 4, importance=(~w.mask).astype(float))
    np.testing.assert_array_equal(selected.centroids, filled.centroids)
    assert selected.centroids.max() < 10


@every_call
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.zeros(8, 40, device="meta"), "got one on meta, which has none; load the"),
        (lambda: torch.from_numpy(W).to_sparse(), r"got torch\.sparse_coo; call \.to_dense"),
        (quantised, r"got a quantised one of qint8; call \.dequantize"),
        (lambda: torch.nested.nested_tensor([torch.zeros(3), torch.zeros(2)]), "a nested one"),
        (lambda: torch.sparse_csr_tensor([0, 1], [0], [1.0], (1, 40)), "got torch.sparse_csr"),
    ],
    ids=["meta", "sparse", "quantised", "nested", "csr"],
)
@pytest.mark.filterwarnings("ignore:.*prototype", "ignore:Sparse")
def test_tensors_without_values_of_their_own(call, make, message):
    with pytest.raises(TypeError, match=message):
        call(make())


def test_sparse_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"got csr_array; call \.toarray\(\)"):
        wkmeans(sparse.csr_array(W), 2)
    with pytest.raises(TypeError, match=r"got csr_matrix; call \.toarray\(\)"):
        compress({"w": sparse.csr_matrix(W)}, k=2)


def test_tensors_inside_a_transform():
    with pytest.raises(TypeError, match="weights: expected a tensor that holds its own values"):
        torch.func.vmap(lambda w: wkmeans(w, 2).centroids)(torch.from_numpy(W))


@every_call
def test_complex_numbers(call):
    for w in (W.astype(np.complex128), [1.0, 2j], torch.from_numpy(W.astype(np.complex64)).conj()):
        if call is CALLS["compress"]:
            if not isinstance(w, torch.Tensor):
                continue  # a file holds complex64 and nothing else of its kind
            model = call(w)
            assert model["w"].reason == "not floating point (complex64)"
            torch.testing.assert_close(model.state_dict()["w"], w.resolve_conj())
            continue
        with pytest.raises((TypeError, ValueError), match=r"dtype|complex"):
            call(w)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize(
    "same",
    [
        np.asmatrix,
        lambda w: np.asfortranarray(w).view(type("Named", (np.ndarray,), {})),
        lambda w: w.astype(w.dtype.newbyteorder()),
        lambda w: torch.nn.Parameter(torch.from_numpy(w)).detach().numpy(),
    ],
    ids=["matrix", "subclass", "other endian", "parameter"],
)
def test_arrays_of_other_classes(same):
    result = wkmeans(same(W), 4, axis=1, importance=same(np.abs(W)))
    expected = wkmeans(W, 4, axis=1, importance=np.abs(W))
    np.testing.assert_array_equal(result.centroids, expected.centroids)
    assert type(result.centroids) is type(result.labels) is type(result.dequantize()) is np.ndarray
    assert type(prune(same(W), 0.5)) is np.ndarray


class Tagged(torch.Tensor):
    """A subclass that only adds a name."""


@pytest.mark.parametrize(
    "same",
    [
        lambda w: torch.nn.Parameter(w),
        lambda w: w.clone().as_subclass(Tagged),
        lambda w: torch._neg_view(-w),
        lambda w: torch.complex(torch.zeros_like(w), -w).conj().imag,
    ],
    ids=["parameter", "subclass", "negative view", "imaginary part of a conjugate"],
)
def test_tensors_of_other_classes(same):
    w = torch.from_numpy(W)
    result = wkmeans(same(w), 4, importance=same(w.abs()))
    expected = wkmeans(w, 4, importance=w.abs())
    assert torch.equal(result.centroids, expected.centroids)
    assert torch.equal(result.labels, expected.labels)
    compressed = compress({"w": same(w)}, k=4).state_dict()["w"]
    assert torch.equal(compressed, compress({"w": w}, k=4).state_dict()["w"])


def network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    batches = [(torch.randn(8, 6), torch.randint(0, 3, (8,)))]
    return model, batches


@pytest.mark.parametrize("objective", ["gradient", "gradient+hessian"])
@pytest.mark.parametrize("options", [{"density": 0.3}, {"pattern": (1, 5)}])
def test_pruning_by_estimated_importances(objective, options):
    model, batches = network()
    weights = {name: p for name, p in model.named_parameters() if name != "2.bias"}
    importances = estimate(
        model, batches, objective=objective, parameters=lambda name, _: name != "2.bias"
    )
    if "pattern" in options:
        weights, importances = ({"2.weight": m["2.weight"]} for m in (weights, importances))
    masks = prune(weights, importance=importances, **options)
    expected = prune(
        weights,
        importance={name: pair[0] for name, pair in importances.items()},
        quartic_importance={name: pair[1] for name, pair in importances.items()},
        **options,
    )
    for name, mask in masks.items():
        assert torch.equal(mask, expected[name])


def test_importances_that_do_not_fit_what_is_pruned():
    model, batches = network()
    importances = estimate(model, batches)
    weights = dict(model.named_parameters())
    with pytest.raises(ValueError, match=r"expected None where importance holds pairs"):
        prune(weights, 0.5, importance=importances, quartic_importance=importances)
    with pytest.raises(ValueError, match=r"importance: expected the keys of the weights.*'2.bias'"):
        prune({"0.weight": weights["0.weight"]}, 0.5, importance=importances)
    with pytest.raises(ValueError, match=r"importance\['w'\]: expected an importance or a pair"):
        prune({"w": W}, 0.5, importance={"w": (W, W, W)})


@pytest.mark.parametrize("function", [wkmeans, prune])
def test_importances_for_one_array(function):
    model, batches = network()
    importances = estimate(model, batches, objective="gradient")
    w = model[0].weight
    with pytest.raises(TypeError, match="importance: expected one array, got Importances, a map"):
        function(w, 1, importance=importances)
    with pytest.raises(TypeError, match=r"got \(Tensor, NoneType\); of a pair pass the first as"):
        function(w, 1, importance=importances["0.weight"])


def test_a_list_of_rows_is_one_importance():
    """Only a tuple is a pair of importance and quartic importance."""
    w = W[:2]
    rows = [np.abs(W[2]), np.full(40, 2.0, np.float32)]
    listed, stacked, paired = (
        compress({"w": w}, k=3, importances={"w": importance}, floor=0)["w"]
        for importance in (rows, np.stack(rows), tuple(rows))
    )
    np.testing.assert_array_equal(listed.dequantize(), stacked.dequantize())
    assert listed.cost == stacked.cost
    error = (w - paired.dequantize()).astype(np.float64)
    expected = np.sum(rows[0] * error**2 + rows[1] * error**4)
    assert paired.cost == pytest.approx(expected, rel=1e-6)
    tensors = compress(
        {"w": w}, k=3, importances={"w": [torch.from_numpy(row) for row in rows]}, floor=0
    )
    assert tensors["w"].cost == pytest.approx(listed.cost, rel=1e-12)
    with pytest.raises(ValueError, match=r"importances\['w'\]: .* got a tuple of 3"):
        compress({"w": w}, k=3, importances={"w": (w, w, w)})


def test_masked_counts():
    with pytest.raises(TypeError, match=r"counts: .* masked array"):
        rate.entropy_bits(np.ma.masked_array([1, 2], [True, False]))


def test_costs_beyond_float64_are_infinite_and_warn_of_nothing():
    tensor = compress({"w": 1e200 * W.astype(np.float64)}, k=4)["w"]
    assert tensor.cost == np.inf
    expected = compress({"w": W.astype(np.float64)}, k=4)["w"]
    np.testing.assert_array_equal(tensor.labels, expected.labels)
