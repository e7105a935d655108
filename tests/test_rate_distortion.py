"""Theorem 2, Algorithm 1 and Lemma 1 against closed forms, exact rationals and sampling."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkmeans.rate_distortion import (
    channel_information,
    compress_linear,
    decorrelate,
    gaussian_bound,
    linear_bound,
    linear_bound_full,
)

EXACT = 1e-12
FIGURE_6 = np.array([3.0, 2.0, 1.0])  # the paper's example: Sigma_W = Sigma_X = diag(3, 2, 1)
N_SAMPLES = 40_000
Z_LIMIT = 4.5  # standard errors; the seeds are fixed, so a pass here stays a pass


@st.composite
def problems(draw, max_size=7, top=1.2):
    """Variances over 8 decades with ties, and a distortion from near 0 to past D_max."""
    variance = st.one_of(st.sampled_from([0.5, 1.0, 2.0]), st.floats(1e-4, 1e4))
    size = draw(st.integers(1, max_size))
    weight_variances, data_variances = (
        np.array(draw(st.lists(variance, min_size=size, max_size=size))) for _ in range(2)
    )
    share = draw(st.one_of(st.floats(1e-9, top), st.floats(1e-3, min(top, 0.999))))
    return share * float(weight_variances @ data_variances), weight_variances, data_variances


def exact_water_level(distortion, weight_variances, data_variances):
    """The oracle: try every number of full rectangles, in rational arithmetic."""
    capacities = sorted(
        Fraction(float(s)) * Fraction(float(x))
        for s, x in zip(weight_variances, data_variances, strict=True)
    )
    for n_full in range(len(capacities)):
        level = (Fraction(distortion) - sum(capacities[:n_full])) / (len(capacities) - n_full)
        if level <= capacities[n_full]:
            return level
    return capacities[-1]


def random_covariance(rng, size, condition=10.0):
    basis, _ = np.linalg.qr(rng.standard_normal((size, size)))
    covariance = basis * np.geomspace(1, condition, size) @ basis.T
    return (covariance + covariance.T) / 2


def model_distortion(weights, compressed, data_covariance):
    error = weights - compressed
    return np.einsum("ni,ij,nj->n", error, data_covariance, error)


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


# --- Algorithm 1: independent weights ---------------------------------------------------------


@pytest.mark.parametrize("distortion", [1.5, 3.0, 6.0, 9.0, 12.0])
def test_compressor_meets_the_distortion(distortion):
    rng = np.random.default_rng(int(distortion * 10))
    weights = rng.standard_normal((N_SAMPLES, 3)) * np.sqrt(FIGURE_6)
    compressed = compress_linear(weights, distortion, FIGURE_6, FIGURE_6, rng)
    measured = model_distortion(weights, compressed, np.diag(FIGURE_6))
    standard_error = measured.std() / math.sqrt(N_SAMPLES)
    assert abs(measured.mean() - distortion) < Z_LIMIT * standard_error


@pytest.mark.parametrize("distortion", [1.5, 3.0, 6.0, 9.0, 12.0])
def test_compressor_meets_the_rate(distortion):
    """Gaussian information from the sample covariance of (W, W_hat), across coordinates too."""
    rng = np.random.default_rng(int(distortion * 10) + 1)
    weights = rng.standard_normal((N_SAMPLES, 3)) * np.sqrt(FIGURE_6)
    compressed = compress_linear(weights, distortion, FIGURE_6, FIGURE_6, rng)
    bound = linear_bound(distortion, FIGURE_6, FIGURE_6)
    kept = bound.levels < FIGURE_6
    joint = np.hstack([weights, compressed[:, kept]])
    parts = [np.atleast_2d(np.cov(part.T)) for part in (weights, compressed[:, kept], joint)]
    logdets = [np.linalg.slogdet(part)[1] for part in parts]
    measured = (logdets[0] + logdets[1] - logdets[2]) / math.log(4)
    # Fisher: the estimate's variance is the sum of squared correlations over n, in squared nats.
    squared_correlations = 1 - bound.levels / FIGURE_6
    standard_error = math.sqrt(squared_correlations.sum() / N_SAMPLES) / math.log(2)
    bias = 3 * kept.sum() / (2 * N_SAMPLES * math.log(2))
    assert abs(measured - bias - bound.rate) < Z_LIMIT * standard_error


def test_compressed_weights_are_independent_of_their_error():
    """Golden rule 1, as Algorithm 1 has it: E[W_hat (W - W_hat)] = 0, and the variances split."""
    distortion = 6.0
    rng = np.random.default_rng(6)
    weights = rng.standard_normal((N_SAMPLES, 3)) * np.sqrt(FIGURE_6)
    compressed = compress_linear(weights, distortion, FIGURE_6, FIGURE_6, rng)
    levels = linear_bound(distortion, FIGURE_6, FIGURE_6).levels
    products = compressed * (weights - compressed)
    standard_error = products.std(axis=0) / math.sqrt(N_SAMPLES)
    assert np.all(np.abs(products.mean(axis=0)) <= Z_LIMIT * standard_error)
    relative_error = math.sqrt(2 / N_SAMPLES)
    for variance, expected in [
        (compressed.var(axis=0), FIGURE_6 - levels),
        ((weights - compressed).var(axis=0), levels),
    ]:
        assert np.all(np.abs(variance - expected) <= Z_LIMIT * relative_error * expected)


def test_distortion_needs_only_second_moments():
    """Two-valued weights, nothing like Gaussian, meet the same distortion."""
    rng = np.random.default_rng(7)
    weights = rng.choice([-1.0, 1.0], size=(N_SAMPLES, 3)) * np.sqrt(FIGURE_6)
    compressed = compress_linear(weights, 6.0, FIGURE_6, FIGURE_6, rng)
    measured = model_distortion(weights, compressed, np.diag(FIGURE_6))
    assert abs(measured.mean() - 6.0) < Z_LIMIT * measured.std() / math.sqrt(N_SAMPLES)


def test_full_rectangles_are_discarded_and_open_ones_are_not():
    """The algorithm as printed has this the wrong way round."""
    rng = np.random.default_rng(8)
    compressed = compress_linear(rng.standard_normal((100, 3)), 5.0, FIGURE_6, FIGURE_6, rng)
    assert np.all(compressed[:, 2] == 0)
    assert np.all(compressed[:, :2] != 0)


def test_beyond_the_largest_distortion_nothing_is_sent():
    weights = np.ones((4, 3))
    assert not compress_linear(weights, 14.0, FIGURE_6, FIGURE_6, 0).any()
    assert not compress_linear(weights, 99.0, FIGURE_6, FIGURE_6, 0).any()


def test_tiny_distortion_gives_the_weights_back():
    weights = np.array([1.0, -2.0, 0.5])
    compressed = compress_linear(weights, 1e-20, FIGURE_6, FIGURE_6, 0)
    np.testing.assert_allclose(compressed, weights, atol=1e-8)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (0, 3), (2, 4, 3)])
def test_compressor_shapes_and_seeds(shape):
    weights = np.random.default_rng(9).standard_normal(shape).astype(np.float32)
    weights.flags.writeable = False
    before = weights.copy()
    first = compress_linear(weights, 2.0, FIGURE_6, FIGURE_6, np.random.default_rng(1))
    again = compress_linear(weights, 2.0, FIGURE_6, FIGURE_6, 1)
    assert (first.shape, first.dtype) == (shape, np.float64)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(weights, before)


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


# --- correlated weights and data --------------------------------------------------------------


@given(problems())
def test_diagonal_covariances_need_no_rotation(problem):
    distortion, weight_variances, data_variances = problem
    bound = linear_bound(*problem)
    full = linear_bound_full(distortion, np.diag(weight_variances), np.diag(data_variances))
    assert full.rate == pytest.approx(bound.rate, rel=EXACT, abs=EXACT)
    assert full.water_level == pytest.approx(bound.water_level, rel=EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_small_distortion_closed_form(seed):
    """All rectangles open: R = (log2 det(Sigma_W Sigma_X) - m log2(D / m)) / 2."""
    rng = np.random.default_rng(seed)
    size, distortion = 6, 0.5
    weights, data = (random_covariance(rng, size) for _ in range(2))
    expected = np.log2(np.linalg.det(weights @ data) / (distortion / size) ** size) / 2
    assert linear_bound_full(distortion, weights, data).rate == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_rate_does_not_depend_on_the_coordinates(seed):
    """f_w(x) = w'x keeps its value under w -> A'w, x -> A^{-1}x, so R(D) keeps its own."""
    rng = np.random.default_rng(seed)
    weights, data = (random_covariance(rng, 4) for _ in range(2))
    change = rng.standard_normal((4, 4)) + 3 * np.eye(4)
    inverse = np.linalg.inv(change)
    distortions = np.geomspace(0.01, 2 * np.trace(weights @ data), 20)
    moved = linear_bound_full(distortions, change.T @ weights @ change, inverse @ data @ inverse.T)
    here = linear_bound_full(distortions, weights, data)
    np.testing.assert_allclose(moved.rate, here.rate, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_decorrelate(seed):
    rng = np.random.default_rng(seed)
    weights, data = random_covariance(rng, 5, 1e4), random_covariance(rng, 5, 1e4)
    rotation = decorrelate(weights, data)
    np.testing.assert_allclose(rotation.forward @ rotation.backward, np.eye(5), atol=1e-10)
    rotated = rotation.forward.T @ weights @ rotation.forward
    scale = rotation.weight_variances[0]
    np.testing.assert_allclose(rotated, np.diag(rotation.weight_variances), atol=1e-11 * scale)
    distortion_matrix = rotation.backward @ data @ rotation.backward.T
    np.testing.assert_allclose(distortion_matrix, np.eye(5), atol=1e-10)


@pytest.mark.parametrize("distortion", [0.5, 5.0, 40.0])
def test_algorithm_1_in_rotated_coordinates_attains_the_rate_distortion_function(distortion):
    rng = np.random.default_rng(int(distortion))
    weight_covariance, data_covariance = random_covariance(rng, 4), random_covariance(rng, 4)
    weights = rng.multivariate_normal(np.zeros(4), weight_covariance, N_SAMPLES)
    rotation = decorrelate(weight_covariance, data_covariance)
    variances, ones = rotation.weight_variances, np.ones(4)
    rotated = compress_linear(weights @ rotation.forward, distortion, variances, ones, rng)
    measured = model_distortion(weights, rotated @ rotation.backward, data_covariance)
    assert abs(measured.mean() - distortion) < Z_LIMIT * measured.std() / math.sqrt(N_SAMPLES)
    bound = linear_bound_full(distortion, weight_covariance, data_covariance)
    assert channel_information(variances, bound.levels) == pytest.approx(bound.rate, abs=1e-11)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.001, 0.1, 0.4, 0.9])
def test_order_of_the_bounds_for_correlated_weights(seed, share):
    """Theorem 2 <= R(D) < Algorithm 1's independent channels; tight while D is small."""
    rng = np.random.default_rng(seed)
    covariance, data = random_covariance(rng, 4), rng.uniform(0.5, 2, 4)
    variances = np.diagonal(covariance)
    distortion = share * float(variances @ data)
    levels = linear_bound(distortion, variances, data).levels
    theorem_2 = gaussian_bound(covariance, levels)
    exact = linear_bound_full(distortion, covariance, np.diag(data)).rate
    attainable = np.linalg.eigvalsh(covariance - np.diag(levels))[0] >= 0
    assert attainable == (abs(exact - theorem_2) < 1e-10)
    assert theorem_2 <= exact + 1e-10
    assert exact < channel_information(covariance, levels)


