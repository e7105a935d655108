"""What clusterings know beside their centroids and labels: the gap, k, other weights' labels."""

import math

import numpy as np
import pytest
import torch
from checks import label_dtype

import wkmeans
from wkmeans import Clustering, Quantized, compress, entropy_constrained
from wkmeans import wkmeans as cluster
from wkmeans._kernels.formats import FORMATS


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def clustering(cost, lower_bound, axis=None):
    return Clustering(np.zeros(2, np.float32), np.zeros(3, np.uint8), cost, lower_bound, 1, axis)


@pytest.mark.parametrize(
    ("cost", "lower_bound", "gap"),
    [(3.0, 2.0, 0.5), (2.0, 2.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, math.inf), (1.0, None, None)],
)
def test_gap(cost, lower_bound, gap):
    assert clustering(cost, lower_bound).gap == gap
    if lower_bound is not None:
        rows = clustering(np.array([cost, 3.0]), np.array([lower_bound, 2.0]), 1)
        np.testing.assert_array_equal(rows.gap, [gap, 0.5])
        tensors = clustering(torch.tensor([cost]), torch.tensor([lower_bound]), 1)
        assert tensors.gap.tolist() == [gap]


def test_gaps_of_solvers():
    w = normal(5000)
    assert 0 <= cluster(w, 16).gap < 1e-9
    assert cluster(w, 16, solver="lloyd").gap is None
    certified = cluster(w, 16, solver="lloyd", certify=True)
    assert certified.gap == pytest.approx(certified.cost / cluster(w, 16).cost - 1, rel=1e-6)
    assert cluster(w.reshape(50, 100), 4, axis=0).gap.shape == (100,)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("k", [1, 7, 300])
def test_labels_of_the_same_weights_are_the_same(k, axis):
    w = normal(12, 31, 40)
    result = cluster(w, k, axis=axis)
    labels = result.labels_for(w)
    assert labels.dtype == result.labels.dtype == label_dtype(k)
    np.testing.assert_array_equal(labels, result.labels)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("name", FORMATS)
def test_labels_in_every_format(name, library):
    w = normal(4, 500)
    result = cluster(
        w if library == "numpy" else torch.from_numpy(w), 9, axis=1, centroid_dtype=name
    )
    others = 3 * normal(4, 70, seed=1)
    labels = result.labels_for(others)
    values = (
        np.asarray(result.centroid_values())
        if library == "numpy"
        else (result.centroid_values().double().numpy())
    )
    distances = np.abs(others[..., np.newaxis].astype(np.float64) - values[:, np.newaxis, :])
    np.testing.assert_array_equal(labels, distances.argmin(-1))  # the first of equals


def test_ties_go_to_the_lower_centroid():
    result = cluster([0.0, 0.0, 2.0, 2.0, 4.0], 3)
    np.testing.assert_array_equal(result.labels_for([1.0, 3.0, -9.0, 9.0]), [0, 1, 0, 2])


