"""`wkmeans.compress`: what it keeps, what it promises, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wkmeans
from wkmeans.compression import CompressedTensor, DenseTensor

for module in ("safetensors", "ml_dtypes", "rich"):
    pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[compress]'")
import ml_dtypes  # noqa: E402

DTYPES = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}


def network(seed=0, scale=1.0):
    """A small network's state dict, its layers of very different spread."""
    rng = np.random.default_rng(seed)
    return {
        "conv.weight": (scale * rng.standard_t(4, (16, 8, 3, 3))).astype(np.float32),
        "conv.bias": rng.standard_normal(16).astype(np.float32),
        "fc.weight": (0.03 * scale * rng.standard_normal((64, 150))).astype(np.float32),
        "norm.count": np.array(7, np.int64),
        "head.weight": (0.2 * rng.standard_t(3, (10, 64))).astype(np.float32),
    }


def assert_same(first, second):
    assert list(first) == list(second)
    for name, array in first.items():
        other = second[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape)
        assert array.tobytes() == other.tobytes()


@st.composite
def cases(draw):
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    shape = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.standard_t(3, shape)
    if draw(st.booleans()):
        values = np.round(values)
    options = {
        "k": draw(st.sampled_from([2, 3, 16, 300])),
        "granularity": draw(st.sampled_from(["tensor", "channel", 1, 5, 64])),
        "density": draw(st.sampled_from([None, 0.0, 0.4, 1.0])),
        "channel_scales": draw(st.booleans()),
        "coding": draw(st.sampled_from(["auto", "packed", "ans"])),
        "codebook_dtype": draw(st.sampled_from([None, "float32", "bfloat16", "int8"])),
    }
    return values.astype(DTYPES[dtype]), options


@settings(max_examples=80)
@given(case=cases())
def test_files_give_the_same_bits_back(case, tmp_path_factory):
    array, options = case
    model = {"w": array, "dense": np.arange(3), "empty": np.zeros((0, 2), np.float32)}
    before = array.tobytes()
    compressed = wkmeans.compress(model, include=["w", "empty"], **options)
    assert array.tobytes() == before
    path = tmp_path_factory.mktemp("round") / "model.safetensors"
    compressed.save(path)
    loaded = wkmeans.load(path)
    assert_same(compressed.state_dict(), loaded.state_dict())
    assert loaded.to_bytes() == path.read_bytes() == compressed.to_bytes()
    dense = loaded.state_dict()
    assert dense["w"].dtype == array.dtype and dense["w"].shape == array.shape
    report = compressed.report()
    assert report.bytes == path.stat().st_size
    tensor = compressed["w"]
    if isinstance(tensor, CompressedTensor):
        assert tensor.labels.max() < options["k"]
        error = array.astype(np.float64) - dense["w"].astype(np.float64)
        np.testing.assert_allclose(tensor.cost, (error**2).sum(), rtol=1e-9, atol=1e-300)
        if options["density"] is not None:
            assert np.count_nonzero(dense["w"]) <= round(options["density"] * array.size)
    else:
        assert tensor.reason == "would not be smaller"
        assert_same({"w": array}, {"w": dense["w"]})


def test_one_codebook_is_the_optimal_clustering():
    model = network()
    importance = {name: np.abs(array) + 0.1 for name, array in model.items() if array.ndim > 1}
    compressed = wkmeans.compress(model, k=6, importances=importance, floor=0)
    for name, weight in importance.items():
        best = wkmeans.wkmeans(model[name], 6, importance=weight)
        np.testing.assert_array_equal(compressed[name].dequantize(), best.dequantize())
        assert compressed[name].cost == pytest.approx(best.cost, rel=1e-9)


def test_channels_and_groups_have_codebooks_of_their_own():
    weights = network()["fc.weight"]
    (by_channel,) = wkmeans.compress({"w": weights}, k=4, granularity="channel").values()
    best = wkmeans.wkmeans(weights, 4, axis=1)
    np.testing.assert_array_equal(by_channel.dequantize(), best.dequantize())
    (by_group,) = wkmeans.compress({"w": weights}, k=4, granularity=40, min_size=1).values()
    dense = by_group.dequantize()
    for row, original in zip(dense, weights, strict=True):
        for start in range(0, 150, 40):  # the last group holds 30
            piece = slice(start, start + 40)
            best = wkmeans.wkmeans(original[piece], 4)
            np.testing.assert_array_equal(row[piece], best.dequantize())


def test_scaled_channels_minimise_the_cost_in_the_original_unit():
    rng = np.random.default_rng(3)
    weights = (rng.standard_normal((40, 200)) * np.geomspace(1e-3, 1, 40)[:, None]).astype("f4")
    importance = 1 / (weights**2).mean(axis=1, keepdims=True)
    cost = {
        scaled: wkmeans.compress(
            {"w": weights}, k=8, importances={"w": importance}, channel_scales=scaled
        )["w"].cost
        for scaled in (False, True)
    }
    assert cost[True] < 0.2 * cost[False]


