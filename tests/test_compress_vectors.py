"""Vectors in half precision: which, when, and what the report and files say of them."""

from __future__ import annotations

import pytest

import wkmeans

torch = pytest.importorskip("torch", reason="calibration needs torch")

from torch import nn  # noqa: E402

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
    model(3 * torch.randn(200, 20) + 1)
    return model.eval().to(dtype)


def inputs(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(60, 20, generator=torch.Generator().manual_seed(1)).to(dtype)


def stored_dtypes(compressed: wkmeans.CompressedModel) -> dict[str, str]:
    return {
        name: tensor.stored_dtype
        for name, tensor in compressed.items()
        if hasattr(tensor, "stored_dtype")
    }


def compressed(model: nn.Module, **options) -> wkmeans.CompressedModel:
    options = {
        "target_bytes": 2_200,
        "calibration": [inputs(next(model.parameters()).dtype)],
    } | options
    return wkmeans.compress(model, **options)


@pytest.mark.parametrize("method", ["auto", "matrix", "diagonal"])
def test_a_size_has_parameters_and_statistics_in_half_precision(method, tmp_path):
    small = compressed(network(), method=method)
    found = stored_dtypes(small)
    assert {name for name, dtype in found.items() if dtype == "float16"} == VECTORS
    assert found["4.shift"] == "float32"
    reasons = {t.name: t.reason for t in small.report().tensors}
    assert all("stored in float16" in reasons[name] for name in VECTORS)
    small.save(tmp_path / "f")
    state = wkmeans.load(tmp_path / "f").state_dict("torch")
    assert all(state[name].dtype == torch.float32 for name in VECTORS)
    original = network().state_dict()
    for name in VECTORS - {"0.bias", "3.bias"}:  # which make up for their layers
        assert torch.equal(state[name], original[name].half().float())


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
    assert "float16" not in stored_dtypes(compressed(network(), **options)).values()


def test_what_is_excluded_stays_as_it_is():
    found = stored_dtypes(compressed(network(), exclude=["1.*"]))
    assert {name for name, dtype in found.items() if dtype == "float16"} == {"0.bias", "3.bias"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_stay_the_halves_they_are(dtype):
    found = stored_dtypes(compressed(network(dtype), target_bytes=1_900))
    assert set(found.values()) == {str(dtype).removeprefix("torch."), "int64"}


def test_what_overflows_stays_as_it_is():
    model = network()
    with torch.no_grad():
        model[1].running_var.mul_(1e6)
        model[1].weight.mul_(1e3)
    found = stored_dtypes(compressed(model))
    assert found["1.running_var"] == "float32"
    assert found["1.running_mean"] == "float16"


def test_vectors_as_they_are_are_tried_where_halves_show():
    """Logits a million apart from their offsets: half precision of those is all that is seen."""
    model = network()
    with torch.no_grad():
        model[1].running_mean.add_(3e4)
        model[0].bias.add_(3e4)
    small = compressed(model, target_bytes=6_000)
    tried = small.report().tried
    assert "matrix, vectors as they are" in tried
    assert tried["matrix, vectors as they are"] < tried["matrix"]
    assert "float16" not in stored_dtypes(small).values()
