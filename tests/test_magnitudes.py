"""Weights and importances anywhere in float64's range: the same optimum at every power of two."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wkmeans

LARGEST = float(np.finfo(np.float64).max)


def draw(seed, n=60, quartic=True):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_t(3, n),
        rng.uniform(0.5, 2.0, n),
        rng.uniform(0.5, 2.0, n) if quartic else None,
    )


def power(values, exponent):
    """`values` times a power of two, exactly."""
    return None if values is None else np.ldexp(values, exponent)


@given(
    seed=st.integers(0, 10**6),
    k=st.sampled_from([1, 2, 5, 30]),
    quartic=st.booleans(),
    include_zero=st.booleans(),
    weight=st.integers(-900, 900),
    cost=st.integers(-900, 900),
)
def test_powers_of_two_change_no_label(seed, k, quartic, include_zero, weight, cost):
    w, i, h = draw(seed, quartic=quartic)
    exponents = [cost - 2 * weight, cost - 4 * weight]
    if any(abs(e) > 1000 for e in exponents[: 1 + quartic]):
        return  # these importances are beyond float64 themselves
    kinds = {"include_zero": include_zero}
    one = wkmeans.wkmeans(w, k, importance=i, quartic_importance=h, **kinds)
    two = wkmeans.wkmeans(
        power(w, weight),
        k,
        importance=power(i, exponents[0]),
        quartic_importance=power(h, exponents[1]),
        **kinds,
    )
    np.testing.assert_array_equal(two.labels, one.labels)
    np.testing.assert_array_equal(two.centroids, power(one.centroids, weight))
    assert two.cost == np.ldexp(one.cost, cost)
    # The multipliers that bounds are found with are looked for on a logarithmic scale.
    assert two.lower_bound == pytest.approx(np.ldexp(one.lower_bound, cost), rel=1e-10)


@pytest.mark.parametrize("include_zero", [False, True])
@pytest.mark.parametrize("n", [40, 400])
@pytest.mark.parametrize("exponent", [-900, 900])
def test_weights_that_count_1_count_1_at_any_magnitude(exponent, n, include_zero):
    """Where neither importance counts, though both were given."""
    w = draw(1, n)[0]
    none = np.zeros(n)
    kinds = {"importance": none, "quartic_importance": none, "include_zero": include_zero}
    one = wkmeans.wkmeans(w, 3, **kinds)
    two = wkmeans.wkmeans(power(w, exponent), 3, **kinds)
    np.testing.assert_array_equal(two.labels, one.labels)
    np.testing.assert_array_equal(two.centroids, power(one.centroids, exponent))


@pytest.mark.parametrize("exponent", [230, 500, 900, 1020])
@pytest.mark.parametrize("options", [{}, {"solver": "lloyd"}, {"include_zero": True}])
def test_what_costs_more_than_a_double_holds(exponent, options):
    w, i, _ = draw(7)
    one = wkmeans.wkmeans(w, 5, importance=i, **options)
    two = wkmeans.wkmeans(power(w, exponent), 5, importance=i, **options)
    np.testing.assert_array_equal(two.labels, one.labels)
    np.testing.assert_array_equal(two.centroids, power(one.centroids, exponent))
    with np.errstate(over="ignore"):
        cost = np.ldexp(one.cost, 2 * exponent)
    assert two.cost == cost
    if not options.get("solver"):
        bound = LARGEST if cost == np.inf else np.ldexp(one.lower_bound, 2 * exponent)
        assert two.lower_bound == pytest.approx(bound, rel=1e-10)


def test_the_ends_of_the_range():
    w = np.array([LARGEST, -LARGEST, LARGEST / 2, 0.75 * LARGEST, 3.0])
    found = wkmeans.wkmeans(w, 2)
    np.testing.assert_array_equal(found.labels, [1, 0, 1, 1, 1])
    np.testing.assert_allclose(found.centroids / LARGEST, [-1.0, 0.5625])
    assert found.cost == np.inf
    assert found.lower_bound == LARGEST


@pytest.mark.parametrize("weight", [-1070, -600, -300])
def test_costs_below_what_a_double_holds(weight):
    steps = np.array([1.0, 2.0, 6.0, 8.0, 13.0])
    found = wkmeans.wkmeans(power(steps, weight), 2)
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(
        found.labels, oracle.nearest_labels(power(steps, weight), found.centroids)
    )
    assert found.lower_bound <= found.cost


def test_an_absent_fourth_power_costs_nothing():
    w, ones, none = [0.0, 1e80, 3e80], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]
    expected = wkmeans.wkmeans(w, 2, importance=ones)
    found = wkmeans.wkmeans(w, 2, importance=ones, quartic_importance=none)
    np.testing.assert_array_equal(found.labels, [0, 0, 1])
    np.testing.assert_array_equal(found.centroids, [5e79, 3e80])
    assert found.cost == pytest.approx(5e159, rel=1e-12)
    assert (found.cost, found.lower_bound) == (expected.cost, expected.lower_bound)


@pytest.mark.parametrize("h", [1e245, 1e248, 1e290, 1e307])
@pytest.mark.parametrize("seed", range(3))
def test_a_pinned_zero_beside_heavy_quartic_importances(seed, h):
    """What weighs more than all of them outgrew the range: the bound lay above the cost."""
    n, k = 268, 49
    w = 0.02 * np.random.default_rng(seed).standard_t(3, n)
    found = wkmeans.wkmeans(
        w, k, importance=np.ones(n), quartic_importance=np.full(n, h), include_zero=True
    )
    assert found.lower_bound <= found.cost
    assert found.cost - found.lower_bound <= 1e-9 * found.cost
    other = wkmeans.wkmeans(
        w, k, importance=np.full(n, 1 / h), quartic_importance=np.ones(n), include_zero=True
    )
    assert found.cost == pytest.approx(other.cost * h, rel=1e-9)
    assert np.any(found.centroids == 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float8_e4m3fn", "int8"])
@pytest.mark.parametrize("exponent", [-960, -300, 0, 300, 900])
def test_formats_far_from_the_weights(dtype, exponent):
    """Their values stay where they are: what lies beyond them goes to the last one."""
    w, _, _ = draw(3)
    found = wkmeans.wkmeans(power(w, exponent), 4, centroid_dtype=dtype)
    scale = 1.0 if found.scale is None else float(found.scale)
    centroids = np.asarray(found.centroids).astype(np.float64) * scale
    assert np.all(np.isfinite(centroids))
    np.testing.assert_array_equal(
        found.labels, oracle.nearest_labels(power(w, exponent), centroids)
    )
    assert found.lower_bound <= found.cost


def test_rows_are_scaled_each_for_itself():
    w, _, _ = draw(5)
    rows = np.stack([w, power(w, 900), power(w, -900), w])
    together = wkmeans.wkmeans(rows, 4, axis=-1)
    for row, labels, centroids, cost in zip(
        rows, together.labels, together.centroids, together.cost, strict=True
    ):
        alone = wkmeans.wkmeans(row, 4)
        np.testing.assert_array_equal(labels, alone.labels)
        np.testing.assert_array_equal(centroids, alone.centroids)
        assert cost == alone.cost


def test_curves_at_every_power_of_two():
    w, i, h = draw(11)
    curve = wkmeans.cost_curve(w, 12, importance=i, quartic_importance=h)
    far = wkmeans.cost_curve(
        power(w, 250), 12, importance=power(i, 400), quartic_importance=power(h, -100)
    )
    np.testing.assert_array_equal(far, np.ldexp(curve, 900))


def test_importances_that_vanish_beside_others_still_count():
    w = np.array([0.0, 1e300, 2e300, 1.0])
    i = np.array([1.0, 1e300, 1e300, 5e-324])
    found = wkmeans.wkmeans(w, 3, importance=i)
    assert found.lower_bound <= found.cost
    np.testing.assert_array_equal(found.labels, oracle.nearest_labels(w, found.centroids))


def test_bad_values_are_named_as_they_came():
    w = np.array([1e300, np.nan, 2e300])
    with pytest.raises(ValueError, match=r"weights: .*nan.*index 1"):
        wkmeans.wkmeans(w, 2)
    with pytest.raises(ValueError, match=r"importance: .*-1.0.*index 2"):
        wkmeans.wkmeans([1e300, 2e300, 3e300], 2, importance=[1.0, 1.0, -1.0])


def test_light_clusters_beside_heavy_ones_are_told_apart():
    """Costs 2^1,400 apart: what scaling hides must stay below the lightest."""
    tiny, most = 2.0**-149, float(np.finfo(np.float32).max)
    w = np.array([0.0, tiny, 4 * tiny, -most, most, 2.0**-126], np.float32)
    h = np.array([tiny, tiny, tiny, most, most, most], np.float32)
    i = np.zeros(6, np.float32)
    for centroid_dtype in ("float64", "float32"):
        found = wkmeans.wkmeans(
            w, 5, importance=i, quartic_importance=h, centroid_dtype=centroid_dtype
        )
        # 0 and the smallest float are one cluster, about what lies halfway or about either.
        best = np.ldexp(2.0, -149 - 4 * 150) if centroid_dtype == "float64" else tiny**5
        assert found.cost == pytest.approx(best, rel=1e-9)
        assert found.lower_bound <= found.cost
        assert found.lower_bound == pytest.approx(np.ldexp(2.0, -149 - 4 * 150), rel=1e-9)
        assert found.labels[0] == found.labels[1] != found.labels[2]


def test_light_clusters_of_small_weights_are_told_apart():
    """What underflow may hide grows with importances, which small weights leave large."""
    w = np.array([0.0, 2.0**-300, 2.0**-280, 2.0**-50, -(2.0**-50)])
    found = wkmeans.wkmeans(w, 4, importance=np.zeros(5), quartic_importance=np.full(5, 2.0**700))
    np.testing.assert_array_equal(found.labels, [1, 1, 2, 3, 0])
    best = 2.0 ** (1 + 700 - 4 * 301)
    assert found.cost == pytest.approx(best, rel=1e-9)
    assert found.lower_bound == pytest.approx(best, rel=1e-9)
    assert found.lower_bound <= found.cost


@pytest.mark.parametrize("quartic", [False, True])
@pytest.mark.parametrize("include_zero", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_light_importances_keep_their_digits_beside_heavy_ones(seed, include_zero, quartic):
    """Weights so heavy that each has a centroid of its own: what is left is the light ones' cost,
    whose digits scaling the heavy ones into range would take."""
    rng = np.random.default_rng(seed)
    w = np.append([0.0, 1.0, 1.5], 2.0 + np.cumsum(rng.uniform(0.5, 1.5, 9)))
    light = rng.integers(1, 1 << 12, 9) * 2.0**-1060
    i = np.concatenate([[2.0**700, 2.0**-545, 2.0**690], light])
    h = np.concatenate([[2.0**600, 2.0**-545, 2.0**650], light[::-1]]) if quartic else None
    found = wkmeans.wkmeans(w, 6, importance=i, quartic_importance=h, include_zero=include_zero)
    best = oracle.optimal(w, i, h, 6)
    np.testing.assert_array_equal(
        found.labels, oracle.nearest_labels(w, np.array([float(c) for c in best.centroids]))
    )
    # Denormal figures have few digits.
    assert float(best.cost) <= found.cost <= float(best.cost) * (1 + 1e-4)
    assert found.lower_bound <= float(best.cost)


@pytest.mark.parametrize("seed", range(8))
def test_a_cost_beside_what_scaling_lost_is_no_less_than_it_is(seed):
    rng = np.random.default_rng(seed)
    w = np.append(1e6, rng.standard_normal(500))
    i = np.append(2.0**950, rng.uniform(0.0, 1.0, 500) * 2.0**-950)
    found = wkmeans.wkmeans(w, 4, importance=i)
    exact = sum(
        Fraction(importance) * (Fraction(weight) - Fraction(centroid)) ** 2
        for weight, importance, centroid in zip(
            w.tolist(), i.tolist(), found.dequantize().tolist(), strict=True
        )
    )
    assert Fraction(found.lower_bound) <= exact <= Fraction(found.cost)
    assert found.cost <= found.lower_bound * (1 + 1e-9)