def test_density_is_exact_with_one_zero_codeword():
    model = network()
    compressed = wkmeans.compress(model, k=5, density=0.3)
    for name, tensor in compressed.items():
        if isinstance(tensor, CompressedTensor):
            mask = wkmeans.prune(model[name], 0.3)
            np.testing.assert_array_equal(tensor.dequantize() != 0, mask)
            assert (tensor.codebook == 0).sum() == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "optimal"},
        {"granularity": "channel"},
        {"channel_scales": True},
        {"density": 0.5},
        {"coding": "packed"},
    ],
)
@pytest.mark.parametrize("target", [7000, 12000])
def test_targets_are_never_exceeded(options, target):
    model = network()
    size = len(wkmeans.compress(model, target_bytes=target, **options).to_bytes())
    assert size <= target
    if not options or "channel_scales" in options:
        assert size >= 0.99 * target


def small_layers():
    rng = np.random.default_rng(0)
    shapes = {"a": (64, 32), "b": (48, 64), "c": (10, 48), "bias": (64,)}
    return {n: rng.uniform(-1, 1, shape).astype(np.float32) for n, shape in shapes.items()}


def test_small_networks_use_the_size_too():
    """Where one price for all tensors goes by jumps, tensors are chosen one by one."""
    reports = [
        wkmeans.compress(small_layers(), target_bits_per_weight=tenths / 10).report()
        for tenths in range(18, 32, 2)
    ]
    for report in reports:
        assert 0.95 * report.target_bytes <= report.bytes <= report.target_bytes
        assert (report.not_used > 0) == ("not used" in report.summary())
    costs = [report.cost for report in reports]
    assert costs == sorted(costs, reverse=True)


