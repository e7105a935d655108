"""Importances weight by weight under calibration: estimated as far as somebody asks for them."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import wkmeans

torch = pytest.importorskip("torch", reason="calibration needs torch")

from torch import nn  # noqa: E402

from wkmeans.compression.calibration import diagonals as diagonals_module  # noqa: E402
from wkmeans.compression.calibration import search  # noqa: E402
from wkmeans.compression.calibration.batches import read_inputs, some_of_all  # noqa: E402
from wkmeans.compression.calibration.diagonals import Diagonals  # noqa: E402
from wkmeans.compression.source import open_source  # noqa: E402

LAYERS = ["1.weight", "3.weight"]


def with_a_table() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(200, 32), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8)
    ).eval()


def tokens(n: int) -> torch.Tensor:
    return torch.randint(0, 200, (n, 6), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def estimated(monkeypatch):
    """Names and numbers of examples of every estimate."""
    calls = []

    def recorded(model, pairs, *, parameters, **options):
        found = wkmeans.importance.estimate(model, pairs, parameters=parameters, **options)
        calls.append((list(found), sum(len(inputs) for inputs, _ in pairs)))
        return found

    monkeypatch.setattr(search, "estimate", recorded)
    return calls


def test_none_where_every_tensor_has_a_matrix(estimated):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 8)).eval()
    x = torch.randn(200, 48)
    report = wkmeans.compress(model, calibration=[x], loss="mse", target_bytes=2600).report()
    assert list(report.tried) == ["unweighted", "matrix, sturdy", "matrix"]
    assert estimated == []


def test_those_of_tensors_without_a_matrix_and_a_few_of_the_rest(estimated):
    model = with_a_table()
    batches = [tokens(100), tokens(60)]  # of which a fifth judges
    compressed = wkmeans.compress(
        model, calibration=batches, loss="mse", method="matrix", target_bytes=6000
    )
    (table, n_table), (layers, n_layers) = estimated
    assert (table, n_table) == (["0.weight"], 128)
    assert (layers, n_layers) == (LAYERS, 64)
    assert {r.name: r.weighed for r in compressed.report().tensors if r.reason is None} == {
        "0.weight": "diagonal", "1.weight": "matrix", "3.weight": "matrix",
    }  # fmt: skip


def test_sums_of_many_weights_come_by_several_estimates(estimated, monkeypatch):
    model, batches = with_a_table(), [tokens(100)]
    units = []
    for most in (1 << 22, 2500):
        monkeypatch.setattr(diagonals_module, "_WEIGHTS_OF_A_SUM", most)
        trial = search._Trial(
            model, open_source(model), None, search.Calibration(batches, loss="mse"), None, None
        )
        units.append(trial._diagonals.in_all(LAYERS))
    assert [names for names, _ in estimated] == [LAYERS, ["1.weight"], ["3.weight"]]
    assert units[0] == pytest.approx(units[1], rel=0.2) and units[0] > 0


def test_what_follows_from_an_estimate_is_not_held():
    model = with_a_table()
    known = dict(model.named_parameters())
    pairs = [(tokens(20), None)]

    def estimate(names, _):
        return wkmeans.importance.estimate(
            model, pairs, objective="fisher", loss="mse", parameters=names
        )

    found = diagonals(model, estimate=estimate)
    found.prepare(list(known))
    first = found["0.weight"][0]
    assert torch.equal(first, found["0.weight"][0])
    held = weakref.ref(first)
    del first
    assert held() is None


@pytest.mark.parametrize("size", [1, 7, 300])
@pytest.mark.parametrize("most", [1, 2, 64, 299, 1000])
def test_some_examples_come_evenly_from_all_batches(size, most):
    examples = torch.arange(300.0)
    found = some_of_all(read_inputs(examples.split(size)), most)
    values = torch.cat([one.value() for one in found])
    count = min(most, 300)
    assert values.tolist() == [i * 300 // count for i in range(count)]


def test_all_that_are_compressed_where_diagonals_are_asked_for(estimated):
    model = with_a_table()
    wkmeans.compress(
        model, calibration=[tokens(50)], loss="mse", method="diagonal", target_bytes=6000,
        exclude=["3.weight"],
    )  # fmt: skip
    assert estimated == [(["0.weight", "1.weight"], 40)]


def test_diagonals_are_tried_where_no_matrix_can_be_had(estimated):
    torch.manual_seed(0)
    table = nn.Embedding(400, 32)
    report = wkmeans.compress(
        table, calibration=[tokens(50)], loss="mse", target_bytes=5000
    ).report()
    assert not any("matrix" in name for name in report.tried)
    assert any("diagonal" in name for name in report.tried)
    assert estimated == [(["weight"], 40)]


def test_wrappers_change_nothing(estimated):
    batches = [tokens(100), tokens(60)]
    files = []
    for model in (with_a_table(), nn.DataParallel(with_a_table())):
        made = wkmeans.compress(
            model, calibration=batches, loss="mse", method="matrix", target_bytes=6000
        )
        files.append(made.to_bytes())
    assert estimated[:2] == estimated[2:]
    assert files[0] == files[1]


def diagonals(model, given=None, estimate=None) -> Diagonals:
    return Diagonals(model, open_source(model), given, estimate)


def test_they_are_estimated_once_and_others_count_their_mean():
    model = with_a_table()
    model.register_buffer("scales", torch.ones(4, 4))
    calls = []

    def estimate(names, most):
        calls.append((list(names), most))
        return {name: (torch.full((1,), float(len(name))), None) for name in names}

    found = diagonals(model, estimate=estimate)
    found.prepare(LAYERS)
    found.prepare(["1.weight"])
    assert calls == [(LAYERS, None)]
    assert float(found["0.weight"][0]) == 8
    assert calls[1:] == [(["0.weight", "1.bias", "3.bias"], None)]
    assert float(found["scales"][0]) == pytest.approx((3 * 8 + 2 * 6) / 5)
    with pytest.raises(KeyError):
        found["none"]


def test_sums_are_of_whole_tensors():
    model = with_a_table()
    given = {"1.weight": (np.float64(2.0), None), "3.weight": torch.full((8, 1), 3.0)}
    assert diagonals(model, given).in_all(LAYERS) == 2.0 * 32 * 64 + 3.0 * 8 * 64
