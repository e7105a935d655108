"""`compress(calibration=, method="matrix")`: layer after layer under whole importance matrices."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import wkmeans
from wkmeans.compression.lattice.tensor import LatticeTensor

torch = pytest.importorskip("torch", reason="calibration needs torch")

from correlated_layers import Mixed, correlated, network, relative_error  # noqa: E402
from torch import nn  # noqa: E402

from wkmeans.compression.calibration import search  # noqa: E402
from wkmeans.compression.calibration.batches import read_inputs  # noqa: E402
from wkmeans.compression.calibration.layers import Layers  # noqa: E402
from wkmeans.compression.calibration.objective import Settings, damped  # noqa: E402
from wkmeans.compression.calibration.replay import Replay  # noqa: E402
from wkmeans.importance._estimate import resolve_loss  # noqa: E402
from wkmeans.importance.matrices.moments import MomentSums  # noqa: E402


def test_correlated_inputs_are_worth_a_matrix():
    model, x = network(), correlated(400, 48)
    error = {}
    for method in ("matrix", "diagonal"):
        compressed = wkmeans.compress(
            model, calibration=[x], loss="mse", target_bytes=2600, method=method
        )
        report = compressed.report()
        assert 0.99 * 2600 <= report.bytes <= 2600
        assert report.divergence <= report.divergence_unweighted
        error[method] = relative_error(model, compressed, network, correlated(400, 48, seed=5))
    assert error["matrix"] < 0.5 * error["diagonal"]
    assert all(
        isinstance(compressed[n], wkmeans.CompressedTensor) for n in ("0.weight", "2.weight")
    )


def replay() -> Replay:
    inputs = read_inputs([correlated(200, 48)])
    names = ["0.weight", "2.weight"]
    loss = resolve_loss("mse", 1.0, "example")
    layers = Layers.of(network(), inputs, None, names, loss)
    return Replay(layers, inputs, Settings(), {})


def test_targets_and_moments_are_held_one_layer_at_a_time(monkeypatch):
    held: list[weakref.ref] = []

    def moments(sums):
        found = of_sums(sums)
        held.extend(weakref.ref(tensor) for tensor in (found.second, found.cross))
        return found

    of_sums = MomentSums.moments
    monkeypatch.setattr(MomentSums, "moments", moments)
    network_of_layers = replay()
    for target in network_of_layers.original_targets():
        assert all(ref() is None for ref in held)
        held.append(weakref.ref(target.matrix))

    def quantise(target):
        assert all(ref() is None for ref in held)
        held.append(weakref.ref(target.matrix))
        return target.weights.round(decimals=1)

    del target
    network_of_layers.run(quantise)
    assert len(held) == 12


def test_a_matrix_is_symmetric_where_its_products_are_not_quite():
    factor = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = factor @ factor.mT
    exact = (exact + exact.mT) / 2
    off = exact.clone()
    off[:, 0, 4] *= 1 + 1e-7
    found = damped(off, 0.1)
    assert torch.equal(found, found.mT)
    torch.testing.assert_close(found, damped(exact, 0.1), rtol=1e-6, atol=0)
    kept = damped(exact, 0.0)
    assert torch.equal(kept, exact)


def test_damping_is_noise_of_each_input_beside_its_own_size():
    x = correlated(400, 6).double().T * torch.tensor([[1.0], [1], [1], [1], [1], [100]])
    matrix = (x @ x.mT / 400)[None]
    diagonal = matrix[0].diagonal()
    expected = matrix[0] + torch.diag(0.5 * diagonal + 0.02 * diagonal.mean())
    torch.testing.assert_close(damped(matrix, 0.5)[0], expected)
    silent = matrix.clone()
    silent[:, 2], silent[:, :, 2] = 0, 0
    assert torch.linalg.cholesky_ex(damped(silent, 0.01)).info == 0


def test_auto_finds_it_and_files_keep_it(tmp_path):
    model, x = network(), correlated(400, 48)
    compressed = wkmeans.compress(model, calibration=[x], loss="mse", target_bytes=2600)
    report = compressed.report()
    assert list(report.tried) == ["unweighted", "matrix, sturdy", "matrix"]
    assert report.divergence == report.tried["matrix"]
    assert isinstance(compressed["0.weight"], LatticeTensor)
    assert {row.weighed for row in report.tensors if row.reason is None} == {"matrix"}
    compressed.save(tmp_path / "f.safetensors")
    loaded = wkmeans.load(tmp_path / "f.safetensors")
    for name, tensor in compressed.state_dict().items():
        assert torch.equal(loaded.state_dict("torch")[name], tensor)


def test_biases_make_up_for_what_means_lose():
    model, x = network(), correlated(400, 48)
    options = {"target_bytes": 1800, "method": "matrix", "dense_dtype": "float32"}
    compressed = wkmeans.compress(model, calibration=[x], loss="mse", **options)
    assert "makes up for its layer" in compressed["0.bias"].reason
    other = network()
    compressed.apply_to(other)
    kept = torch.ones(400, dtype=torch.bool)
    kept[4::5] = False
    with torch.no_grad():
        moved = (model[0](x[kept]) - other[0](x[kept])).mean(0)
        spread = (model[0](x[kept]) - other[0](x[kept])).std(0)
    assert (moved.abs() < 1e-3 * spread).all()


def test_sturdy_weights_serve_inputs_of_another_kind(monkeypatch):
    """Independent ones of the same size, and some of the opposite sign; at a cost for those met."""
    model, alike = network(), correlated(400, 48, seed=50)
    independent = torch.randn(400, 48, generator=torch.Generator().manual_seed(7)) * alike.std(0)
    errors = {}
    for way in (search._CLOSE, search._STURDY):
        monkeypatch.setattr(search._Trial, "_ways", lambda trial, way=way: way)
        sums = [0.0, 0.0, 0.0]
        for seed in range(3):
            compressed = wkmeans.compress(
                model, calibration=[correlated(100, 48, seed)], loss="mse", k=8, method="matrix"
            )
            for i, x in enumerate((alike, independent, -alike)):
                sums[i] += relative_error(model, compressed, network, x)
        errors |= dict.fromkeys(way, sums)
    close, sturdy = errors["matrix"], errors["matrix, sturdy"]
    assert close[0] < 0.8 * sturdy[0]
    assert sturdy[1] < 0.8 * close[1] and sturdy[2] < 0.8 * close[2]


@pytest.mark.slow
def test_every_kind_of_layer_and_tables_by_their_diagonals():
    model = Mixed().eval()
    ids = torch.randint(0, 30, (120, 10), generator=torch.Generator().manual_seed(2))
    compressed = wkmeans.compress(
        model, calibration=[ids], target_bits_per_weight=7, method="matrix", min_size=16
    )
    report = compressed.report()
    assert report.divergence == min(report.tried.values()) < report.divergence_unweighted
    weighed = {row.name: row.weighed for row in report.tensors if row.weighed is not None}
    assert weighed.pop("table.weight") == "diagonal"
    assert set(weighed.values()) == {"matrix"} and len(weighed) == 5
    assert "for want of a matrix: table.weight" in str(report)


def test_inputs_first_is_one_more_layout():
    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.weight = nn.Parameter(torch.randn(48, 20) / 7)

        def forward(self, x):
            return x @ self.weight

    model, x = Transposed().eval(), correlated(300, 48)
    compressed = wkmeans.compress(
        model, calibration=[x], loss="mse", target_bytes=1200, method="matrix"
    )
    assert compressed["weight"].transposed
    assert compressed["weight"].dequantize().shape == (48, 20)
    report = compressed.report()
    assert report.divergence == report.tried["matrix"] < 0.5 * report.divergence_unweighted


def test_the_same_bits_for_any_number_of_threads():
    model, x = network(), correlated(200, 48)
    files = {
        wkmeans.compress(
            model, calibration=[x], target_bytes=2400, method="matrix", n_threads=n
        ).to_bytes()
        for n in (1, 3)
    }
    assert len(files) == 1


def test_what_a_lattice_does_not_serve_is_said():
    model, x = network(), correlated(100, 48)
    report = wkmeans.compress(
        model, calibration=[x], target_bytes=3000, method="matrix", granularity="channel"
    ).report()
    assert report.divergence == report.divergence_unweighted
    assert str(report).count("matrix was not tried") == 1


def test_costs_are_under_the_matrix():
    model, x = network(), correlated(300, 48)
    coarse, fine = (
        wkmeans.compress(model, calibration=[x], loss="mse", target_bytes=n, method="matrix")
        for n in (1800, 3000)
    )
    assert 0 < fine["0.weight"].cost < coarse["0.weight"].cost
    assert np.isfinite(coarse.report().cost)


@pytest.mark.parametrize("method", ["matrix", "diagonal"])
@pytest.mark.parametrize("size", [{"bits": 3}, {"target_bits_per_weight": 4.5}])
def test_an_output_that_calibration_never_activates_keeps_its_energy(method, size):
    net, x = network(), correlated(200, 48)
    with torch.no_grad():
        net[0].bias[7] = -1e3
    found = wkmeans.compress(net, calibration=[x], method=method, **size)
    report = found.report()
    assert report.divergence < report.divergence_unweighted
    weights = net[0].weight[7].detach().numpy()
    values = found["0.weight"].dequantize()[7]
    assert (values**2).sum() > 0.5 * (weights**2).sum()
    assert ((values - weights) ** 2).sum() < 0.25 * (weights**2).sum()
    (row,) = (row for row in report.tensors if row.name == "0.weight")
    assert row.unseen == (7,)
    raw = wkmeans.compress(net, calibration=[x], method=method, floor=0, **size)
    assert not any(row.unseen for row in raw.report().tensors)


@pytest.mark.parametrize("options", [{"density": 0.4}, {"pattern": (2, 4)}])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_what_is_kept_makes_up_for_what_is_pruned(options, granularity):
    model, x = network(), correlated(400, 48)
    error = {}
    for method in ("matrix", "diagonal"):
        compressed = wkmeans.compress(
            model,
            calibration=[x],
            loss="mse",
            bits=5,
            method=method,
            granularity=granularity,
            **options,
        )
        report = compressed.report()
        assert report.divergence <= report.divergence_unweighted
        if method == "matrix":
            assert {row.weighed for row in report.tensors if row.reason is None} == {"matrix"}
        for name in ("0.weight", "2.weight"):
            kept = compressed[name].dequantize() != 0
            if "pattern" in options:
                assert (kept.reshape(-1, 4).sum(1) <= 2).all()
            else:
                assert kept.sum() <= round(0.4 * kept.size)
        error[method] = relative_error(model, compressed, network, correlated(400, 48, seed=5))
    assert error["matrix"] < 0.5 * error["diagonal"]


def test_rows_that_are_no_groups_stay_dense():
    model = nn.Sequential(nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, 8))
    compressed = wkmeans.compress(model, bits=3, pattern=(2, 4))
    assert "no groups of 4" in compressed["0.weight"].reason
    assert ((compressed["2.weight"].dequantize() != 0).reshape(-1, 4).sum(1) <= 2).all()
    with pytest.raises(ValueError, match="density: expected None with a pattern"):
        wkmeans.compress(model, bits=3, pattern=(2, 4), density=0.5)
    with pytest.raises(ValueError, match="pattern: expected"):
        wkmeans.compress(model, bits=3, pattern=(5, 4))


@pytest.mark.parametrize("scale", [0.0, 1e-6])
def test_a_layer_of_nothing_but_zeros_is_saved_and_loaded(scale, tmp_path):
    """As one that adapts another begins, or one that comes to the same."""
    model, x = network(), correlated(200, 48)
    with torch.no_grad():
        model[0].weight.mul_(scale)
    compressed = wkmeans.compress(
        model, calibration=[x], loss="mse", target_bytes=1500, method="matrix"
    )
    compressed.save(tmp_path / "zeros.safetensors")
    loaded = wkmeans.load(tmp_path / "zeros.safetensors").state_dict()
    for name, tensor in compressed.state_dict().items():
        np.testing.assert_array_equal(loaded[name], tensor)


def test_importances_may_come_in_any_unit():
    """Those given weigh the table of embeddings against layers under their matrices."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(200, 32), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8))
    tokens = torch.randint(0, 200, (120, 6), generator=torch.Generator().manual_seed(1))
    own = wkmeans.importance.estimate(
        model, [(tokens, None)], objective="fisher", loss="mse", probes=4
    )
    sizes = []
    for unit in (1.0, 1e12, 1e-12):
        importances = {name: unit * own[name][0] for name in own}
        compressed = wkmeans.compress(
            model, calibration=[tokens], importances=importances, loss="mse", method="matrix",
            target_bytes=5000,
        )  # fmt: skip
        assert compressed.report().bytes >= 0.98 * 5000
        sizes.append(compressed["0.weight"].nbytes)
    assert max(sizes) <= 1.02 * min(sizes)


class BothWays(nn.Module):
    """A weight and its transpose, as tied autoencoders have them."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(24, 24))
        self.head = nn.Linear(24, 6)

    def forward(self, x):
        return self.head(nn.functional.linear((x @ self.weight).relu(), self.weight))


@pytest.mark.parametrize("size", [{"k": 4}, {"target_bytes": 1100}])
def test_a_weight_that_is_used_both_ways_goes_by_its_diagonal(size):
    torch.manual_seed(0)
    model = BothWays().eval()
    compressed = wkmeans.compress(
        model, calibration=[torch.randn(60, 24)], loss="mse", method="matrix", min_size=16, **size
    )
    weighed = {row.name: row.weighed for row in compressed.report().tensors if row.weighed}
    assert weighed == {"weight": "diagonal", "head.weight": "matrix"}
