"""Temperature and mu, chosen on validation data; llama.cpp's importance matrices."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

import numpy as np  # noqa: E402
from importance_oracle import CLASSES, assert_close, examples, mlp, tanh_mlp  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.importance import (  # noqa: E402
    calibrate_temperature,
    estimate,
    read_imatrix,
    search_mu,
    search_temperature,
)

# --- temperature -----------------------------------------------------------------------------


def test_temperature_recovers_the_one_that_labels_were_drawn_at():
    logits = 3 * torch.randn(20000, CLASSES, dtype=torch.float64)
    labels = torch.distributions.Categorical(logits=logits / 2.5).sample()
    batches = [(logits[:9000], labels[:9000]), (logits[9000:], labels[9000:])]
    net = nn.Linear(CLASSES, CLASSES, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.eye(CLASSES))
    found = calibrate_temperature(net, batches)
    assert found == pytest.approx(2.5, rel=0.05)
    loss = [float(functional.cross_entropy(logits / t, labels)) for t in
            (found, found * 1.001, found / 1.001)]  # fmt: skip
    assert loss[0] == min(loss)
    halves = calibrate_temperature(net, batches, forward=lambda model, x: model(x) / 2)
    assert halves == pytest.approx(found / 2, rel=1e-9)


def test_temperature_of_tokens_ignores_those_without_a_target():
    logits = torch.randn(50, 3, CLASSES, dtype=torch.float64)
    labels = torch.distributions.Categorical(logits=logits / 2).sample()
    labels[:, 2] = -100
    net = nn.Linear(CLASSES, CLASSES, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.eye(CLASSES))
    whole = calibrate_temperature(net, [(logits, labels)])
    shorter = calibrate_temperature(net, [(logits[:, :2], labels[:, :2])])
    assert whole == pytest.approx(shorter, rel=1e-12)


@pytest.mark.parametrize(("sign", "bound"), [(1, 0.5), (-1, 8.0)])
def test_temperature_at_a_bound_is_said(sign, bound):
    net = nn.Linear(CLASSES, CLASSES, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.eye(CLASSES))
    labels = torch.arange(CLASSES)
    logits = sign * functional.one_hot(labels).double()  # right everywhere, or wrong everywhere
    with pytest.warns(UserWarning, match="a bound of the search"):
        assert calibrate_temperature(net, [(logits, labels)], bounds=(0.5, 8.0)) == bound


def test_bad_calibrations():
    with pytest.raises(ValueError, match="bounds: expected 0 < low < high"):
        calibrate_temperature(mlp(), [], bounds=(2.0, 1.0))
    with pytest.raises(ValueError, match="at least one example"):
        calibrate_temperature(mlp(), [])
    with pytest.raises(TypeError, match="expected targets"):
        calibrate_temperature(mlp(), [(torch.zeros(2, 6), None)])


def test_temperature_search_takes_the_first_of_the_best():
    result = search_temperature(lambda t: -abs(t - 4.5))
    assert (result.best, result.score) == (4.0, -0.5)
    assert [t for t, _ in result.tried] == list(range(1, 10))
    with pytest.raises(ValueError, match="positive, finite numbers, got 0"):
        search_temperature(lambda t: t, [1, 0])
    with pytest.raises(ValueError, match="NaN for temperature 1"):
        search_temperature(lambda t: math.nan)


# --- mu --------------------------------------------------------------------------------------


@pytest.mark.parametrize("best", [1e-5, 3e-3, 0.7])
def test_mu_is_found_where_the_score_rises_and_falls(best):
    calls = []

    def score(mu):
        calls.append(mu)
        return -abs(math.log(mu / best)) if mu else -math.inf

    result = search_mu(score, low=1e-6, high=1.0, n_steps=12)
    assert result.best == pytest.approx(best, rel=0.05)
    assert len(calls) == len(set(calls)) <= 26


def test_mu_of_zero_may_be_the_best():
    assert search_mu(lambda mu: -mu, low=1e-6, high=1.0).best == 0


def test_mu_without_another_estimate():
    net, batch = mlp().double(), examples()
    once = estimate(net, [batch], objective="hessian")
    again = estimate(net, [batch], objective="hessian", mu=0.3)
    for name in again:
        assert torch.equal(once.with_mu(0.3)[name][0], again[name][0])
    with pytest.raises(ValueError, match="expected objective"):
        estimate(net, [batch], objective="fisher").with_mu(0.3)


@pytest.mark.filterwarnings("ignore:.*mean Hessian are negative")
def test_mu_search_on_a_pruned_network():
    net, batch = tanh_mlp().double(), examples(20)
    importances = estimate(net, [batch], objective="hessian")
    weights = {n: p.detach() for n, p in net.named_parameters()}

    def score(mu):
        given = {n: i for n, (i, _) in importances.with_mu(mu).items()}
        masks = wkmeans.prune(weights, 0.5, importance=given)
        pruned = {n: w * masks[n] for n, w in weights.items()}
        logits = torch.func.functional_call(net, pruned, (batch[0],))
        return -float(functional.cross_entropy(logits, batch[1]))

    result = search_mu(score, low=1e-6, high=1.0)
    assert result.score == max(s for _, s in result.tried) >= score(0.0)


# --- imatrix ---------------------------------------------------------------------------------


def write_imatrix(path, tensors, kind="imatrix"):
    gguf = pytest.importorskip("gguf", reason="needs the extra: pip install 'wkmeans[imatrix]'")
    writer = gguf.GGUFWriter(path, arch="none")
    writer.add_type(kind)
    for name, values in tensors.items():
        writer.add_tensor(name, np.asarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_imatrix_gives_mean_squares_of_input_channels(tmp_path):
    path = tmp_path / "imatrix.gguf"
    write_imatrix(path, {
        "blk.0.attn_q.weight.in_sum2": [[2.0, 4.0, 0.0]],
        "blk.0.attn_q.weight.counts": [[4.0]],
        "blk.0.ffn_gate_exps.weight.in_sum2": [[2.0, 4.0], [0.0, 0.0]],
        "blk.0.ffn_gate_exps.weight.counts": [[2.0], [0.0]],
    })  # fmt: skip
    found = read_imatrix(path)
    assert list(found) == ["blk.0.attn_q.weight", "blk.0.ffn_gate_exps.weight"]
    importance, quartic = found["blk.0.attn_q.weight"]
    assert quartic is None
    assert_close(importance, torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64))
    experts = found["blk.0.ffn_gate_exps.weight"][0]
    assert experts.shape == (2, 1, 2)
    assert experts.flatten().tolist() == [1.0, 2.0, 0.0, 0.0]
    weights = torch.randn(5, 3)
    assert wkmeans.wkmeans(weights, 4, importance=importance).labels.shape == (5, 3)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "expected tensors named"),
        ({"a.in_sum2": [1.0]}, "'a' has sums and no counts"),
        ({"a.in_sum2": [1.0, -2.0], "a.counts": [1.0]}, r"sums, got -2.0 at index \(1,\)"),
        ({"a.in_sum2": [math.nan], "a.counts": [1.0]}, "sums, got nan"),
        ({"a.in_sum2": [1.0], "a.counts": [-1.0]}, "counts, got -1.0"),
        ({"a.in_sum2": [1.0, 2.0, 3.0], "a.counts": [1.0, 1.0]}, "3 sums and 2 counts"),
    ],
)
def test_unsound_imatrix_files_are_refused(tmp_path, tensors, message):
    write_imatrix(tmp_path / "a.gguf", tensors)
    with pytest.raises(ValueError, match=message):
        read_imatrix(tmp_path / "a.gguf")


def test_other_and_damaged_files_are_no_imatrix(tmp_path):
    path = tmp_path / "a.gguf"
    write_imatrix(path, {"a.in_sum2": [1.0], "a.counts": [1.0]}, kind="model")
    with pytest.raises(ValueError, match=r"general\.type: expected 'imatrix', got 'model'"):
        read_imatrix(path)
    write_imatrix(path, {"a.in_sum2": [1.0], "a.counts": [1.0]})
    data = path.read_bytes()
    for damaged in (b"", b"GGUF", data[:40], b"x" + data[1:], data[:8] + b"\xff" * 16 + data[24:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a readable GGUF file"):
            read_imatrix(path)
    with pytest.raises(FileNotFoundError):
        read_imatrix(tmp_path / "missing.gguf")
