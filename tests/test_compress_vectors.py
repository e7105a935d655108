"""Vectors of a few bits: which, when, and what the report and files say of them."""

from __future__ import annotations

import pytest

import wkmeans

torch = pytest.importorskip("torch", reason="calibration needs torch")

from torch import nn  # noqa: E402

from wkmeans.compression.calibration.vectors import Precisions  # noqa: E402
from wkmeans.compression.tensors.rounded import RoundedTensor  # noqa: E402

VECTORS = {
    f"{layer}.{name}"
    for layer, names in {
        "0": ["bias"],
        "1": ["weight", "bias", "running_mean", "running_var"],
        "3": ["bias"],
    }.items()
    for name in names
}


class Shifted(nn.Module):
    """Adds a buffer that is no statistic."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", 0.1 * torch.randn(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.shift


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(20, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 6), Shifted()
    )
    nn.init.normal_(model[1].weight, 1.0, 0.2)
    nn.init.normal_(model[1].bias, 0.0, 0.2)
    model(3 * torch.randn(200, 20) + 1)
    return model.eval().to(dtype)


def inputs(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(60, 20, generator=torch.Generator().manual_seed(1)).to(dtype)


def shortened(compressed: wkmeans.CompressedModel) -> set[str]:
    """Dense tensors that take fewer bytes than their values."""
    return {
        name
        for name, tensor in compressed.items()
        if isinstance(tensor, wkmeans.DenseTensor) and tensor.nbytes < tensor.dequantize().nbytes
    }


def compressed(model: nn.Module, **options) -> wkmeans.CompressedModel:
    options = {
        "target_bytes": 2_200,
        "calibration": [inputs(next(model.parameters()).dtype)],
    } | options
    return wkmeans.compress(model, **options)


@pytest.mark.parametrize("method", ["auto", "matrix", "diagonal"])
def test_a_size_has_parameters_and_statistics_of_fewer_bits(method, tmp_path):
    small = compressed(network(), method=method)
    assert shortened(small) == VECTORS
    reasons = {t.name: t.reason for t in small.report().tensors}
    assert all("stored in float16" in r or "rounded to" in r for r in map(reasons.get, VECTORS))
    small.save(tmp_path / "f")
    state = wkmeans.load(tmp_path / "f").state_dict("torch")
    original = network().state_dict()
    for name in VECTORS - {"0.bias", "3.bias"}:  # which make up for their layers
        assert state[name].dtype == torch.float32
        lost = (state[name] - original[name]).abs()
        assert lost.max() > 0
        assert (lost <= 2**-4 * original[name].abs()).all()


def test_bytes_go_to_weights():
    as_they_are = compressed(network(), dense_dtype="float32").report().divergence
    assert compressed(network()).report().divergence < 0.8 * as_they_are


@pytest.mark.parametrize(
    "options",
    [
        {"target_bytes": None, "k": 4},
        {"dense_dtype": "float32"},
        {"include": ["*.weight"], "target_bytes": 2_600},
        {"method": "unweighted"},
    ],
)
def test_vectors_stay_as_they_are_where_somebody_said_so(options):
    assert not shortened(compressed(network(), **options))


def test_what_is_excluded_stays_as_it_is():
    assert shortened(compressed(network(), exclude=["1.*"])) == {"0.bias", "3.bias"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_stay_the_halves_they_are(dtype):
    assert not shortened(compressed(network(dtype), target_bytes=1_900))


def test_float64_has_halves():
    assert shortened(compressed(network(torch.float64))) == VECTORS


def test_vectors_that_rounding_would_ruin_are_tried_as_they_are():
    """Offsets that cancel: all that is seen of them is what rounding takes."""
    model = network()
    with torch.no_grad():
        model[1].running_mean.add_(3e4)
        model[0].bias.add_(3e4)
    small = compressed(model, target_bytes=6_000)
    assert not shortened(small) & {"0.bias", "1.running_mean"}
    assert small.report().divergence < 1e-3 * small.report().divergence_unweighted + 1e-4


def test_bits_are_chosen_again_once_the_divergence_is_known():
    """Far less than the guess from plain rounding."""
    report = compressed(network(), target_bytes=1_700).report()
    *first, second = [name for name in report.tried if name != "unweighted"]
    assert first == ["matrix, sturdy", "matrix"]
    best = min(first, key=report.tried.__getitem__)
    bits = second.removeprefix(f"{best}, vectors of ").removesuffix(" bits")
    assert report.tried[second] == report.divergence < report.tried[best]
    assert any(f"rounded to {bits} bits" in (tensor.reason or "") for tensor in report.tensors)


@pytest.mark.parametrize(
    ("lost", "divergence", "bits"),
    [(0.0, 1.0, 3), (1e-3, 1.0, 4), (1e-3, 1e-2, 8), (1.0, 1e-6, None)],
)
def test_as_many_bits_as_pay(lost, divergence, bits):
    """2,000 values of 40,000 weights: a bit less of each is 7 % less divergence of weights."""
    values = {"v": torch.randn(2000, generator=torch.Generator().manual_seed(0)).numpy()}
    precisions = Precisions(values, lambda _: lost, 40_000)
    assert precisions.best_for(divergence, None) == bits


def test_fine_tuned_vectors_are_saved(tmp_path):
    """What they were rounded from is not what they are."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 400), nn.ReLU(), nn.Linear(400, 6)).eval()
    x = torch.randn(60, 12, generator=torch.Generator().manual_seed(1))
    small = wkmeans.compress(model, calibration=[x], target_bytes=3_000)
    assert isinstance(small["0.bias"], RoundedTensor)
    tuned = small.parametrize(model)
    with torch.no_grad():
        tuned[0].bias.add_(1.0)
    small.tuned(tuned).save(tmp_path / "f")
    found = wkmeans.load(tmp_path / "f").state_dict("torch")["0.bias"]
    before = small.state_dict("torch")["0.bias"]
    assert (found - before - 1).abs().max() < 0.1


def test_fine_tuned_vectors_that_float16_does_not_hold_are_saved_as_they_are():
    small = compressed(network())
    assert small["3.bias"].stored_dtype == "float16"
    tuned = small.parametrize(network())
    with torch.no_grad():
        tuned[3].bias.fill_(1e5)
    found = small.tuned(tuned)
    assert (found.state_dict("torch")["3.bias"] == 1e5).all()
    assert found["3.bias"].reason.endswith("stored in float16; tuned beyond that, so as it is")


class Summed(nn.Module):
    """Adds the sum of a vector."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.randn(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.vector.sum()


@pytest.mark.parametrize("size", [0, 20])
def test_without_weights_vectors_stay_as_they_are(size):
    """There is nothing that bytes would go to."""
    assert not shortened(compressed(Summed(size)))