# --- bad input --------------------------------------------------------------------------------

GOOD = {"distortion": 1.0, "weight_variances": [1.0, 2.0], "data_variances": [3.0, 1.0]}


@pytest.mark.parametrize("function", ["bound", "compressor"])
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"distortion": 0.0}, ValueError, r"distortion must be positive.*got 0\.0"),
        ({"distortion": -1.0}, ValueError, r"distortion must be positive.*got -1\.0"),
        ({"distortion": math.nan}, ValueError, "distortion must be positive and finite, got nan"),
        ({"distortion": math.inf}, ValueError, "distortion must be positive and finite, got inf"),
        ({"distortion": 5e-324}, ValueError, "distortion must be large enough"),
        ({"distortion": "1"}, TypeError, "distortion must be real"),
        ({"distortion": None}, TypeError, "distortion must be real"),
        ({"weight_variances": [1, -2]}, ValueError, r"weight_variances .*got -2\.0 at index 1"),
        ({"weight_variances": [0, 2]}, ValueError, r"weight_variances .*got 0\.0 at index 0"),
        ({"weight_variances": [1, math.nan]}, ValueError, "weight_variances .*got nan at index 1"),
        ({"data_variances": [1, math.inf]}, ValueError, "data_variances .*got inf at index 1"),
        ({"data_variances": [-1, 0]}, ValueError, r"data_variances .*got -1\.0 at index 0"),
        ({"data_variances": [1]}, ValueError, r"data_variances .*\(2,\), got \(1,\)"),
        ({"data_variances": 1.0}, ValueError, r"data_variances .*\(2,\), got \(\)"),
        ({"weight_variances": []}, ValueError, "weight_variances .*not empty"),
        ({"weight_variances": 1.0}, ValueError, "weight_variances .*one-dimensional"),
        ({"weight_variances": np.eye(2)}, ValueError, "weight_variances must be"),
        ({"weight_variances": np.ones((2, 2))}, ValueError, "weight_variances .*one-dimensional"),
        ({"weight_variances": [1j, 1]}, TypeError, "weight_variances .*complex"),
        ({"weight_variances": [True, True]}, TypeError, "weight_variances .*bool"),
        (
            {"weight_variances": [1.0, 1e200], "data_variances": [1.0, 1e200]},
            ValueError,
            r"weight_variances \* data_variances .*got inf at index 1",
        ),
    ],
)
def test_bad_variances_and_distortions(function, bad, error, message):
    arguments = {**GOOD, **bad}
    with pytest.raises(error, match=message):
        if function == "bound":
            linear_bound(**arguments)
        else:
            compress_linear([0.0, 1.0], **arguments, rng=0)