def test_what_is_not_finite_in_a_file_takes_its_share_of_the_size(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    mask = np.triu(np.full((16, 16), -np.inf, np.float32), 1)
    save_file({**small_layers(), "mask": mask}, tmp_path / "model.safetensors")
    for bits in (2.6, 4.0):
        report = wkmeans.compress(
            tmp_path / "model.safetensors", target_bits_per_weight=bits
        ).report()
        assert 0.9 * report.target_bytes <= report.bytes <= report.target_bytes


def test_a_size_that_what_stays_dense_exceeds():
    with pytest.raises(ValueError, match=r"expected at least .* bytes for the file"):
        wkmeans.compress(small_layers(), target_bits_per_weight=3, include=["a", "bias"])


def test_bits_per_weight_count_the_whole_file():
    report = wkmeans.compress(network(), target_bits_per_weight=5).report()
    assert 0.99 * 5 <= report.bits_per_weight <= 5


@pytest.mark.parametrize("solver", ["optimal", "entropy-constrained"])
def test_one_slope_beats_one_k(solver):
    model = network(scale=0.3)
    rng = np.random.default_rng(1)
    importances = {
        name: np.exp(rng.normal(3 * i, 1, array.shape))
        for i, (name, array) in enumerate(model.items())
        if array.ndim > 1
    }
    for k in (4, 8, 16):
        uniform = wkmeans.compress(model, k=k, importances=importances).report()
        shared = wkmeans.compress(
            model, target_bytes=uniform.bytes, importances=importances, solver=solver
        ).report()
        assert shared.bytes <= uniform.bytes and shared.cost < uniform.cost


def test_unreachable_targets_name_the_least():
    with pytest.raises(ValueError, match="target_bytes, target_bits_per_weight: expected at least"):
        wkmeans.compress(network(), target_bytes=300)


def test_reasons_to_stay_dense():
    model = {**network(), "tiny": np.ones((2, 3), np.float32), "e": np.zeros((0, 4), np.float32)}
    importances = {name: np.ones(()) for name in model if name != "head.weight"}
    compressed = wkmeans.compress(
        model, k=4, exclude="conv.w*", importances=importances, dense_dtype="float16"
    )
    reasons = {n: t.reason for n, t in compressed.items() if isinstance(t, DenseTensor)}
    assert reasons == {
        "conv.weight": "excluded by 'conv.w*'",
        "conv.bias": "a bias, a norm or another vector",
        "norm.count": "not floating point (int64)",
        "head.weight": "the importances do not name it",
        "tiny": "fewer than 64 weights",
        "e": "empty",
    }
    assert compressed["conv.bias"].values.dtype == np.float16
    assert compressed.state_dict()["conv.bias"].dtype == np.float32
    printed = str(compressed.report())
    assert "excluded by" in printed and "times smaller" in printed


def test_a_dtype_that_would_overflow_is_not_used():
    model = {"b": np.array([1e30, 1.0], np.float32)}
    (tensor,) = wkmeans.compress(model, k=2, dense_dtype="float16").values()
    assert tensor.values.dtype == np.float32 and "would overflow" in tensor.reason


def test_constant_tensors_and_more_codewords_than_values():
    model = {"c": np.full((30, 30), 0.5, np.float32), "b": np.eye(40, dtype=np.float32)}
    for granularity in ("tensor", "channel", 7):
        compressed = wkmeans.compress(model, k=200, granularity=granularity)
        assert_same(model, compressed.state_dict())
    assert wkmeans.compress(model, k=200).report().bytes < 1200


def test_tied_arrays_are_stored_once():
    model = network()
    once = wkmeans.compress(model, k=8)
    model["tied"] = model["fc.weight"]
    twice = wkmeans.compress(model, k=8)
    assert twice.aliases == {"tied": "fc.weight"} and len(twice) == len(once) + 1
    assert len(twice.to_bytes()) - len(once.to_bytes()) < 100
    dense = twice.state_dict()
    assert dense["tied"] is dense["fc.weight"]


def test_a_million_weights_take_their_entropy():
    weights = np.random.default_rng(0).standard_normal((1000, 1000)).astype(np.float32)
    for options in ({"k": 16}, {"k": 256}, {"target_bytes": 300_000}):
        report = wkmeans.compress({"w": weights}, **options).report()
        (row,) = report.tensors
        assert report.bytes <= row.entropy_bits * 1e6 / 8 + 4 * row.k + 1024


def test_the_report_as_json():
    compressed = wkmeans.compress(network(), bits=3, evaluate=lambda state: len(state))
    report = json.loads(compressed.report().to_json())
    assert report["metric_before"] == report["metric_after"] == 5
    rows = [row for row in report["tensors"] if row["reason"] is None]
    assert sum(row["cost_share"] for row in rows) == pytest.approx(1)
    for row in rows:
        assert row["entropy_bits"] <= row["huffman_bits"] <= row["shannon_bits"]
        assert row["huffman_bits"] <= row["fixed_bits"] == 3.0
    total = sum(row["bytes"] for row in report["tensors"]) + report["container_bytes"]
    assert total == report["bytes"] == len(compressed.to_bytes())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of bits, k, target_bytes, target_bits_per_weight, got none"),
        ({"k": 3, "bits": 2}, "got bits, k"),
        ({"k": 0}, "k: expected 1 to 65536, got 0"),
        ({"bits": 17}, "bits: expected 1 to 16, got 17"),
        ({"k": 1, "density": 0.5}, "k: expected 2 to 65536, got 1"),
        ({"k": 2, "density": 1.5}, "density: expected 0 to 1, got 1.5"),
        ({"k": 2, "granularity": 0}, "group of at least 1 weight, got 0"),
        ({"k": 2, "granularity": "row"}, "got 'row'"),
        ({"k": 2, "coding": "zip"}, "coding: expected"),
        ({"k": 2, "dense_dtype": "int8"}, "dense_dtype: expected"),
        ({"k": 2, "codebook_dtype": "int4"}, "codebook_dtype: expected"),
        ({"k": 2, "solver": "entropy-constrained"}, "solver: expected 'optimal' with bits or k"),
        ({"target_bits_per_weight": 0}, "target_bits_per_weight: expected a positive number"),
        ({"k": 2, "importances": {"x": np.ones(3)}}, "importances: the model has no tensor 'x'"),
        ({"k": 2, "importances": {"fc.weight": np.ones(7)}}, "fc.weight: importance: expected a"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError) as error:
        wkmeans.compress(network(), **options)
    assert message in str(error.value)


def test_bad_values_name_the_tensor_and_where():
    model = network()
    model["fc.weight"][3, 4] = np.nan
    for options in ({"k": 4}, {"target_bytes": 9000}):
        with pytest.raises(ValueError, match=r"fc\.weight: weights: .*finite.*\(3, 4\)"):
            wkmeans.compress(model, **options)


def test_a_model_of_no_tensors():
    with pytest.raises(ValueError, match="model: expected at least one tensor, got none"):
        wkmeans.compress({}, bits=3)


def test_other_kinds_of_model():
    with pytest.raises(TypeError, match="a state dict or paths of safetensors files"):
        wkmeans.compress(3, k=2)
    with pytest.raises(TypeError, match="numeric array"):
        wkmeans.compress({"w": np.array(["a"])}, k=2)


def test_modules():
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(40, 40), torch.nn.BatchNorm1d(40), torch.nn.Linear(40, 40, bias=False)
    ).to(torch.bfloat16)
    model[2].weight = model[0].weight
    inputs = torch.randn(5, 40, dtype=torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def outputs(net):
        with torch.no_grad():
            return float(net.eval()(inputs).float().sum())

    compressed = wkmeans.compress(model, bits=4, evaluate=outputs)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert compressed.aliases == {"2.weight": "0.weight"}
    report = compressed.report()
    assert compressed.apply_to(model) is model
    assert outputs(model) == report.metric_after != report.metric_before
    assert model[0].weight.unique().numel() == 16 and model[2].weight is model[0].weight
    assert compressed.state_dict("numpy")["0.weight"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("argument", ["include", "exclude"])
@pytest.mark.parametrize("patterns", [3, [3], [None, "w"]])
def test_patterns_that_are_no_strings_are_refused(argument, patterns):
    model = {"w": np.random.default_rng(1).standard_normal((8, 16)).astype(np.float32)}
    with pytest.raises(TypeError, match=f"{argument}: expected patterns that are strings"):
        wkmeans.compress(model, bits=2, **{argument: patterns})
