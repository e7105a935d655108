"""`compress(calibration=)`: what it takes, what it holds out, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest

import wkmeans

torch = pytest.importorskip("torch", reason="calibration needs torch")

from torch import nn  # noqa: E402
from torch.optim.swa_utils import AveragedModel  # noqa: E402

from wkmeans.compression.calibration.batches import held_out, read_inputs  # noqa: E402


def classifier(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 6)).eval()


def inputs(n: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, 20, generator=torch.Generator().manual_seed(seed))


def kl(model: nn.Module, compressed: wkmeans.CompressedModel, x: torch.Tensor) -> float:
    other = classifier()
    compressed.apply_to(other)
    with torch.no_grad():
        p, q = model(x).double().log_softmax(1), other(x).double().log_softmax(1)
    return float((p.exp() * (p - q)).sum(1).mean())


@pytest.mark.parametrize("sizes", [[1], [3], [1, 1, 1], [10], [4, 7, 9], [30, 1]])
def test_a_fifth_of_the_examples_is_held_out(sizes):
    batches = [torch.arange(n).float()[:, None] + 100 * i for i, n in enumerate(sizes)]
    kept, judging = held_out(read_inputs(batches))
    n = sum(sizes)
    assert sum(map(len, judging)) == max(1, n // 5)
    if n > 1:
        everything = torch.cat([one.tensors[0] for one in (*kept, *judging)])
        assert sorted(everything.flatten().tolist()) == sorted(
            torch.cat(batches).flatten().tolist()
        )


@pytest.mark.parametrize("options", [{"k": 4}, {"target_bytes": 1200}, {"bits": 2, "density": 0.5}])
def test_the_report_has_the_divergence_of_what_it_returns(options):
    model, x = classifier(), inputs(50)
    compressed = wkmeans.compress(model, calibration=[x[:30], x[30:]], **options)
    report = compressed.report()
    judging = x[4::5]
    assert report.divergence == pytest.approx(kl(model, compressed, judging), rel=1e-5)
    plain = wkmeans.compress(model, **options)
    assert report.divergence_unweighted == pytest.approx(kl(model, plain, judging), rel=1e-5)
    assert report.divergence <= report.divergence_unweighted
    assert report.divergence == min(report.tried.values())
    assert "held-out" in str(report)


def test_batches_are_tensors_dicts_or_pairs_with_any_target():
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = classifier()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

    x, answers = inputs(20), []
    for batches in (
        [x],
        [(x, torch.zeros(20, dtype=torch.long))],
        [(x, ["name"] * 20)],
        [(x,)],
        ({"x": part} for part in x.split(7)),
        [{"x": x, "labels": torch.zeros(3)}],
    ):
        compressed = wkmeans.compress(Named().eval(), calibration=batches, k=3, method="diagonal")
        answers.append(compressed.state_dict()["net.0.weight"])
    for other in answers[1:]:
        torch.testing.assert_close(answers[0], other, rtol=1e-4, atol=1e-5)


def test_named_methods_are_never_worse_than_plain_rounding():
    model, x = classifier(), inputs(40)
    for method in ("diagonal", "unweighted"):
        report = wkmeans.compress(model, calibration=[x], k=3, method=method).report()
        assert report.divergence <= report.divergence_unweighted
        assert all(name == "unweighted" or name.startswith(method) for name in report.tried)
    assert list(report.tried) == ["unweighted"]


def test_hostile_importances_lose_to_plain_rounding():
    model, x = classifier(), inputs(60)
    wrong = {
        name: np.where(np.random.default_rng(3).random(p.shape) < 0.02, 1.0, 0)
        for name, p in model.named_parameters()
    }
    report = wkmeans.compress(
        model, calibration=[x], importances=wrong, floor=0, k=4, method="diagonal"
    ).report()
    assert report.divergence == report.divergence_unweighted
    assert report.tried["diagonal, floor 0"] > report.divergence


def test_regressors_are_judged_by_relative_squared_error():
    model, x = classifier(), inputs(30)
    compressed = wkmeans.compress(model, calibration=[x], loss="mse", target_bytes=1300)
    other = classifier()
    compressed.apply_to(other)
    with torch.no_grad():
        y, z = model(x[4::5]).double(), other(x[4::5]).double()
    expected = float((y - z).square().sum() / y.square().sum())
    assert compressed.report().divergence == pytest.approx(expected, rel=1e-5)


def test_sequences_count_the_positions_that_their_mask_shows():
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(50, 16)
            self.head = nn.Linear(16, 7)

        def forward(self, input_ids, attention_mask):
            return self.head(self.embedding(input_ids))

    torch.manual_seed(0)
    model = Tagger().eval()
    ids = torch.randint(0, 50, (10, 12))
    mask = torch.ones(10, 12, dtype=torch.long)
    mask[:, 9:] = 0
    found = []
    for filler in (0, 7):
        padded = ids.clone()
        padded[:, 9:] = filler
        batch = {"input_ids": padded, "attention_mask": mask}
        compressed = wkmeans.compress(model, calibration=[batch], k=4, method="unweighted")
        found.append(compressed.report().divergence)
    assert found[0] == found[1] > 0


def test_the_same_bits_for_any_number_of_threads():
    x = inputs(30)
    files = {
        wkmeans.compress(classifier(), calibration=[x], target_bytes=1300, n_threads=n).to_bytes()
        for n in (1, 3)
    }
    assert len(files) == 1


def test_the_model_is_left_as_it_was():
    model, x = classifier(), inputs(20)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wkmeans.compress(model, calibration=[x], k=4)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"calibration": []}, ValueError, "calibration: expected at least one example"),
        ({"calibration": inputs(3)}, TypeError, "calibration: expected an iterable of batches"),
        ({"calibration": [3]}, TypeError, "calibration: expected input tensors, pairs"),
        ({"calibration": [inputs(9)], "method": "best"}, ValueError, "method: expected one of"),
        ({"calibration": [inputs(9)], "loss": "hinge"}, ValueError, "loss: expected one of"),
        ({"method": "diagonal"}, ValueError, "method: expected calibration"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        wkmeans.compress(classifier(), k=4, **options)


def test_state_dicts_have_no_outputs_to_judge():
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module with calibration"):
        wkmeans.compress(classifier().state_dict(), calibration=[inputs(9)], k=4)


def test_training_mode_is_refused():
    model = nn.Sequential(nn.Linear(20, 40), nn.Dropout(0.5), nn.Linear(40, 6))
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        wkmeans.compress(model, calibration=[inputs(9)], k=4)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("size", [{"bits": 2}, {"target_bytes": 1300}])
def test_very_few_examples_are_enough(n, size):
    """Their matrices are zero or nearly so: rounding must not make them indefinite."""
    report = wkmeans.compress(classifier(), calibration=[inputs(n) * 30], **size).report()
    assert "matrix" in report.tried
    assert report.divergence <= report.divergence_unweighted


@pytest.mark.parametrize("target", [700, 900, 2600, 3200, 20_000])
def test_sizes_that_no_lattice_has_exactly(target, tmp_path):
    """Too small for its scales, or finer than a file's integers are."""
    model = classifier()
    compressed = wkmeans.compress(
        model, calibration=[inputs(20)], method="matrix", target_bytes=target
    )
    compressed.save(tmp_path / "f")
    size = (tmp_path / "f").stat().st_size
    assert size <= target
    assert size >= 0.99 * target or "not used" in str(compressed.report())


