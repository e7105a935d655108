"""Exports against what the consumer makes of them, where it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrize as torch_parametrize  # noqa: E402
from torch.nn.utils import prune as torch_prune  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.export import (  # noqa: E402
    IndexedTensor,
    indexed_tensors,
    parametrize,
    recompressed,
    to_coreml_buffers,
    to_onnx,
    to_prune_state_dict,
)
from wkmeans.export._compressed import indexed  # noqa: E402

SHAPE = (6, 10)


def one_codebook(k=5, dtype=np.float32, shape=SHAPE):
    rng = np.random.default_rng(k)
    codes = rng.integers(0, k, shape).astype(np.uint8 if k <= 256 else np.uint16)
    return IndexedTensor(codes, np.sort(rng.normal(size=(1, k))).astype(dtype))


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
    return IndexedTensor(tensor.codes, tensor.codebooks, scale=scale)


def with_a_zero():
    tensor = one_codebook(5)
    codebooks = tensor.codebooks.copy()
    codebooks[0, 2] = 0.0
    return IndexedTensor(tensor.codes, codebooks)


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
    model[0].weight.data = torch.from_numpy(tensor.dense().astype(np.float32))
    return model


def assert_same(actual, expected):
    for part in ("codes", "codebooks", "groups", "scale"):
        a, b = getattr(actual, part), getattr(expected, part)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


# --- IndexedTensor ----------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("centroid_dtype", [None, "int8", "bfloat16"])
@pytest.mark.parametrize("as_torch", [False, True])
def test_a_clustering_as_indexed_tensor(axis, centroid_dtype, as_torch):
    weights = np.random.default_rng(0).normal(size=(5, 4, 6)).astype(np.float32)
    clustering = wkmeans.wkmeans(
        torch.from_numpy(weights) if as_torch else weights,
        3,
        axis=axis,
        centroid_dtype=centroid_dtype,
    )
    dense = clustering.dequantize()
    dense = dense.float().numpy() if as_torch else np.asarray(dense, np.float32)
    np.testing.assert_array_equal(IndexedTensor.of_clustering(clustering).dense(), dense)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"codes": np.zeros(3, np.int64)}, TypeError, "codes: expected unsigned integers"),
        ({"codes": np.full(3, 2, np.uint8)}, ValueError, "codes: expected less than k = 2, got 2"),
        ({"codebooks": np.zeros(2)}, ValueError, r"codebooks: expected shape \(n, k\)"),
        ({"codebooks": np.zeros((2, 2))}, ValueError, "groups: expected an index"),
        ({"groups": np.ones(3, int)}, ValueError, "groups: expected 0 to 0, got 1 to 1"),
        ({"groups": np.zeros(2, int)}, ValueError, r"groups: expected a shape that broadcasts"),
        ({"scale": np.ones((3, 1))}, ValueError, r"scale: expected a shape that broadcasts"),
    ],
)
def test_tensors_that_cannot_be(arguments, error, message):
    good = {"codes": np.zeros(3, np.uint8), "codebooks": np.zeros((1, 2))}
    with pytest.raises(error, match=message):
        IndexedTensor(**{**good, **arguments})


def compressed(granularity="tensor", codebook=np.float32, scales=False, shape=(4, 3, 2, 2)):
    pytest.importorskip("constriction")
    from wkmeans.compression._layout import layout_of
    from wkmeans.compression._tensor import compressed_tensor

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


@each_compression
def test_a_compressed_tensor_as_indexed_tensor(options):
    tensor = compressed(**options)
    np.testing.assert_array_equal(indexed({"w": tensor})["w"].dense(), tensor.dequantize())


@each_compression
def test_a_tuned_codebook_goes_back_into_its_compressed_tensor(options):
    tensor = compressed(**options)
    model = nn.Module()
    model.register_parameter("w", nn.Parameter(torch.zeros(tensor.shape)))
    parametrize(model, {"w": tensor})
    # An int8 codebook is scaled anew, to the largest of its codewords.
    close = {"rtol": 1e-2, "atol": 1e-7 if tensor.codebook_scale is None else 0.02}
    same = recompressed(tensor, indexed_tensors(model)["w"])
    np.testing.assert_allclose(same.dequantize(), tensor.dequantize(), **close)
    with torch.no_grad():  # and in another order
        model.parametrizations.w.original.neg_()
    turned = recompressed(tensor, indexed_tensors(model)["w"])
    np.testing.assert_allclose(turned.dequantize(), -tensor.dequantize(), **close)
    assert np.all(np.diff(turned.codebook.astype(np.float64)) >= 0)
    assert turned.codebook.dtype == tensor.codebook.dtype


def test_dense_tensors_stay_and_others_are_refused():
    from wkmeans.compression import DenseTensor

    assert indexed({"b": DenseTensor(np.zeros(3), "float64", "a bias")}) == {}
    with pytest.raises(TypeError, match=r"tensors\['w'\]: expected a compressed tensor"):
        indexed({"w": np.zeros(3)})


# --- parametrize ------------------------------------------------------------------------------


@each_tensor
def test_parametrized_weights_are_the_dense_ones(tensor):
    model = parametrize(small_model(), {"0.weight": tensor})
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), tensor.dense())
    assert_same(indexed_tensors(model)["0.weight"], tensor)


@each_tensor
def test_a_codebooks_gradient_is_the_sum_over_its_weights(tensor):
    model = parametrize(small_model().double(), {"0.weight": tensor})
    dense = dense_model(tensor).double()
    dense[0].weight.data = model[0].weight.detach().clone()
    x = torch.randn(8, SHAPE[1], dtype=torch.float64)
    model(x).square().sum().backward()
    dense(x).square().sum().backward()
    gradient = dense[0].weight.grad.numpy()
    if tensor.scale is not None:
        gradient = gradient * tensor.scale
    groups = 0 if tensor.groups is None else tensor.groups
    expected = np.zeros(tensor.codebooks.shape)
    np.add.at(expected, (np.broadcast_to(groups, tensor.shape), tensor.codes), gradient)
    expected[tensor.codebooks == 0] = 0
    codebook = model[0].parametrizations.weight.original
    np.testing.assert_allclose(codebook.grad.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_gradients_of_gradients():
    tensor = one_codebook()
    model = parametrize(small_model().double(), {"0.weight": tensor})
    codebook = model[0].parametrizations.weight.original

    def loss(values):
        weight = model[0].parametrizations.weight[0](values)
        return weight.pow(3).sum()

    assert torch.autograd.gradcheck(loss, codebook)
    assert torch.autograd.gradgradcheck(loss, codebook)


def test_sums_of_many_single_precision_gradients():
    n = 1_000_000
    tensor = IndexedTensor(np.zeros((1, n), np.uint8), np.ones((1, 1), np.float32))
    layer = parametrize(nn.Linear(n, 1, bias=False), {"weight": tensor})
    layer(torch.full((1, n), 0.1)).sum().backward()
    gradient = layer.parametrizations.weight.original.grad.item()
    assert gradient == np.float32(n * float(np.float32(0.1)))


def test_fine_tuning_lowers_the_loss_and_keeps_zeros():
    tensor = with_a_zero()
    model = parametrize(small_model(), {"0.weight": tensor})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    x, y = torch.randn(32, SHAPE[1]), torch.randn(32, 3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    tuned = indexed_tensors(model)["0.weight"]
    assert np.any(tuned.codebooks != tensor.codebooks)
    np.testing.assert_array_equal(tuned.codebooks == 0, tensor.codebooks == 0)
    np.testing.assert_array_equal(tuned.dense(), model[0].weight.detach().numpy())


def test_weight_decay_does_not_touch_zeros_nor_codes_move(tmp_path):
    tensor = with_a_zero()
    model = parametrize(small_model(), {"0.weight": tensor})
    torch.save(model.state_dict(), tmp_path / "model.pt")
    fresh = parametrize(small_model(), {"0.weight": one_codebook(5)})
    fresh.load_state_dict(torch.load(tmp_path / "model.pt"))
    assert_same(indexed_tensors(fresh)["0.weight"], tensor)


def test_saved_small(tmp_path):
    n = 200_000
    tensor = IndexedTensor(np.zeros((1, n), np.uint8), np.ones((1, 16), np.float32))
    layer = parametrize(nn.Linear(n, 1), {"weight": tensor})
    torch.save(layer.state_dict(), tmp_path / "model.pt")
    assert (tmp_path / "model.pt").stat().st_size < n + 10_000


def test_back_to_a_dense_layer():
    tensor = scaled_rows()
    model = parametrize(small_model(), {"0.weight": tensor})
    torch_parametrize.remove_parametrizations(model[0], "weight")
    assert type(model[0]) is nn.Linear
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), tensor.dense())
    assert indexed_tensors(model) == {}


def test_tied_parameters_share_one_codebook():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(*SHAPE)
            self.head = nn.Linear(SHAPE[1], SHAPE[0], bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, index):
            return self.head(self.embedding(index))

    tensor = one_codebook()
    for names in (["embedding.weight"], ["head.weight"], ["embedding.weight", "head.weight"]):
        model = parametrize(Tied(), dict.fromkeys(names, tensor))
        assert len(list(model.parameters())) == 1
        model(torch.tensor([0, 1])).sum().backward()
        assert list(indexed_tensors(model)) == ["embedding.weight"]
        np.testing.assert_array_equal(model.head.weight.detach(), model.embedding.weight.detach())
    with pytest.raises(ValueError, match=r"tensors\['head.weight'\]: another tensor is given"):
        parametrize(Tied(), {"embedding.weight": tensor, "head.weight": one_codebook(3)})


def test_frozen_and_half_precision_parameters():
    model = small_model().bfloat16()
    model[0].weight.requires_grad_(False)
    parametrize(model, {"0.weight": one_codebook()})
    codebook = model[0].parametrizations.weight.original
    assert codebook.dtype == torch.bfloat16 and not codebook.requires_grad


def test_another_weight_cannot_be_assigned():
    model = parametrize(small_model(), {"0.weight": one_codebook()})
    with pytest.raises(RuntimeError, match="compress the new weight"):
        model[0].weight = torch.zeros(SHAPE)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"5.weight": one_codebook()},
            "names of the model's parameters or buffers, got '5.weight'",
        ),
        ({"2.weight": one_codebook()}, r"tensors\['2.weight'\]: expected shape \(3, 6\)"),
    ],
)
def test_tensors_that_are_not_the_models(tensors, message):
    model = small_model()
    with pytest.raises(ValueError, match=message):
        parametrize(model, {"0.weight": one_codebook(), **tensors})
    assert not torch_parametrize.is_parametrized(model[0]), "checked before anything changes"


class Tied(nn.Module):
    """Tied weights, a buffer that is compressed as well, a bias."""

    def __init__(self):
        super().__init__()
        self.register_buffer("positions", torch.randn(16, 12))
        self.embedding = nn.Embedding(20, 12)
        self.head = nn.Linear(12, 20)
        self.head.weight = self.embedding.weight

    def forward(self, index):
        return self.head(self.embedding(index) + self.positions[index % 16])


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 3},
        {"k": 5, "granularity": "channel", "channel_scales": True},
        {"k": 4, "density": 0.5},
        {"target_bits_per_weight": 24.0},
    ],
    ids=str,
)
def test_a_compressed_model_fine_tuned_and_compressed_again(options, tmp_path):
    pytest.importorskip("constriction")
    torch.manual_seed(0)
    compressed = wkmeans.compress(Tied(), **options)
    dense, model = compressed.apply_to(Tied()), compressed.parametrize(Tied())
    index = torch.arange(20)
    torch.testing.assert_close(model(index), dense(index))
    assert len(list(model.parameters())) == 2, "one codebook for the tied weights, and the bias"

    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(index).square().mean().backward()
        optimizer.step()
    compressed.tuned(model).save(tmp_path / "tuned")
    loaded = wkmeans.load(tmp_path / "tuned")
    again = loaded.apply_to(Tied())
    torch.testing.assert_close(again(index), model(index))
    assert not torch.equal(again.embedding.weight, dense.embedding.weight)
    assert torch.equal(again.embedding.weight == 0, dense.embedding.weight == 0)
    assert (loaded["head.weight"].codes == loaded["embedding.weight"].codes).all()


def test_a_model_that_was_not_parametrized_has_no_codebooks():
    pytest.importorskip("constriction")
    compressed = wkmeans.compress(Tied(), bits=2)
    with pytest.raises(ValueError, match="model: expected one that parametrize"):
        compressed.tuned(Tied())


# --- ONNX -------------------------------------------------------------------------------------


def onnx_of(model, opset):
    """x @ W0' + b0, ReLU, x @ W1' + b1, as an exporter names things."""
    onnx = pytest.importorskip("onnx")
    make, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes = [
        make.make_node("Gemm", ["x", "0.weight", "0.bias"], ["a"], transB=1),
        make.make_node("Relu", ["a"], ["b"]),
        make.make_node("Gemm", ["b", "2.weight", "2.bias"], ["y"], transB=1),
    ]
    initializers = [
        numpy_helper.from_array(value.numpy(), name) for name, value in model.state_dict().items()
    ]
    float_ = onnx.TensorProto.FLOAT
    graph = make.make_graph(
        nodes,
        "model",
        [make.make_tensor_value_info("x", float_, ["n", SHAPE[1]])],
        [make.make_tensor_value_info("y", float_, ["n", 3])],
        initializers,
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid("", opset)], ir_version=10)


def run_onnx(proto, x):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@each_tensor
@pytest.mark.parametrize("opset", [17, 21])
def test_onnx_in_its_runtime(tensor, opset):
    onnx = pytest.importorskip("onnx")
    x = np.random.default_rng(0).normal(size=(4, SHAPE[1])).astype(np.float32)
    dense = onnx_of(dense_model(tensor), opset)
    indexed = to_onnx(onnx_of(small_model(), opset), {"0.weight": tensor})
    onnx.checker.check_model(indexed, full_check=True)
    np.testing.assert_array_equal(run_onnx(indexed, x), run_onnx(dense, x))


@pytest.mark.parametrize(("k", "bits"), [(16, 4), (17, 8), (256, 8)])
def test_onnx_is_small(k, bits):
    pytest.importorskip("onnx")
    model = nn.Sequential(nn.Linear(1000, 60), nn.ReLU(), nn.Linear(60, 3))
    tensor = one_codebook(k, shape=(60, 1000))
    before = onnx_of(model, 21)
    after = to_onnx(before, {"0.weight": tensor})
    saved = before.ByteSize() - after.ByteSize()
    assert saved >= 60_000 * (32 - bits) / 8 - 4 * k - 500
    assert before.graph.initializer[0].name == "0.weight", "the model given is intact"


def test_onnx_finds_renamed_and_transposed_initializers():
    onnx = pytest.importorskip("onnx")
    tensor = a_codebook_a_row()
    proto = onnx_of(dense_model(tensor), 21)
    weight = next(i for i in proto.graph.initializer if i.name == "0.weight")
    weight.CopyFrom(
        onnx.numpy_helper.from_array(np.ascontiguousarray(tensor.dense().T), "onnx::MatMul_7")
    )
    gemm = proto.graph.node[0]
    gemm.input[1] = "onnx::MatMul_7"
    gemm.attribute[0].i = 0
    x = np.random.default_rng(0).normal(size=(4, SHAPE[1])).astype(np.float32)
    np.testing.assert_array_equal(
        run_onnx(to_onnx(proto, {"0.weight": tensor}), x), run_onnx(proto, x)
    )


def test_onnx_of_torchs_own_exporter(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript", reason="torch.onnx.export needs onnxscript")
    tensor = with_a_zero()
    path = tmp_path / "model.onnx"
    export = (
        "import sys, numpy as np, torch; sys.path.insert(0, sys.argv[2])\n"
        "from test_export import *\n"
        "torch.onnx.export(dense_model(with_a_zero()), (torch.zeros(2, 10),), sys.argv[1],\n"
        "                  input_names=['x'], dynamo=True, external_data=False)\n"
    )
    # In its own process: the exporter warns of itself.
    ran = subprocess.run(
        [sys.executable, "-c", export, str(path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    import onnx

    proto = onnx.load(path)
    indexed = to_onnx(proto, {"0.weight": tensor})
    x = np.random.default_rng(0).normal(size=(2, SHAPE[1])).astype(np.float32)
    np.testing.assert_array_equal(run_onnx(indexed, x), run_onnx(proto, x))


def test_onnx_names_what_it_does_not_find():
    pytest.importorskip("onnx")
    proto = onnx_of(small_model(), 21)
    with pytest.raises(ValueError, match=r"got '5\.weight'"):
        to_onnx(proto, {"5.weight": one_codebook()})
    with pytest.raises(ValueError, match=r"tensors\['2.weight'\]: expected shape \(3, 6\)"):
        to_onnx(proto, {"2.weight": one_codebook()})


# --- Core ML ----------------------------------------------------------------------------------

CONVERT = """
import sys
import warnings

