"""Theorem 2 and Lemma 1 against closed forms, exact rationals and sampling."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rate_distortion_cases import (
    EXACT,
    FIGURE_6,
    N_SAMPLES,
    Z_LIMIT,
    exact_water_level,
    problems,
    random_covariance,
)

from wkmeans.rate_distortion import (
    channel_information,
    compress_linear,
    gaussian_bound,
    linear_bound,
)

# --- Theorem 2: closed forms ------------------------------------------------------------------


@pytest.mark.parametrize("distortion", [0.01, 1.0, 3.9, 4.0, 5.0])
def test_one_gaussian_is_example_1(distortion):
    bound = linear_bound(distortion, [4.0], [1.0])
    assert bound.rate == pytest.approx(max(0.0, math.log2(4 / distortion) / 2), abs=EXACT)


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_white_weights_and_white_data(size):
    distortion, weight_variance, data_variance = 0.3 * size, 2.0, 0.7
    bound = linear_bound(distortion, np.full(size, weight_variance), np.full(size, data_variance))
    expected = size / 2 * math.log2(size * weight_variance * data_variance / distortion)
    assert bound.rate == pytest.approx(expected, rel=EXACT)
    assert bound.water_level == pytest.approx(distortion / size, rel=EXACT)
    np.testing.assert_allclose(bound.levels, distortion / size / data_variance, rtol=EXACT)


@pytest.mark.parametrize("distortion", [0.5, 6.0, 9.0, 11.0])
def test_two_levels(distortion):
    """Three rectangles of capacity 2 and two of capacity 5: a knot at 5 * 2, the end at 16."""
    weight_variances, data_variances = [1.0, 4.0, 5.0, 2.0, 10.0], [2.0, 0.5, 1.0, 1.0, 0.5]
    bound = linear_bound(distortion, weight_variances, data_variances)
    if distortion <= 10:
        level = distortion / 5
        expected = 3 / 2 * math.log2(2 / level) + math.log2(5 / level)
    else:
        level = (distortion - 6) / 2
        expected = math.log2(5 / level)
    assert bound.rate == pytest.approx(expected, abs=EXACT)
    assert bound.water_level == pytest.approx(level, abs=EXACT)


@pytest.mark.parametrize(
    ("distortion", "levels", "water_level", "rate"),
    [
        # (a) no rectangle is full: mu = D / 3
        (1.5, [1 / 6, 1 / 4, 1 / 2], 0.5, math.log2(36 / 0.5**3) / 2),
        # first kink: the third rectangle, of capacity 1, is exactly full
        (3.0, [1 / 3, 1 / 2, 1.0], 1.0, math.log2(36) / 2),
        # (b) two are open: mu = (D - 1) / 2
        (6.0, [2.5 / 3, 1.25, 1.0], 2.5, math.log2(36 / 2.5**2) / 2),
        # second kink: the second rectangle, of capacity 4, is exactly full
        (9.0, [4 / 3, 2.0, 1.0], 4.0, math.log2(9 / 4) / 2),
        # (c) one is open: mu = D - 5
        (12.0, [7 / 3, 2.0, 1.0], 7.0, math.log2(9 / 7) / 2),
        # all are full: the whole signal is the distortion, with nothing sent
        (14.0, [3.0, 2.0, 1.0], 9.0, 0.0),
        (1e6, [3.0, 2.0, 1.0], 9.0, 0.0),
    ],
)
def test_figure_6(distortion, levels, water_level, rate):
    bound = linear_bound(distortion, FIGURE_6, FIGURE_6)
    assert bound.rate == pytest.approx(rate, abs=EXACT)
    assert bound.water_level == pytest.approx(water_level, abs=EXACT)
    np.testing.assert_allclose(bound.levels, levels, rtol=EXACT)


@pytest.mark.parametrize(("kink", "before", "after"), [(3.0, 3, 2), (9.0, 2, 1)])
def test_figure_6_curvature_jumps_at_the_kinks(kink, before, after):
    """With n rectangles open, mu grows at rate 1 / n: both kinks change n and nothing else."""
    step = 1e-3
    mu = linear_bound([kink - step, kink, kink + step], FIGURE_6, FIGURE_6).water_level
    np.testing.assert_allclose(np.diff(mu) / step, [1 / before, 1 / after], rtol=1e-9)


@given(problems())
def test_water_level_is_the_exact_one(problem):
    _, weight_variances, data_variances = problem
    level = exact_water_level(*problem)
    bound = linear_bound(*problem)
    assert bound.water_level == pytest.approx(float(level), rel=EXACT)
    ratios = [
        max(1.0, float(Fraction(float(s)) * Fraction(float(x)) / level))
        for s, x in zip(weight_variances, data_variances, strict=True)
    ]
    expected = math.fsum(math.log2(ratio) for ratio in ratios) / 2
    assert bound.rate == pytest.approx(expected, rel=EXACT, abs=EXACT)


# --- Theorem 2: optimality --------------------------------------------------------------------


@given(problems())
def test_kkt_conditions(problem):
    distortion, weight_variances, data_variances = problem
    bound = linear_bound(*problem)
    contributions, capacities = data_variances * bound.levels, data_variances * weight_variances
    is_full = bound.levels == weight_variances
    reachable = min(distortion, capacities.sum())
    assert contributions.sum() == pytest.approx(reachable, rel=EXACT)
    assert np.all((bound.levels > 0) & (bound.levels <= weight_variances))
    np.testing.assert_allclose(contributions[~is_full], bound.water_level, rtol=EXACT)
    assert np.all(capacities[is_full] <= bound.water_level * (1 + EXACT))
    assert np.all(capacities[~is_full] > bound.water_level)


@given(problems(top=1.0), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_no_other_levels_of_the_same_distortion_have_a_lower_rate(problem, seed, step):
    distortion, weight_variances, data_variances = problem
    bound = linear_bound(*problem)
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(weight_variances)))
    others = np.maximum(shares, 1e-9) / np.maximum(shares, 1e-9).sum() * distortion / data_variances
    between = (1 - step) * bound.levels + step * others
    for levels in (others, between):
        assert gaussian_bound(weight_variances, levels) >= bound.rate - EXACT * (1 + bound.rate)


@given(problems(top=0.999))
def test_water_level_is_the_slope(problem):
    """dR/dD = -1 / (2 ln 2 mu), and R convex: chords bracket the tangent."""
    distortion, *variances = problem
    step = 1e-4
    left, middle, right = (
        linear_bound(distortion * factor, *variances).rate for factor in (1 - step, 1, 1 + step)
    )
    slope = -distortion / (2 * math.log(2) * linear_bound(*problem).water_level)
    rounding = 1e-8 * (1 + abs(slope))
    assert (middle - left) / step <= slope + rounding
    assert slope <= (right - middle) / step + rounding


@given(problems())
def test_curve_is_decreasing_and_convex(problem):
    _, weight_variances, data_variances = problem
    top = float(weight_variances @ data_variances)
    curve = linear_bound(np.linspace(0.01, 1.2, 60) * top, weight_variances, data_variances).rate
    rounding = EXACT * (1 + curve[0])
    assert np.all(np.diff(curve) <= 0)
    assert np.all(np.diff(curve, 2) >= -rounding)
    assert np.all(curve >= 0)
    assert np.all(curve[np.linspace(0.01, 1.2, 60) > 1] == 0)


# --- Theorem 2: symmetries and arrays ---------------------------------------------------------


@given(problems(), st.randoms(use_true_random=False))
def test_permutation(problem, random):
    distortion, weight_variances, data_variances = problem
    order = random.sample(range(len(weight_variances)), len(weight_variances))
    bound = linear_bound(*problem)
    shuffled = linear_bound(distortion, weight_variances[order], data_variances[order])
    assert shuffled.water_level == bound.water_level
    np.testing.assert_array_equal(shuffled.levels, bound.levels[order])
    assert shuffled.rate == pytest.approx(bound.rate, rel=EXACT, abs=EXACT)


@given(problems(), st.integers(-20, 20), st.integers(-20, 20))
def test_units_of_weights_and_data(problem, weight_exponent, data_exponent):
    """Powers of two change no digit, so equivariance holds to the last bit."""
    distortion, weight_variances, data_variances = problem
    weight_scale, data_scale = 2.0**weight_exponent, 2.0**data_exponent
    bound = linear_bound(*problem)
    scaled = linear_bound(
        distortion * weight_scale * data_scale,
        weight_variances * weight_scale,
        data_variances * data_scale,
    )
    assert scaled.rate == bound.rate
    np.testing.assert_array_equal(scaled.levels, bound.levels * weight_scale)


def test_an_array_of_distortions_is_the_curve_point_by_point():
    distortions = np.array([[0.1, 3.0, 5.0], [9.0, 13.0, 20.0]])
    curve = linear_bound(distortions, FIGURE_6, FIGURE_6)
    assert (curve.rate.shape, curve.levels.shape) == ((2, 3), (2, 3, 3))
    for index in np.ndindex(2, 3):
        point = linear_bound(distortions[index], FIGURE_6, FIGURE_6)
        assert isinstance(point.rate, np.float64) and point.levels.shape == (3,)
        assert point.rate == curve.rate[index]
        assert point.water_level == curve.water_level[index]
        np.testing.assert_array_equal(point.levels, curve.levels[index])


def test_many_weights_at_once():
    """A million rectangles of five sizes: the closed form counts them by size."""
    sizes, repeats = np.array([1.0, 2.0, 3.0, 5.0, 8.0]), 200_000
    weight_variances = np.tile(sizes, repeats)
    level = 4.0
    distortion = repeats * np.minimum(sizes, level).sum()
    bound = linear_bound(distortion, weight_variances, np.ones_like(weight_variances))
    expected = repeats * (math.log2(5 / level) + math.log2(8 / level)) / 2
    assert bound.water_level == pytest.approx(level, rel=EXACT)
    assert bound.rate == pytest.approx(expected, rel=EXACT)


# --- Lemma 1 and the information of the channel -----------------------------------------------


def test_lemma_1_is_the_difference_of_differential_entropies():
    covariance = np.array([[2.0, 0.6], [0.6, 1.0]])
    distortions = [0.5, 3.0]  # the second is above its variance, and h(W_2) is the minimum
    two_pi_e = 2 * math.pi * math.e
    entropy = math.log2(two_pi_e**2 * (2 * 1 - 0.36)) / 2
    subtracted = math.log2(two_pi_e * 0.5) / 2 + math.log2(two_pi_e * 1.0) / 2
    assert gaussian_bound(covariance, distortions) == pytest.approx(entropy - subtracted, abs=EXACT)


@given(problems())
def test_lemma_1_and_the_channel_agree_with_theorem_2_for_independent_weights(problem):
    _, weight_variances, _ = problem
    bound = linear_bound(*problem)
    close = pytest.approx(bound.rate, rel=EXACT, abs=EXACT)
    for weight_covariance in (weight_variances, np.diag(weight_variances)):
        assert gaussian_bound(weight_covariance, bound.levels) == close
        assert channel_information(weight_covariance, bound.levels) == close


def test_variances_alone_need_no_matrix():
    size = 200_000
    levels = np.full(size, 0.25)
    assert gaussian_bound(np.ones(size), levels) == pytest.approx(size, rel=EXACT)
    assert channel_information(np.ones(size), levels) == pytest.approx(size, rel=EXACT)


def test_information_of_the_channel_on_correlated_weights_by_sampling():
    rng = np.random.default_rng(10)
    covariance = random_covariance(rng, 3)
    variances, data = np.diagonal(covariance), np.array([1.0, 2.0, 0.5])
    weights = rng.multivariate_normal(np.zeros(3), covariance, N_SAMPLES)
    compressed = compress_linear(weights, 2.0, variances, data, rng)
    levels = linear_bound(2.0, variances, data).levels
    joint = np.cov(np.hstack([weights, compressed]).T)
    logdets = [np.linalg.slogdet(part)[1] for part in (joint[:3, :3], joint[3:, 3:], joint)]
    measured = (logdets[0] + logdets[1] - logdets[2]) / math.log(4)
    standard_error = math.sqrt(3 / N_SAMPLES) / math.log(2)
    assert abs(measured - channel_information(covariance, levels)) < Z_LIMIT * standard_error