def twice(model: nn.Module, **options) -> list[float]:
    """The divergence, and that of plain rounding, of what comes of calibration."""
    report = wkmeans.compress(model, calibration=[inputs(20)], k=3, **options).report()
    return [report.divergence, report.divergence_unweighted]


def test_frozen_models_are_as_good_as_any():
    frozen, partly = classifier().requires_grad_(False), classifier()
    partly[0].requires_grad_(False)
    for method in ("matrix", "diagonal"):
        expected = twice(classifier(), method=method)
        assert twice(frozen, method=method) == twice(partly, method=method) == expected
    assert not any(p.requires_grad for p in frozen.parameters())


class Wrapped(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.net, self.wrap = classifier(), wrap

    def forward(self, x: torch.Tensor):
        return self.wrap(self.net(x))


class Output:
    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


@pytest.mark.parametrize("wrap", [Output, lambda y: {"loss": None, "logits": y}])
def test_outputs_that_hold_logits(wrap):
    expected = twice(Wrapped(lambda y: y).eval())
    assert twice(Wrapped(wrap).eval()) == expected


@pytest.mark.parametrize("wrap", [lambda y: (y, y), lambda y: {"scores": y}])
def test_other_outputs_are_for_the_caller_to_name(wrap):
    model = Wrapped(wrap).eval()
    with pytest.raises(TypeError, match=r"model: expected a tensor, .*; pass forward="):
        twice(model)
    expected = twice(Wrapped(lambda y: y).eval())
    assert twice(model, forward=lambda m, x: m.net(x)) == expected


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(40)])
def test_training_mode_is_refused_as_estimate_does(layer):
    model = nn.Sequential(classifier()[0], layer, classifier()[2])
    with pytest.raises(ValueError, match=r"model: 1 .* call model.eval\(\) first"):
        twice(model)
    twice(model.eval())


def test_inference_mode_makes_no_difference():
    expected = twice(classifier())
    with torch.inference_mode():
        made_there = classifier()
        assert twice(classifier()) == expected
    assert twice(made_there) == expected


def test_a_wrapped_layer_is_compressed_and_judged_as_a_plain_one():
    model, x = classifier(), inputs(40)
    within = nn.Sequential(AveragedModel(model[0]), *model[1:]).eval()
    plain, wrapped = (wkmeans.compress(net, calibration=[x], k=3) for net in (model, within))
    found, expected = wrapped.report(), plain.report()
    assert (found.tried, found.notes) == (expected.tried, expected.notes)
    assert wrapped.keys() == plain.keys()
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(wrapped.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (3, "expected an iterable of batches, got int"),
        (inputs(3), "expected an iterable of batches, got one Tensor"),
        (["text"], "expected input tensors, pairs .*, got str as batch 0"),
        ([torch.tensor(1.0)], "expected a tensor with examples along its first dimension"),
    ],
)
def test_what_are_no_batches(batches, message):
    with pytest.raises(TypeError, match=f"calibration: {message}"):
        wkmeans.compress(classifier(), calibration=batches, k=3)


@pytest.mark.parametrize(("outputs", "probes"), [(64, None), (65, 16)])
def test_importances_of_many_outputs_come_from_probes(outputs, probes):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, outputs)).eval()
    x = torch.randn(30, 8, generator=torch.Generator().manual_seed(4))
    kept, _ = held_out(read_inputs([x]))
    given = wkmeans.importance.estimate(
        model, [(one.value(), None) for one in kept], objective="fisher", probes=probes
    )
    options = {"calibration": [x], "k": 4, "method": "diagonal"}
    found = wkmeans.compress(model, **options).report().tried
    assert found == wkmeans.compress(model, importances=given, **options).report().tried
