"""Problems beyond what a device solves by itself: it sorts and sums, the host's solver decides."""

from __future__ import annotations

import math

import cuda_device
import numpy as np
import pytest
from cuda_device import on_device

from wkmeans import cost_curve, prune, wkmeans

torch = pytest.importorskip("torch")
pytestmark = cuda_device.needs_device

N = 20_000


def normal(n=N, seed=0, dtype=torch.float64):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def sparse_importance(n=N):
    u = torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.where(u < 0.2, 0, 2 * u)


FAMILIES = {
    "heavy tails": normal() / normal(seed=1).abs(),
    "clumps": (3 * normal()).round() + 1e-7 * normal(seed=1),
    "few": (20 * normal()).round(),
    "offset": 1e4 + 1e-3 * normal(),
    "above zero": normal().exp(),
    "below zero": -normal().exp(),
    "with zeros": normal() * (normal(seed=1) > -1),
    "decades": normal().sign() * (20 * normal(seed=1)).exp(),
}
quartic = pytest.mark.parametrize("quartic", [False, True], ids=["quadratic", "quartic"])
pinned = pytest.mark.parametrize("include_zero", [False, True], ids=["free", "pinned"])


def importances(quartic):
    H = normal(seed=2).abs() if quartic else None
    return {"importance": sparse_importance(), "quartic_importance": H}


def moved(tensors):
    return {name: on_device(tensor) for name, tensor in tensors.items()}


