"""ONNX of recurrent networks, whose matrices exporters stack and reorder."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import wkmeans
from wkmeans.export import to_onnx

for module in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[export]'")
pytestmark = pytest.mark.slow

EXPORTER = """
import json, sys, warnings; warnings.simplefilter("ignore")
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

for line in sys.stdin:
    cell, folder, dynamo, options, size = json.loads(line)
    torch.manual_seed(0)
    model = Reader(cell, **options).eval()
    compressed = wkmeans.compress(model, **size)
    compressed.apply_to(model)
    compressed.save(folder + "/small")
    by = {} if dynamo else {"dynamo": False}
    example = (torch.zeros(3, 7, 12),)
    torch.onnx.export(model, example, folder + "/model.onnx", input_names=["x"], **by)
    x = torch.randn(3, 7, 12)
    np.savez(folder + "/run.npz", x=x.numpy(), y=model(x).detach().numpy())
    print("exported", folder, flush=True)
"""
BOTH_WAYS = {"num_layers": 2, "bidirectional": True}


@pytest.fixture(scope="module")
def exporter():
    """An interpreter of its own, as the exporter warns of itself; one, as it is slow to begin."""
    with subprocess.Popen(
        [sys.executable, "-c", EXPORTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as interpreter:
        yield interpreter
        interpreter.stdin.close()


def exported(exporter, folder, cell, dynamo=True, options=None, size=None):
    import onnx

    task = [cell, str(folder), dynamo, options or {}, size or {"k": 8}]
    exporter.stdin.write(json.dumps(task) + "\n")
    exporter.stdin.flush()
    while (answer := exporter.stdout.readline()) != f"exported {folder}\n":
        assert answer, f"the exporter ended at {task}: its errors are above"
    return onnx.load(folder / "model.onnx"), wkmeans.load(folder / "small")


def run(proto, folder):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    example = np.load(folder / "run.npz")
    return session.run(None, {"x": example["x"]})[0], example["y"]


@pytest.mark.parametrize(("dynamo", "options"), [(True, {}), (True, BOTH_WAYS), (False, BOTH_WAYS)])
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_every_matrix_becomes_codebooks_and_labels(cell, options, dynamo, exporter, tmp_path):
    import onnx

    proto, compressed = exported(exporter, tmp_path, cell, dynamo, options)
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
        {"k": 4, "granularity": 5, "channel_scales": True},
        {"k": 5, "density": 0.1},
        {"target_bits_per_weight": 9},
    ],
    ids=["groups", "zeros", "size"],
)
def test_groups_scales_and_zeros_follow_their_rows(size, exporter, tmp_path):
    proto, compressed = exported(
        exporter, tmp_path, "LSTM", options={"bidirectional": True}, size=size
    )
    indexed = to_onnx(proto, compressed)
    before, _ = run(proto, tmp_path)
    after, _ = run(indexed, tmp_path)
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert not indexed.metadata_props


def test_what_is_not_found_stays_dense_with_a_reason(exporter, tmp_path):
    proto, compressed = exported(exporter, tmp_path, "LSTM", options={"bidirectional": True})
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
