"""centroid_dtype: centroids that are optimal among the values a storage format holds."""

from __future__ import annotations

import sys
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import oracle
import pytest
from checks import assert_close
from hypothesis import given
from hypothesis import strategies as st
from strategies import TAME_WEIGHTS, grid, tame_problems

from wkmeans import cost_curve, wkmeans
from wkmeans._kernels.formats import FORMATS

FROM_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
ONE_BYTE = ("float8_e4m3fn", "float8_e5m2", "int8")
LARGEST = {"float16": 65504.0, "float8_e4m3fn": 448.0, "float8_e5m2": 57344.0}
LIBRARIES = ["numpy", "torch"]


def needs(name: str, library: str = "numpy") -> None:
    """Skip the test where arrays of the format cannot be had."""
    if library == "torch":
        pytest.importorskip("torch")
    elif name in FROM_ML_DTYPES:
        pytest.importorskip("ml_dtypes")


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(getattr(sys.modules["ml_dtypes"], name) if name in FROM_ML_DTYPES else name)


def given_to(library: str, array: np.ndarray):
    return array if library == "numpy" else sys.modules["torch"].from_numpy(array)


def numbers(array) -> np.ndarray:
    """An array or tensor of any format, exact in float64."""
    return array.astype(np.float64) if isinstance(array, np.ndarray) else array.double().numpy()


def finite_values(name: str) -> np.ndarray:
    """Every finite value of a format of one or two bytes, ascending."""
    dtype = numpy_dtype(name)
    bits = np.arange(256**dtype.itemsize).astype(f"u{dtype.itemsize}")
    with np.errstate(invalid="ignore"):  # NaNs are among them
        values = bits.view(dtype).astype(np.float64)
    return np.unique(values[np.isfinite(values)])


def widest(weights, importance=None, quartic=None) -> float:
    """The largest magnitude among the weights that carry importance."""
    return float(max(abs(p.weight) for p in oracle.merged(weights, importance, quartic)))


def codebook(result) -> np.ndarray:
    """The centroids of one problem, exact: int8 times a float32 takes 31 bits."""
    scale = 1.0 if result.scale is None else float(result.scale)
    return numbers(result.centroids) * scale


def real_values(name: str, result) -> np.ndarray:
    """What each centroid might have been."""
    return finite_values(name) * (1.0 if result.scale is None else float(result.scale))


@pytest.mark.parametrize("solver", ["optimal", "lloyd"])
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", FORMATS)
@given(problem=tame_problems())
def test_answers_in_the_format(name, library, solver, problem):
    needs(name, library)
    w, I, H = (None if x is None else given_to(library, x) for x in problem.data)
    result = wkmeans(
        w, problem.k, importance=I, quartic_importance=H, centroid_dtype=name, solver=solver
    )
    expected = numpy_dtype(name) if library == "numpy" else getattr(sys.modules["torch"], name)
    assert result.centroids.dtype == expected
    assert result.centroids.shape == (problem.k,)
    assert (result.scale is None) == (name != "int8")

    values, labels = codebook(result), np.asarray(result.labels)
    assert np.all(np.isfinite(values))
    assert np.all(values[:-1] <= values[1:]), "centroids ascend"
    np.testing.assert_array_equal(labels, oracle.nearest_labels(problem.weights, values))
    cost = oracle.direct_cost(*problem.data, values, labels)
    assert_close(result.cost, cost, rtol=1e-12, atol=1e-290)

    dense = result.dequantize()
    assert dense.shape == problem.weights.shape
    assert "float32" in str(dense.dtype) if name == "int8" else dense.dtype == expected
    single = values.astype(np.float32) if name == "int8" else values
    np.testing.assert_array_equal(numbers(dense), single[labels])


def exact_optimum(problem, values) -> Fraction:
    """Every way to cut the points into at most k runs, each about every value there is."""
    points = oracle.merged(*problem.data)
    exact = [Fraction(v) for v in values.tolist()]
    sums = [[Fraction(0)] * len(exact)]  # of the first 0, 1, ... points about each value
    for p in points:
        w, I, H = (Fraction(x) for x in (p.weight, p.importance, p.quartic))
        squares = ((w - c) ** 2 for c in exact)
        sums.append([s + (I + H * x) * x for s, x in zip(sums[-1], squares, strict=True)])
    n = len(points)
    costs = {
        (a, d): min(e - s for s, e in zip(sums[a], sums[d], strict=True))
        for a in range(n)
        for d in range(a + 1, n + 1)
    }
    return min(
        sum(costs[run] for run in pairwise((0, *cuts, n)))
        for n_cuts in range(min(problem.k, n))
        for cuts in combinations(range(1, n), n_cuts)
    )


