"""`compress(calibration=, method="matrix", k=)`: codebooks under whole importance matrices."""

from __future__ import annotations

import pytest

import wkmeans

torch = pytest.importorskip("torch", reason="calibration needs torch")

from correlated_layers import Mixed, correlated, network, relative_error  # noqa: E402
from torch import nn  # noqa: E402

from wkmeans.compression.calibration import search  # noqa: E402
from wkmeans.compression.calibration.objective import Settings  # noqa: E402


@pytest.mark.parametrize(
    "options",
    [
        {"k": 4},
        {"bits": 2, "granularity": "channel"},
        {"k": 3, "channel_scales": True, "coding": "packed"},
        {"k": 4, "codebook_dtype": "int8"},
        {"k": 4, "granularity": "channel", "codebook_dtype": "float16"},
    ],
)
def test_codebooks_under_a_matrix(tmp_path, options):
    model, x = network(), correlated(400, 48)
    error = {}
    for method in ("matrix", "diagonal"):
        compressed = wkmeans.compress(model, calibration=[x], loss="mse", method=method, **options)
        report = compressed.report()
        assert report.divergence <= report.divergence_unweighted
        error[method] = relative_error(model, compressed, network, correlated(400, 48, seed=5))
    assert error["matrix"] < 0.6 * error["diagonal"]
    compressed = wkmeans.compress(model, calibration=[x], loss="mse", **options)
    tried = compressed.report().tried
    assert min(tried, key=tried.get).startswith("matrix")
    k = options.get("k", 4)
    for name in ("0.weight", "2.weight"):
        assert type(compressed[name]) is wkmeans.CompressedTensor and compressed[name].k <= k
    compressed.save(tmp_path / "f.safetensors")
    loaded = wkmeans.load(tmp_path / "f.safetensors").state_dict("torch")
    for name, tensor in compressed.state_dict().items():
        assert torch.equal(loaded[name], tensor)


@pytest.mark.slow
def test_codebooks_of_every_kind_of_layer():
    model = Mixed().eval()
    ids = torch.randint(0, 30, (120, 10), generator=torch.Generator().manual_seed(2))
    for granularity in ("tensor", "channel"):
        report = wkmeans.compress(
            model, calibration=[ids], k=4, method="matrix", min_size=16, granularity=granularity
        ).report()
        assert report.divergence < report.divergence_unweighted
        dense = [
            row.name for row in report.tensors if row.name == "depthwise.weight" and row.reason
        ]
        weighed = {row.name: row.weighed for row in report.tensors if row.weighed == "matrix"}
        assert len(weighed) + len(dense) == 5


def test_codebooks_are_the_same_for_any_number_of_threads():
    model, x = network(), correlated(200, 48)
    files = {
        wkmeans.compress(model, calibration=[x], k=4, method="matrix", n_threads=n).to_bytes()
        for n in (1, 3)
    }
    assert len(files) == 1


@pytest.mark.parametrize("options", [{"granularity": 16}, {"keep_zeros": True}])
def test_what_codebooks_do_not_serve_is_said(options):
    model, x = network(), correlated(100, 48)
    compressed = wkmeans.compress(
        model, calibration=[x], k=4, method="matrix", tune=False, **options
    )
    report = compressed.report()
    assert report.divergence == report.divergence_unweighted
    assert str(report).count("matrix was not tried") == 1


def test_several_settings_are_tried_for_codebooks_and_the_best_kept():
    model, x = network(), correlated(200, 48)
    report = wkmeans.compress(model, calibration=[x], k=4, method="matrix", tune=False).report()
    assert {name for name in report.tried if name.startswith("matrix")} == {
        "matrix", "matrix, sturdy", "matrix, damping 0.03", "matrix, damping 0.01",
    }  # fmt: skip
    assert report.divergence == min(report.tried.values())


def test_a_large_network_has_sturdy_weights_alone(monkeypatch):
    monkeypatch.setattr(search, "_MOST_WEIGHTS", 1000)
    report = wkmeans.compress(network(), calibration=[correlated(50, 48)], k=4).report()
    assert list(report.tried) == ["unweighted", "matrix, sturdy", "matrix, sturdy, tuned"]


def test_codebooks_weigh_outputs_together(monkeypatch):
    """Outputs of many hidden units and few answers nearly repeat one another."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 64), nn.Linear(64, 4)).eval()
    found = dict.fromkeys((Settings().coupling, 0.0), 0.0)
    for share in found:
        way = {"matrix": {"coupling": share}}
        monkeypatch.setattr(search._Trial, "_ways", lambda trial, way=way: way)
        for seed in (1, 2):
            x = correlated(400, 48, seed)
            report = wkmeans.compress(
                model, calibration=[x], loss="mse", k=4, method="matrix", tune=False
            ).report()
            found[share] += report.divergence
    assert found[Settings().coupling] < 0.85 * found[0.0]
