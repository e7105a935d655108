"""ONNX of recurrent networks, whose matrices exporters stack and reorder."""

from __future__ import annotations

import numpy as np
import pytest
from fresh import run_python

import wkmeans
from wkmeans.export import to_onnx

for module in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[export]'")
pytestmark = pytest.mark.slow

# In an interpreter of its own: the exporter warns of itself.
EXPORT = """
import warnings; warnings.simplefilter("ignore")
import numpy as np, torch, wkmeans
from torch import nn

class Reader(nn.Module):
    def __init__(self, cell, **options):
        super().__init__()
        self.rnn = getattr(nn, cell)(12, 16, batch_first=True, **options)
        directions = 2 if options.get("bidirectional") else 1
        self.head = nn.Linear(16 * directions, 5)

    def forward(self, x):
        return self.head(self.rnn(x)[0])

torch.manual_seed(0)
cell, folder, dynamo = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
model = Reader(cell, **eval(sys.argv[4])).eval()
compressed = wkmeans.compress(model, **eval(sys.argv[5]))
compressed.apply_to(model)
compressed.save(folder + "/small")
options = {"input_names": ["x"]} | ({} if dynamo else {"dynamo": False})
torch.onnx.export(model, (torch.zeros(3, 7, 12),), folder + "/model.onnx", **options)
x = torch.randn(3, 7, 12)
np.savez(folder + "/run.npz", x=x.numpy(), y=model(x).detach().numpy())
"""
BOTH_WAYS = "{'num_layers': 2, 'bidirectional': True}"


def exported(folder, cell, dynamo=True, options="{}", size="{'k': 8}"):
    import onnx

    finished = run_python(EXPORT, cell, folder, dynamo, options, size)
    assert finished.returncode == 0, finished.stderr
    return onnx.load(folder / "model.onnx"), wkmeans.load(folder / "small")


def run(proto, folder):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    example = np.load(folder / "run.npz")
    return session.run(None, {"x": example["x"]})[0], example["y"]


@pytest.mark.parametrize(
    ("dynamo", "options"), [(True, "{}"), (True, BOTH_WAYS), (False, BOTH_WAYS)]
)
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_every_matrix_becomes_codebooks_and_labels(cell, options, dynamo, tmp_path):
    import onnx

    proto, compressed = exported(tmp_path, cell, dynamo, options)
    indexed = to_onnx(proto, compressed)
    onnx.checker.check_model(indexed, full_check=True)
    assert not indexed.metadata_props
    shapes = [tuple(i.dims) for i in indexed.graph.initializer if i.data_type == 1]
    # Beside codebooks and biases, states to start from: (layers, batch, features).
    assert not [shape for shape in shapes if len(shape) > 1 and shape[-2] > 3]
    before, expected = run(proto, tmp_path)
    after, _ = run(indexed, tmp_path)
    np.testing.assert_allclose(before, expected, atol=1e-5)
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    "size",
    [
        "{'k': 4, 'granularity': 5, 'channel_scales': True}",
        "{'k': 5, 'density': 0.1}",
        "{'target_bits_per_weight': 9}",
    ],
)
def test_groups_scales_and_zeros_follow_their_rows(size, tmp_path):
    proto, compressed = exported(tmp_path, "LSTM", options="{'bidirectional': True}", size=size)
    indexed = to_onnx(proto, compressed)
    before, _ = run(proto, tmp_path)
    after, _ = run(indexed, tmp_path)
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert not indexed.metadata_props


def test_what_is_not_found_stays_dense_with_a_reason(tmp_path):
    proto, compressed = exported(tmp_path, "LSTM", options="{'bidirectional': True}")
    names = ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "head.weight", "rnn.weight_hh_l0_reverse")
    some = {name: compressed[name] for name in names}
    with pytest.warns(UserWarning, match=r"left dense, no initializer .*: 'rnn.weight_ih_l0'"):
        indexed = to_onnx(proto, some)
    assert {p.key: p.value for p in indexed.metadata_props} == {
        "wkmeans.dense:rnn.weight_ih_l0": "no initializer has its values, whole or row by row"
    }
    after, _ = run(indexed, tmp_path)
    np.testing.assert_array_equal(after, run(proto, tmp_path)[0])
    with pytest.raises(ValueError, match="expected names or values of the model's initializers"):
        to_onnx(proto, {"rnn.weight_ih_l0": compressed["rnn.weight_ih_l0"]})