def test_surplus_centroids_get_no_labels():
    result = cluster([1.0, 2.0], 5)
    np.testing.assert_array_equal(result.labels_for([2.0, 100.0, 0.0]), [1, 1, 0])
    rows = torch.tensor([[1.0, 2.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    labels = cluster(rows, 3, axis=1).labels_for(rows + 9)
    np.testing.assert_array_equal(labels.numpy(), [[1] * 4, [2] * 4])


def test_few_new_weights():
    result = cluster([0.0, 1.0, 5.0], 3)
    assert [int(result.labels_for([w])[0]) for w in (-3.0, 0.6, 2.9, 3.1)] == [0, 1, 1, 2]
    assert result.labels_for(5.0).shape == ()


@pytest.mark.parametrize("k", [5, 300])
def test_labels_follow_the_kind_of_the_new_weights(k):
    w = normal(1000)
    result = cluster(w, k)
    tensor = result.labels_for(torch.from_numpy(w))
    assert tensor.dtype == (torch.uint8 if k <= 256 else torch.int32)
    np.testing.assert_array_equal(tensor.numpy(), result.labels)
    back = cluster(torch.from_numpy(w), k).labels_for(w)
    assert isinstance(back, np.ndarray)
    np.testing.assert_array_equal(back, result.labels)
    halves = torch.from_numpy(w).bfloat16()
    np.testing.assert_array_equal(
        result.labels_for(halves).numpy(), result.labels_for(halves.float().numpy())
    )


def test_labels_for_changes_nothing():
    w, others = normal(100), normal(10, seed=1)
    result = cluster(w, 4)
    kept, labels = others.copy(), result.labels.copy()
    np.testing.assert_array_equal(
        result.labels_for(others, n_threads=1), result.labels_for(others, n_threads=3)
    )
    np.testing.assert_array_equal(others, kept)
    np.testing.assert_array_equal(result.labels, labels)


@pytest.mark.parametrize(
    ("new_weights", "error", "message"),
    [
        (np.zeros((3, 9)), ValueError, r"^new_weights: expected shape \(4, any\), got \(3, 9\)"),
        (np.zeros(4), ValueError, r"^new_weights: expected shape \(4, any\), got \(4,\)"),
        (np.zeros((4, 9, 1)), ValueError, r"^new_weights: expected shape \(4, any\)"),
        (np.zeros((4, 0)), ValueError, "^new_weights: expected at least one value"),
        (np.full((4, 1), np.nan), ValueError, r"^new_weights: .* nan at index \(0, 0\)"),
        (np.zeros((4, 1), int), TypeError, "^new_weights: expected dtype float16, .* got int"),
    ],
)
def test_bad_new_weights(new_weights, error, message):
    result = cluster(normal(4, 50), 3, axis=1)
    with pytest.raises(error, match=message):
        result.labels_for(new_weights)


def test_one_base_for_labels_into_codebooks():
    w = normal(40, 50)
    results = [
        cluster(w, 5),
        cluster(w, 5, axis=0, centroid_dtype="float16"),
        entropy_constrained(w, k=5, multiplier=1e-9),
        compress({"w": w}, k=5)["w"],
        wkmeans.export.IndexedTensor.of_clustering(cluster(w, 5)),
    ]
    for result in results:
        assert isinstance(result, Quantized)
        assert result.k == 5
        assert result.centroid_values().shape[-1] == 5
        dense = result.dequantize()
        assert dense.shape == result.labels.shape == w.shape
        assert np.unique(dense).size <= 5 * result.n_codebooks
    assert [result.codebook_dtype for result in results] == [
        *("float32", "float16", "float64", "float32", "float32")
    ]
    assert [result.n_codebooks for result in results] == [1, 50, 1, 1, 1]


def test_the_scale_of_int8_is_in_the_values():
    result = cluster(normal(500), 9, centroid_dtype="int8")
    assert result.codebook_dtype == "int8"
    np.testing.assert_array_equal(result.centroid_values(), result.centroids * result.scale)
    np.testing.assert_array_equal(result.centroid_values()[result.labels], result.dequantize())


def test_dequantizing_entropy_constrained_codebooks():
    w = normal(500)
    result = entropy_constrained(w, k=9, multiplier=1e-3)
    np.testing.assert_array_equal(result.dequantize(), result.centroids[result.labels])
    tensor = entropy_constrained(torch.from_numpy(w), k=9, multiplier=1e-3)
    np.testing.assert_array_equal(tensor.dequantize().numpy(), result.dequantize())


def test_short_repr():
    w = np.repeat(np.float32([[1, 2, 4, 8]]), 300, axis=0)
    model = compress({"w": w, "b": w[0]}, k=3)
    indexed = wkmeans.export.IndexedTensor.of_clustering(cluster(w, 4))
    torch_rows = cluster(torch.from_numpy(w), 2, axis=1)
    assert [repr(each) for each in (cluster(w, 4), torch_rows, indexed)] == [
        "Clustering(shape=(300, 4), cost=0, gap=0, k=4, codebook_dtype='float32')",
        f"Clustering(shape=(300, 4), axis=1, cost=1400, gap={torch_rows.gap.max():.6g}, "
        "n_codebooks=300, k=2, codebook_dtype='float32')",
        "IndexedTensor(shape=(300, 4), k=4, codebook_dtype='float32')",
    ]
    assert repr(entropy_constrained(w, k=4, multiplier=0.0)) == (
        "EntropyConstrained(shape=(300, 4), cost=0, bits=2400, k=4, codebook_dtype='float64')"
    )
    assert repr(model["w"]).startswith("CompressedTensor(shape=(300, 4), dtype='float32', ")
    assert repr(model["b"]) == (
        "DenseTensor(shape=(4,), dtype='float32', reason='a bias, a norm or another vector')"
    )


def test_plot_is_an_attribute():
    pytest.importorskip("matplotlib")
    assert callable(wkmeans.plot.codebook)