def assert_same_optimum(actual, expected):
    np.testing.assert_allclose(actual.cost, expected.cost, rtol=1e-9)
    assert expected.lower_bound <= actual.cost
    assert actual.lower_bound <= expected.cost
    np.testing.assert_allclose(actual.lower_bound, expected.lower_bound, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@quartic
@pinned
def test_the_optimum_is_the_cpus(family, quartic, include_zero):
    given = importances(quartic)
    for k in (1, 4):
        expected = wkmeans(family, k, **given, include_zero=include_zero)
        actual = wkmeans(on_device(family), k, **moved(given), include_zero=include_zero)
        assert_same_optimum(actual, expected)


@pytest.mark.parametrize("format", ["float8_e4m3fn", "int8", "bfloat16"])
@pytest.mark.parametrize("k", [1, 4, 300])  # more than int8 has values
@pinned
def test_the_optimum_in_a_format_is_the_cpus(format, k, include_zero):
    options = {"centroid_dtype": format, "include_zero": include_zero}
    given = importances(quartic=k == 4)
    expected = wkmeans(normal(), k, **given, **options)
    actual = wkmeans(on_device(normal()), k, **moved(given), **options)
    assert_same_optimum(actual, expected)
    if format == "int8":
        assert float(actual.scale) == float(expected.scale)


@pinned
def test_many_weights_beside_few_values_of_a_format(include_zero):
    w = 1 + 0.2 * torch.rand(N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    options = {"centroid_dtype": "float8_e4m3fn", "include_zero": include_zero}
    for k in (2, 3, 6):  # the values that are nearest to a weight are three
        expected = wkmeans(w, k, **options)
        assert_same_optimum(wkmeans(on_device(w), k, **options), expected)
    expected = cost_curve(w, 6, **options)
    np.testing.assert_allclose(cost_curve(on_device(w), 6, **options).cpu(), expected, rtol=1e-9)


@pytest.mark.parametrize("init", ["quantile", "linear", np.linspace(-1.5, 1.5, 12)])
@quartic
@pinned
def test_lloyd_makes_the_cpus_rounds(init, quartic, include_zero):
    options = {"solver": "lloyd", "init": init, "include_zero": include_zero, "max_iter": 20}
    given = importances(quartic)
    w = normal().abs() + 0.1 if include_zero else normal()
    expected = wkmeans(w, 12, **given, **options)
    actual = wkmeans(on_device(w), 12, **moved(given), **options)
    assert actual.n_iter == expected.n_iter
    assert torch.equal(actual.labels.cpu(), expected.labels)
    np.testing.assert_allclose(actual.cost, expected.cost, rtol=1e-12)


def test_lloyd_certifies_and_says_where_it_cannot_draw():
    w = on_device(normal())
    certified = wkmeans(w, 6, solver="lloyd", certify=True)
    assert certified.lower_bound == wkmeans(w, 6).lower_bound
    with pytest.raises(ValueError, match="init: 'kmeans\\+\\+' draws from at most 16384 different"):
        wkmeans(w, 6, solver="lloyd", init="kmeans++")
    assert wkmeans(w, 1, solver="lloyd", max_iter=2).cost >= wkmeans(w, 1).lower_bound


def test_many_clusters_of_float32_weights_and_importances():
    w, I = normal(dtype=torch.float32), sparse_importance().float()
    assert_same_optimum(
        wkmeans(on_device(w), 256, importance=on_device(I)), wkmeans(w, 256, importance=I)
    )


def test_few_different_weights_cost_nothing_and_importances_of_zero_count_one():
    w = (8 * normal()).round()
    plenty = wkmeans(on_device(w), 1000)
    assert plenty.cost == plenty.lower_bound == 0
    for name in ("importance", "quartic_importance"):
        actual = wkmeans(on_device(normal()), 4, **{name: on_device(0 * normal())})
        expected = wkmeans(normal(), 4)
        # Quartic importances of zero leave importances, which are absent: 1 each.
        assert_same_optimum(actual, expected)


@pinned
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_that_all_count_one_are_counted(dtype, include_zero):
    w = normal(70_000, dtype=torch.float32).to(dtype)
    w[7] = -0.0
    options = {"include_zero": include_zero}
    assert_same_optimum(wkmeans(on_device(w), 16, **options), wkmeans(w, 16, **options))
    np.testing.assert_allclose(
        cost_curve(on_device(w), 3, **options).cpu(), cost_curve(w, 3, **options), rtol=1e-9
    )
    w[50_001] = float("inf")
    with pytest.raises(ValueError, match=r"weights: .* got inf at index 50001$"):
        wkmeans(on_device(w), 2)


def test_a_count_beyond_a_counters_bits():
    n = 20 * 32_768 + 5  # more than one for each block
    equal = torch.full((n,), 1.5, dtype=torch.float16)
    assert wkmeans(on_device(equal), 3, include_zero=True).cost == 0
    # Among so many equal scores the host looks for none.
    mask = prune(on_device(equal), 0.3).cpu()
    n_kept = round(0.3 * n)
    assert mask[:n_kept].all()
    assert not mask[n_kept:].any()


@quartic
@pytest.mark.parametrize("format", [None, "int8"])
def test_cost_curves_are_the_cpus(quartic, format):
    given = importances(quartic)
    for include_zero in (False, True):
        options = {"include_zero": include_zero, "centroid_dtype": format}
        expected = cost_curve(normal(), 4, **given, **options)
        actual = cost_curve(on_device(normal()), 4, **moved(given), **options)
        np.testing.assert_allclose(actual.cpu(), expected, rtol=1e-9)


def refusals(weights, move_importances=lambda move: {}, **options):
    """On the CPU, on the device."""
    errors = []
    for move in (lambda tensor: tensor, on_device):
        moved = (
            {name: move(tensor) for name, tensor in weights.items()}
            if isinstance(weights, dict)
            else move(weights)
        )
        with pytest.raises((ValueError, OverflowError)) as raised:
            prune(moved, **move_importances(move), **options)
        errors.append((raised.type, str(raised.value)))
    return errors


@pytest.mark.parametrize("options", [{"density": 0.5}, {"pattern": (2, 4)}], ids=str)
def test_scores_beyond_float64_are_refused_as_on_the_cpu(options):
    w = torch.ones((3, 12), dtype=torch.float64)
    w[1, 7] = w[2, 0] = 1e200
    text = (
        "weights: expected scores I w^2 + H w^4 below 1.8e308, got 1e+200 at index (1, 7); "
        "scale the weights or importances down"
    )
    assert refusals(w, **options) == [(OverflowError, text)] * 2
    w[2, 11] = math.nan  # what is no weight comes before what is too large a one
    text = "weights: expected finite values, got nan at index (2, 11)"
    assert refusals(w, **options) == [(ValueError, text)] * 2


def test_a_score_beyond_float64_is_named_by_its_entry():
    sound, large = normal(5), torch.tensor([1.0, 1e80], dtype=torch.float64)
    H = {"a": None, "b": torch.ones(2, dtype=torch.float64)}
    on_cpu, there = refusals(
        {"a": sound, "b": large},
        lambda move: {"quartic_importance": {name: move(t) for name, t in H.items()}},
        density=0.5,
    )
    assert on_cpu == there
    assert "weights['b']: expected scores" in on_cpu[1]
    assert "got 1e+80 at index 1;" in on_cpu[1]
    bad = torch.tensor([1.0, math.inf], dtype=torch.float64)
    text = "weights['c']: expected finite values, got inf at index 1"
    together = {"b": large * 1e100, "c": bad}
    assert refusals(together, density=0.5) == [(ValueError, text)] * 2


def test_an_infinite_power_counts_nothing_where_its_importance_is_zero():
    w = torch.tensor([1e200, 3.0, 1e100, 2.0], dtype=torch.float64)
    I, H = torch.ones_like(w), torch.ones_like(w)
    I[0] = H[0] = H[2] = 0
    given = {"importance": I, "quartic_importance": H}
    for options in ({"density": 0.5}, {"pattern": (2, 4)}, {"density": 0.5, "axis": 0}):
        expected = torch.tensor([False, True, True, False])
        assert torch.equal(prune(w, **given, **options), expected)
        assert torch.equal(prune(on_device(w), **moved(given), **options).cpu(), expected)