warnings.simplefilter("ignore")
try:
    import coremltools as ct
    from coremltools.optimize._utils import lut_to_dense
except ImportError as error:
    print("SKIP", error)
    raise SystemExit
import numpy as np
sys.path.insert(0, sys.argv[1])
from test_export import *

def converted(tensor):
    model = dense_model(tensor)
    for name, buffer in to_coreml_buffers({"0.weight": tensor}).items():
        module, _, own = name.rpartition(".")
        model.get_submodule(module).register_buffer(own, buffer)
    program = ct.convert(
        torch.jit.trace(model, torch.zeros(2, SHAPE[1])),
        inputs=[ct.TensorType(shape=(2, SHAPE[1]))],
        convert_to="milinternal",
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS18,
    )
    operations = program.functions["main"].operations
    (table,) = [op for op in operations if op.op_type == "constexpr_lut_to_dense"]
    lut = table.lut.val if table.lut.val is not None else table.lut.op.materialized_val_inference()
    return lut_to_dense(table.indices.val, lut, None)

for name in sys.argv[2:]:
    tensor = TENSORS[name]()
    np.testing.assert_allclose(converted(tensor), tensor.dense(), rtol=1e-6, err_msg=name)
print("DONE")
"""


def test_coreml_converts_look_up_tables():
    """coremltools in its own process: it warns of this torch and imports all it knows."""
    names = [name for name in TENSORS if name != "beyond a byte"]
    ran = subprocess.run(
        [sys.executable, "-c", CONVERT, str(Path(__file__).parent), *names],
        capture_output=True,
        text=True,
        check=False,
    )
    if "SKIP" in ran.stdout:
        pytest.skip(f"coremltools: {ran.stdout.strip()}")
    assert "DONE" in ran.stdout, ran.stderr


def test_coreml_buffers():
    buffers = to_coreml_buffers({"layer.weight": a_codebook_a_row(), "top": one_codebook(5)})
    assert set(buffers) == {
        "_COREML_/metadata_version",
        "layer._COREML_/weight/lut",
        "layer._COREML_/weight/compression_type",
        "_COREML_/top/lut",
        "_COREML_/top/compression_type",
    }
    assert buffers["layer._COREML_/weight/lut"].shape == (6, 1, 4, 1)
    assert buffers["_COREML_/top/lut"].shape == (1, 1, 8, 1)


def test_what_coreml_cannot_hold():
    with pytest.raises(ValueError, match="Core ML takes up to 256 entries, got 300"):
        to_coreml_buffers({"weight": one_codebook(300)})


# --- torch.nn.utils.prune ---------------------------------------------------------------------


def test_masks_load_into_a_pruned_model():
    source, target = small_model(), small_model()
    masks = {"0.weight": wkmeans.prune(source[0].weight, 0.5)}
    torch_prune.identity(target[0], "weight")
    loaded = target.load_state_dict(to_prune_state_dict(source.state_dict(), masks))
    assert not loaded.missing_keys and not loaded.unexpected_keys
    x = torch.randn(3, SHAPE[1])
    expected = small_model()
    expected[0].weight.data *= masks["0.weight"]
    torch.testing.assert_close(target(x), expected(x), rtol=0, atol=0)


def test_masks_are_stored_as_torch_stores_them():
    model, mask = small_model(), np.arange(60).reshape(SHAPE) % 3 > 0
    ours = to_prune_state_dict(model.state_dict(), {"0.weight": mask})
    torch_prune.custom_from_mask(model[0], "weight", torch.from_numpy(mask))
    theirs = model.state_dict()
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("masks", [{"5.weight": np.ones(SHAPE)}, {"0.weight": np.ones(3)}])
def test_masks_that_are_not_the_models(masks):
    with pytest.raises(ValueError, match="masks"):
        to_prune_state_dict(small_model().state_dict(), masks)
