"""Indexed tensors, and exports against what the consumer makes of them, where it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export_cases import (  # noqa: E402
    SHAPE,
    TENSORS,
    a_codebook_a_row,
    compressed,
    dense_model,
    each_compression,
    each_tensor,
    one_codebook,
    small_model,
    with_a_zero,
)
from torch import nn  # noqa: E402
from torch.nn.utils import prune as torch_prune  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.compression.tensors.exportable import indexed  # noqa: E402
from wkmeans.export import (  # noqa: E402
    IndexedTensor,
    indexed_tensors,
    parametrize,
    recompressed,
    to_coreml_buffers,
    to_onnx,
    to_prune_state_dict,
)

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
    np.testing.assert_array_equal(IndexedTensor.of_clustering(clustering).dequantize(), dense)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"labels": np.zeros(3, np.int64)}, TypeError, "labels: expected unsigned integers"),
        (
            {"labels": np.full(3, 2, np.uint8)},
            ValueError,
            "labels: expected less than k = 2",
        ),
        ({"codebook": np.zeros(2)}, ValueError, r"codebook: expected shape \(n, k\)"),
        ({"codebook": np.zeros((2, 2))}, ValueError, "groups: expected an index"),
        ({"groups": np.ones(3, int)}, ValueError, "groups: expected 0 to 0, got 1 to 1"),
        ({"groups": np.zeros(2, int)}, ValueError, r"groups: expected a shape that broadcasts"),
        ({"scale": np.ones((3, 1))}, ValueError, r"scale: expected a shape that broadcasts"),
    ],
)
def test_tensors_that_cannot_be(arguments, error, message):
    good = {"labels": np.zeros(3, np.uint8), "codebook": np.zeros((1, 2))}
    with pytest.raises(error, match=message):
        IndexedTensor(**{**good, **arguments})


@each_compression
def test_a_compressed_tensor_as_indexed_tensor(options):
    tensor = compressed(**options)
    np.testing.assert_array_equal(indexed({"w": tensor})["w"].dequantize(), tensor.dequantize())


@each_compression
def test_a_tuned_codebook_goes_back_into_its_compressed_tensor(options):
    tensor = compressed(**options)
    model = nn.Module()
    model.register_parameter("w", nn.Parameter(torch.zeros(tensor.shape)))
    parametrize(model, {"w": tensor})
    # An int8 codebook is scaled anew, to the largest of its centroids.
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
        onnx.numpy_helper.from_array(np.ascontiguousarray(tensor.dequantize().T), "onnx::MatMul_7")
    )
    gemm = proto.graph.node[0]
    gemm.input[1] = "onnx::MatMul_7"
    gemm.attribute[0].i = 0
    x = np.random.default_rng(0).normal(size=(4, SHAPE[1])).astype(np.float32)
    np.testing.assert_array_equal(
        run_onnx(to_onnx(proto, {"0.weight": tensor}), x), run_onnx(proto, x)
    )


@pytest.mark.slow
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
    np.testing.assert_allclose(converted(tensor), tensor.dequantize(), rtol=1e-6, err_msg=name)
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
    with pytest.raises(ValueError, match="Core ML takes up to 256 centroids, got 300"):
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