@pytest.mark.parametrize("name", ONE_BYTE)
@given(problem=tame_problems(max_size=8, spare=0, weights=(*TAME_WEIGHTS, "offset")))
def test_optimal_among_all_values(name, problem):
    needs(name)
    result = wkmeans(problem.weights, problem.k, centroid_dtype=name, **problem.keywords)
    if name == "int8":
        scale = np.float32(widest(*problem.data) / 127)
        assert result.scale == (scale if scale > 0 else 1)
    optimum = exact_optimum(problem, real_values(name, result))
    optimum = oracle.Decimal(optimum.numerator) / optimum.denominator
    assert_close(result.cost, optimum, rtol=1e-9, atol=1e-290)
    assert_close(result.lower_bound, optimum, rtol=1e-8, atol=1e-290)
    assert oracle.Decimal(result.lower_bound) <= optimum + oracle.Decimal(1e-290)


def best_of_grid(w, I, H, values, k_max) -> np.ndarray:
    """The optimal cost for k = 1..k_max: the dynamic programme over runs of sorted weights."""
    order = np.argsort(w)
    square = (w[order, None] - values) ** 2
    sums = np.cumsum((I[order, None] + H[order, None] * square) * square, axis=0)
    sums = np.vstack([np.zeros(values.size), sums])
    n = w.size
    costs = np.full((n + 1, n + 1), np.inf)
    for a in range(n):
        costs[a, a + 1 :] = np.min(sums[a + 1 :] - sums[a], axis=1)
    best, curve = np.append(0.0, np.full(n, np.inf)), []
    for _ in range(k_max):
        best = np.min(best[:, None] + costs, axis=0)
        curve.append(best[n])
    return np.minimum.accumulate(curve)


@pytest.mark.parametrize("quartic", [0.0, 4.0])
@pytest.mark.parametrize("name", ["float16", "bfloat16", *ONE_BYTE])
def test_optimal_among_all_values_near_150_weights(name, quartic):
    """Enough of them for branch and bound with few centroids; here the format's steps matter."""
    needs(name)
    rng = np.random.default_rng(0)
    w = 1 + rng.random(150) * {"float16": 0.01, "bfloat16": 0.1}.get(name, 2.0)
    I, H = rng.exponential(size=(2, 150)) * [[1.0], [quartic]]
    keywords = {"importance": I, "quartic_importance": H, "centroid_dtype": name}
    values = real_values(name, wkmeans(w, 1, **keywords))
    curve = best_of_grid(w, I, H, values[(values > 0.5) & (values < 4)], 9)
    np.testing.assert_allclose(cost_curve(w, 9, **keywords), curve, rtol=1e-9)
    for k in (1, 2, 5, 7, 9):
        result = wkmeans(w, k, **keywords)
        assert result.cost == pytest.approx(curve[k - 1], rel=1e-9)
        assert curve[k - 1] * (1 - 1e-8) <= result.lower_bound <= curve[k - 1] * (1 + 1e-12)