def test_bad_entry_of_a_curve_is_named():
    with pytest.raises(ValueError, match=r"distortion .*got -1\.0 at index \(1, 0\)"):
        linear_bound([[1.0, 2.0], [-1.0, 0.0]], [1.0], [1.0])


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([[1.0, math.nan]], ValueError, r"weights must be finite, got nan at index \(0, 1\)"),
        ([-math.inf, 1.0], ValueError, "weights must be finite, got -inf at index 0"),
        ([1.0, 2.0, 3.0], ValueError, r"weights must have a last axis of 2.*\(3,\)"),
        (1.0, ValueError, "weights must have a last axis of 2"),
        (["a", "b"], TypeError, "weights must be real"),
    ],
)
def test_bad_weights(weights, error, message):
    with pytest.raises(error, match=message):
        compress_linear(weights, **GOOD, rng=0)


def test_the_compressor_takes_one_distortion():
    with pytest.raises(ValueError, match=r"distortion must be one number, got shape \(2,\)"):
        compress_linear([0.0, 1.0], **{**GOOD, "distortion": [1.0, 2.0]}, rng=0)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        ([[1.0, 0.5]], r"square matrix, got shape \(1, 2\)"),
        ([[1.0, 2.0], [2.0, 1.0]], "positive definite, got smallest eigenvalue -1"),
        ([[1.0, 1.0], [1.0, 1.0]], "positive definite"),
        (np.ones((3, 3)) * 0.1 + 1e-17 * np.eye(3), "positive definite"),
        ([[1.0, 0.5], [0.4, 1.0]], r"symmetric, got 0.5 at index \(0, 1\)"),
        ([[1.0, math.nan], [0.4, 1.0]], r"finite, got nan at index \(0, 1\)"),
    ],
)
def test_bad_covariances(covariance, message):
    with pytest.raises(ValueError, match=f"weight_covariance must be .*{message}"):
        linear_bound_full(1.0, covariance, np.eye(2))
    with pytest.raises(ValueError, match=f"data_covariance must be .*{message}"):
        linear_bound_full(1.0, np.eye(2), covariance)
    with pytest.raises(ValueError, match=f"weight_covariance must be .*{message}"):
        gaussian_bound(covariance, [1.0, 1.0])


def test_covariances_of_different_sizes():
    with pytest.raises(ValueError, match="data_covariance must have the shape"):
        linear_bound_full(1.0, np.eye(2), np.eye(3))


@pytest.mark.parametrize(
    ("function", "name"),
    [(channel_information, "levels"), (gaussian_bound, "coordinate_distortions")],
)
def test_bad_levels(function, name):
    with pytest.raises(ValueError, match=rf"{name} must have the shape .*\(2,\), got \(3,\)"):
        function([1.0, 1.0], [0.1, 0.1, 0.1])
    with pytest.raises(ValueError, match=rf"{name} must be positive.*got 0\.0 at index 1"):
        function(np.eye(2), [0.1, 0.0])


def test_the_channel_adds_no_more_noise_than_there_is_weight():
    with pytest.raises(ValueError, match=r"levels must be at most .*got 1\.5 at index 1"):
        channel_information([1.0, 1.0], [0.5, 1.5])
