"""The floor under importances, budgets that are used, and samples that represent their tensor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wkmeans
from wkmeans.compression._quantize import as_weights


def weights_of(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(
    floor=st.sampled_from([None, 0, 0.01, 0.5]),
    with_quartic=st.booleans(),
    density=st.sampled_from([None, 0.4]),
    seed=st.integers(0, 99),
)
def test_the_floor_is_a_share_of_the_mean(floor, with_quartic, density, seed):
    weights = weights_of(seed, 12, 40)
    rng = np.random.default_rng(seed)
    importance, quartic = np.exp(rng.normal(0, 3, (2, 12, 40)))
    given_pair = (importance, quartic if with_quartic else None)
    compressed = wkmeans.compress(
        {"w": weights}, k=5, importances={"w": given_pair}, floor=floor, density=density
    )["w"]
    e = 1.0 if floor is None else floor
    raised = {"importance": importance + e * importance.mean()}
    if with_quartic:
        raised["quartic_importance"] = quartic + e * quartic.mean()
    if density is None:
        expected = wkmeans.wkmeans(weights, 5, **raised).dequantize()
        np.testing.assert_array_equal(compressed.dequantize(), expected)
    else:
        mask = wkmeans.prune(weights, density, **raised)
        np.testing.assert_array_equal(compressed.dequantize() != 0, mask)
    error = weights.astype(float) - compressed.dequantize()
    cost = (importance * error**2).sum() + with_quartic * (quartic * error**4).sum()
    assert compressed.cost == pytest.approx(cost, rel=1e-9)


def test_a_vector_of_importances_is_raised_as_the_tensor_is():
    weights, vector = weights_of(1, 30, 20), np.exp(np.random.default_rng(2).normal(0, 3, 20))
    for floor in (0.0, 0.2):
        found = wkmeans.compress({"w": weights}, k=4, importances={"w": vector}, floor=floor)["w"]
        whole = np.broadcast_to(vector + floor * vector.mean(), weights.shape)
        expected = wkmeans.wkmeans(weights, 4, importance=whole).dequantize()
        np.testing.assert_array_equal(found.dequantize(), expected)


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_floors_are_not_negative(bad):
    with pytest.raises(ValueError, match="floor: expected a finite, non-negative number"):
        wkmeans.compress({"w": weights_of(1, 9, 9)}, k=2, floor=bad)


@pytest.mark.parametrize("options", [{"bits": 3}, {"target_bits_per_weight": 3}])
def test_a_neuron_never_activated_keeps_its_energy_and_is_named(options):
    weights = weights_of(3, 64, 500)
    importance = np.exp(np.random.default_rng(4).normal(0, 2, weights.shape))
    importance[17] = 0
    importance[40] *= 1e-9
    importances = {"w": importance}
    kept = {}
    for floor in (None, 0):
        compressed = wkmeans.compress(
            {"w": weights}, importances=importances, floor=floor, **options
        )
        values = compressed["w"].dequantize()
        kept[floor] = [(values[r] ** 2).sum() / (weights[r] ** 2).sum() for r in (17, 40)]
        (row,) = compressed.report().tensors
        assert row.unseen == ((17, 40) if floor is None else ())
        assert ("w: never seen" in str(compressed.report())) == (floor is None)
    assert min(kept[None]) > 0.5


def test_an_expert_never_seen_is_pruned_like_the_others():
    experts = weights_of(5, 4, 32, 50)
    importance = np.exp(np.random.default_rng(6).normal(0, 1, experts.shape))
    importance[2] = 0
    values = wkmeans.compress({"w": experts}, k=9, density=0.5, importances={"w": importance})
    kept = (values["w"].dequantize() != 0).reshape(4, -1).mean(axis=1)
    assert kept.mean() == 0.5 and kept[2] > 0.35
    raw = wkmeans.compress({"w": experts}, k=9, density=0.5, importances={"w": importance}, floor=0)
    assert (raw["w"].dequantize()[2] != 0).mean() == 0


def test_a_tensor_never_seen_counts_as_the_mean_of_the_network():
    model = {"a": weights_of(7, 40, 60), "b": weights_of(8, 40, 60)}
    importances = {"a": np.full((40, 60), 3.0), "b": np.zeros((40, 60))}
    report = wkmeans.compress(model, importances=importances, target_bytes=2400).report()
    assert [len(row.unseen) for row in report.tensors] == [0, 40]
    sizes = [row.bytes for row in report.tensors]
    assert 0.5 < sizes[1] / sizes[0] < 1
    assert report.bytes >= 0.99 * 2400


@pytest.mark.parametrize("options", [{}, {"solver": "optimal"}, {"granularity": "channel"}])
def test_a_size_is_used_or_the_report_says_how_much_is_not(options):
    rng = np.random.default_rng(9)
    model = {name: rng.standard_normal((60, 90)).astype(np.float32) for name in "ab"}
    concentrated = {
        name: np.exp(rng.normal(0, 3, (60, 1)) + rng.normal(0, 3, 90)) * (rng.random((60, 1)) < 0.1)
        for name in model
    }
    for importances, floor in ((concentrated, None), (concentrated, 0), (None, None)):
        report = wkmeans.compress(
            model, importances=importances, floor=floor, target_bits_per_weight=4, **options
        ).report()
        assert report.bytes <= 4 * 2 * 5400 / 8
        unused = 4 * 2 * 5400 // 8 - report.bytes
        if unused > 0.01 * 4 * 2 * 5400 / 8:
            assert report.not_used == unused
            assert f"{unused:,}" in str(report) and "not used" in str(report)
        else:
            assert report.not_used == 0 and "not used" not in str(report)
        if not options and floor is None:
            assert report.not_used == 0


@pytest.mark.parametrize("solver", ["optimal", "entropy-constrained"])
def test_no_tensor_becomes_one_value(solver):
    rng = np.random.default_rng(10)
    model = {name: rng.standard_normal((100, 120)).astype(np.float32) for name in "abc"}
    importances = {name: np.full((1, 1), 10.0 ** (-3 * i)) for i, name in enumerate(model)}
    compressed = wkmeans.compress(
        model, importances=importances, target_bits_per_weight=1.5, solver=solver
    )
    for name in model:
        assert len(np.unique(compressed[name].dequantize())) > 1


def test_one_value_is_said():
    report = wkmeans.compress({"w": weights_of(11, 20, 20)}, k=1).report()
    assert "w: reduced to one value" in str(report)


def test_samples_hold_rare_large_rows():
    weights = weights_of(12, 3000, 32)
    weights[[7, 1234]] *= 300
    part = as_weights(weights, None, None).representative(4096)
    assert len(part.rows) == 128
    assert (np.abs(part.rows) > 100).any(axis=1).sum() == 2
    energy = (part.rows.astype(float) ** 2 * part.importance).sum()
    assert energy == pytest.approx((weights.astype(float) ** 2).sum(), rel=0.01)
    ordinary = np.abs(part.rows).max(axis=1) < 20
    light = (part.rows[ordinary].astype(float) ** 2 * part.importance[ordinary]).sum()
    others = np.delete(weights, [7, 1234], axis=0)
    assert light == pytest.approx((others.astype(float) ** 2).sum(), rel=0.02)


@pytest.mark.parametrize("solver", ["optimal", "entropy-constrained"])
def test_rare_large_rows_survive_a_budget(solver):
    weights = weights_of(13, 2000, 32)
    weights[[7, 1234]] *= 300
    compressed = wkmeans.compress({"w": weights}, target_bits_per_weight=3, solver=solver)
    error = weights.astype(float) - compressed["w"].dequantize()
    assert (error[[7, 1234]] ** 2).sum() < 0.1 * (weights[[7, 1234]].astype(float) ** 2).sum()


def test_more_bytes_lessen_the_cost_until_there_is_none():
    rng = np.random.default_rng(11)
    model = {f"{n}": rng.standard_normal((16, n)).astype(np.float32) for n in (16, 40)}
    dense = sum(w.nbytes for w in model.values())
    sizes = (1000, 1400, 1700, 2200, 3000, dense + 1000, 10 * dense)
    found = [wkmeans.compress(model, target_bytes=n) for n in sizes]
    costs = [c.report().cost for c in found]
    assert all(c.nbytes <= n for c, n in zip(found, sizes, strict=True))
    assert costs == sorted(costs, reverse=True) and costs[2] > costs[3] > costs[4] > costs[5] == 0
    reasons = [row.reason or "" for c in found[-2:] for row in c.report().tensors]
    why = ("has room for it as it is", "would not be smaller")  # as rich a codebook as that
    assert all(any(text in reason for text in why) for reason in reasons)
    assert all(np.array_equal(found[-1][name].dequantize(), w) for name, w in model.items())


def test_density_is_kept_whatever_room_there_is():
    model = {"w": np.random.default_rng(12).standard_normal((16, 40)).astype(np.float32)}
    compressed = wkmeans.compress(model, target_bytes=10_000, density=0.5)
    assert np.count_nonzero(compressed["w"].dequantize()) <= 320