@pytest.mark.parametrize("quartic", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_cost_curve_is_the_cost_of_every_k(name, quartic):
    needs(name)
    rng = np.random.default_rng(1)
    for n in (30, 200, 613):
        w = rng.standard_t(4, n)
        keywords = {
            "importance": np.exp(rng.normal(-8, 3, n)),
            "quartic_importance": np.exp(rng.normal(-6, 3, n)) if quartic else None,
            "centroid_dtype": name,
        }
        curve = cost_curve(w, 40, **keywords)
        assert np.all(np.diff(curve) <= 1e-12 * curve[:-1])
        for k in (1, 2, 7, 16, 40):
            result = wkmeans(w, k, **keywords)
            assert result.cost == pytest.approx(curve[k - 1], rel=1e-9)
            assert result.lower_bound <= min(curve[k - 1], result.cost)
            assert result.lower_bound >= curve[k - 1] * (1 - 1e-8)


@pytest.mark.parametrize("name", LARGEST)
def test_weights_beyond_the_range_take_its_largest_value(name):
    needs(name)
    w = np.array([-1e6, -1e5, 1.0, 1e5, 1e6])
    for k in (3, 5):
        result = wkmeans(w, k, centroid_dtype=name)
        values = [-LARGEST[name], 1.0, *[LARGEST[name]] * (k - 2)]
        np.testing.assert_array_equal(codebook(result), values)
        assert result.labels.tolist() == [0, 0, 1, 2, 2]
        assert result.lower_bound == pytest.approx(result.cost, rel=1e-8)
    lloyd = wkmeans(
        w, 3, centroid_dtype=name, solver="lloyd", init=[-1.5e5, 0.0, 1.5e5], max_iter=1
    )
    np.testing.assert_array_equal(codebook(lloyd), [-LARGEST[name], 1.0, LARGEST[name]])


@pytest.mark.parametrize(("seed", "reach", "k"), [(3, 0, 8), (16, 10, 15), (17, 20, 8)])
def test_costs_that_no_centroid_can_save(seed, reach, k):
    """Weights far beyond the range outweigh, by many decades, all that centroids decide."""
    needs("float8_e4m3fn")
    rng = np.random.default_rng(seed)
    w = rng.choice([-1.0, 1.0], 250) * 10.0 ** rng.uniform(-6, 6, 250)
    I, H = (10.0 ** rng.uniform(-reach, reach, 250) for _ in range(2))
    for quartic in (None, H):
        keywords = {"importance": I, "quartic_importance": quartic}
        optimum = cost_curve(w, k, centroid_dtype="float8_e4m3fn", **keywords)[-1]
        result = wkmeans(w, k, centroid_dtype="float8_e4m3fn", **keywords)
        assert result.cost == pytest.approx(optimum, rel=1e-9)
        assert optimum * (1 - 1e-8) <= result.lower_bound <= optimum


def test_int8_of_weights_beyond_any_scale():
    """A float32 scale reaches 127 times its own largest value, and weights beyond clamp to that."""
    result = wkmeans([-1e42, 0.0, 1e42], 3, centroid_dtype="int8")
    assert np.isfinite(result.scale)
    assert result.centroids.tolist() == [-127, 0, 127]
    assert np.isfinite(result.cost)


@pytest.mark.parametrize("name", ONE_BYTE)
def test_fewer_values_than_centroids(name):
    """A format without enough values near the weights: the surplus repeats the largest."""
    needs(name)
    w = np.linspace(100, 101, 50)
    every = np.unique(codebook(wkmeans(w, 50, centroid_dtype=name)))
    assert every.size < 5, "few values lie near"
    result = wkmeans(w, 20, centroid_dtype=name)
    values = codebook(result)
    np.testing.assert_array_equal(values[: every.size], every)
    np.testing.assert_array_equal(values[every.size :], every[-1])
    assert np.unique(result.labels).tolist() == list(range(every.size))
    nearest = np.min(np.abs(w[:, None] - real_values(name, result)), axis=1)
    assert result.cost == pytest.approx(np.sum(nearest**2), rel=1e-12)
    assert result.lower_bound == pytest.approx(result.cost, rel=1e-8)


@given(tame_problems(weights=("ordinary", "ties", "zeros", "clumps")))
def test_finer_formats_cost_less(problem):
    """Of nested formats: within 448 those of 8 bits are nested in those of 16, and so on."""
    pytest.importorskip("ml_dtypes")
    float64_rounding = 1e-28  # where the optimum is zero in real numbers

    def cost(name):
        return wkmeans(problem.weights, problem.k, centroid_dtype=name, **problem.keywords).cost

    costs = {name: cost(name) for name in FORMATS}
    for coarse in ("float8_e4m3fn", "float8_e5m2"):
        for chain in (("float16", "float32", "float64"), ("bfloat16", "float32", "float64")):
            for worse, better in pairwise((coarse, *chain)):
                assert costs[better] <= costs[worse] * (1 + 1e-9) + float64_rounding, (
                    worse,
                    better,
                )
    assert costs["float64"] <= costs["int8"] * (1 + 1e-9) + float64_rounding


@pytest.mark.parametrize("name", FORMATS)
def test_names_and_dtypes_mean_the_same(name):
    torch = pytest.importorskip("torch")
    needs(name)
    w = np.random.default_rng(2).normal(size=60)
    by_name = wkmeans(w, 5, centroid_dtype=name)
    dtype = numpy_dtype(name)
    for spelling in (dtype, dtype.type, getattr(torch, name)):
        result = wkmeans(w, 5, centroid_dtype=spelling)
        assert result.centroids.dtype == dtype
        assert result.centroids.tobytes() == by_name.centroids.tobytes()
        assert result.cost == by_name.cost
        tensors = wkmeans(torch.from_numpy(w), 5, centroid_dtype=spelling)
        assert tensors.centroids.dtype == getattr(torch, name)
        np.testing.assert_array_equal(numbers(tensors.centroids), numbers(by_name.centroids))
        curve = cost_curve(w, 5, centroid_dtype=spelling)
        np.testing.assert_array_equal(curve, cost_curve(w, 5, centroid_dtype=name))


@pytest.mark.parametrize("unknown", ["float7", "", np.int16, np.dtype("complex128"), object(), 3])
@pytest.mark.parametrize("function", [wkmeans, cost_curve])
def test_unknown_formats(function, unknown):
    with pytest.raises(ValueError, match=r"^centroid_dtype: expected one of float64, .*, got "):
        function([1.0, 2.0], 1, centroid_dtype=unknown)


@pytest.mark.parametrize("name", FROM_ML_DTYPES)
def test_without_ml_dtypes(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    sentence = f"^NumPy arrays of {name} need ml_dtypes: pip install ml_dtypes, or pass torch"
    with pytest.raises(ImportError, match=sentence):
        wkmeans([1.0, 2.0], 1, centroid_dtype=name)
    assert cost_curve([1.0, 2.0], 1, centroid_dtype=name) == [0.5]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", FORMATS)
def test_along_an_axis(name, axis, library):
    """Every row is answered as if it were alone, with a scale of its own."""
    needs(name, library)
    rng = np.random.default_rng(3)
    w = rng.normal(size=(4, 6, 5)) * [[[1.0]], [[30.0]], [[0.01]], [[3.0]]]
    result = wkmeans(given_to(library, w), 3, centroid_dtype=name, axis=axis)
    curve = np.asarray(cost_curve(given_to(library, w), 3, centroid_dtype=name, axis=axis))
    dense = numbers(result.dequantize())
    rows = np.moveaxis(w, axis, -1)
    assert dense.shape == w.shape
    for index in np.ndindex(rows.shape[:-1]):
        alone = wkmeans(given_to(library, rows[index].copy()), 3, centroid_dtype=name)
        np.testing.assert_array_equal(numbers(result.centroids[index]), numbers(alone.centroids))
        assert float(result.cost[index]) == alone.cost
        if name == "int8":
            assert result.scale[index] == np.float32(np.max(np.abs(rows[index])) / 127)
        np.testing.assert_array_equal(
            np.moveaxis(dense, axis, -1)[index], numbers(alone.dequantize())
        )
        assert curve[index][-1] == pytest.approx(alone.cost, rel=1e-9)


@pytest.mark.parametrize("name", ["float16", "bfloat16", *ONE_BYTE])
@given(w=st.lists(st.one_of(grid, st.floats(-700, 700)), min_size=1, max_size=20))
def test_lloyd_rounds_to_nearest(name, w):
    """To the nearest value of the format, the lower of two: what Lloyd found, no better."""
    needs(name)
    options = {"solver": "lloyd", "init": np.linspace(min(w), max(w), 4), "max_iter": 3}
    free = wkmeans(w, 4, centroid_dtype="float64", **options)
    result = wkmeans(w, 4, centroid_dtype=name, **options)
    values = real_values(name, result)
    above = np.searchsorted(values, free.centroids).clip(1, values.size - 1)
    expected = [
        min(values[i - 1 : i + 1].tolist(), key=lambda v: abs(Fraction(v) - Fraction(c)))
        for i, c in zip(above, free.centroids.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(codebook(result), expected)
    assert result.lower_bound is None
