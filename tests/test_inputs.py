"""What comes in: dtypes, layouts, broadcasting, axes, and every mistake the contract answers."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from wkmeans import cost_curve, prune, wkmeans

RNG = np.random.default_rng(0)
W = RNG.normal(size=(6, 10))
I = RNG.exponential(size=W.shape)
H = RNG.exponential(size=W.shape)


def assert_same(one, other):
    """The same answer to the last bit."""
    for name in ("centroids", "labels", "cost", "lower_bound", "n_iter"):
        x, y = getattr(one, name), getattr(other, name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert np.asarray(x).dtype == np.asarray(y).dtype, name
            assert np.shape(x) == np.shape(y), name
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), name


def everything(w, importance, quartic, **options):
    """Both solvers, the curve and the pruning, of the same arguments."""
    keywords = {"importance": importance, "quartic_importance": quartic, **options}
    return (
        wkmeans(w, 3, **keywords),
        wkmeans(w, 3, solver="lloyd", **keywords),
        cost_curve(w, 3, **keywords),
        prune(w, 0.4, **keywords),
    )


def assert_same_everything(one, other):
    for x, y in zip(one[:2], other[:2], strict=True):
        assert_same(x, y)
    for x, y in zip(one[2:], other[2:], strict=True):
        np.testing.assert_array_equal(x, y)


# Layouts

LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "unaligned": lambda x: unaligned(x),
    "broadcast": lambda x: np.broadcast_to(x, (1, *x.shape))[0],
}


def unaligned(x):
    buffer = np.zeros(x.nbytes + 1, np.uint8)
    view = buffer[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_layout_is_no_matter(layout, dtype, axis):
    plain = [x.astype(dtype) for x in (W, I, H)]
    odd = [LAYOUTS[layout](x) for x in plain]
    assert_same_everything(everything(*odd, axis=axis), everything(*plain, axis=axis))


def test_read_only_arrays_are_read():
    arrays = [x.copy() for x in (W, I, H)]
    for x in arrays:
        x.flags.writeable = False
    assert_same_everything(everything(*arrays), everything(W, I, H))


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_input_is_never_modified(axis):
    arrays = [x.copy() for x in (W, I, H)]
    init = np.array([1.0, -1.0, 0.0])
    everything(*arrays, axis=axis)
    wkmeans(arrays[0], 3, solver="lloyd", init=init, axis=axis)
    for x, original in zip((*arrays, init), (W, I, H, [1.0, -1.0, 0.0]), strict=True):
        np.testing.assert_array_equal(x, original)


def test_answers_belong_to_the_caller():
    """Results are writeable and share nothing with the input or each other."""
    w = W.copy()
    result = wkmeans(w, 80)
    for x in (result.centroids, result.labels, prune(w, 1.0)):
        assert x.flags.writeable
        assert not np.shares_memory(x, w)
    assert not np.shares_memory(result.centroids, wkmeans(w, 80).centroids)


def test_a_swapped_byte_order_is_refused_or_understood():
    swapped = W.astype(W.dtype.newbyteorder())
    try:
        result = wkmeans(swapped, 3)
    except TypeError as error:
        assert "weights" in str(error)
    else:
        assert_same(result, wkmeans(W, 3))


@pytest.mark.parametrize("make", [lambda x: x.tolist(), lambda x: tuple(map(tuple, x.tolist()))])
def test_a_list_is_taken_as_float64(make):
    assert_same_everything(everything(make(W), make(I), make(H)), everything(W, I, H))


def test_a_list_of_whole_numbers_is_taken_as_float64():
    assert_same(wkmeans([1, 2, 4, 8], 2), wkmeans(np.array([1.0, 2, 4, 8]), 2))


# Precisions


@pytest.mark.parametrize("weights", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("importances", [np.float16, np.float32, np.float64])
def test_importances_have_a_precision_of_their_own(weights, importances):
    w, importance, quartic = W.astype(weights), I.astype(importances), H.astype(importances)
    exact = importance.astype(np.float64), quartic.astype(np.float64)
    assert_same_everything(everything(w, importance, quartic), everything(w, *exact))


@pytest.mark.parametrize(
    ("dtype", "centroids"),
    [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)],
)
def test_precision_of_the_answer(dtype, centroids):
    result = wkmeans(W.astype(dtype), 3)
    assert result.centroids.dtype == centroids
    assert np.asarray(result.cost).dtype == np.float64
    assert np.asarray(result.lower_bound).dtype == np.float64
    assert cost_curve(W.astype(dtype), 3).dtype == np.float64


@pytest.mark.parametrize(
    ("k", "dtype"),
    [(1, np.uint8), (256, np.uint8), (257, np.uint16), (65535, np.uint16), (65536, np.uint16)],
)
@pytest.mark.parametrize("solver", ["optimal", "lloyd"])
def test_labels_are_as_wide_as_k_needs(k, dtype, solver):
    w = np.arange(300.0)
    result = wkmeans(w, k, solver=solver, init=None if solver == "optimal" else "linear")
    assert result.labels.dtype == dtype
    if solver == "optimal" and k >= 300:
        np.testing.assert_array_equal(result.labels, np.arange(300))


# Broadcasting


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize(
    "part",
    [np.s_[0], np.s_[:1], np.s_[:, :1], np.s_[0, 0], np.s_[:1, :1]],
    ids=["per input channel", "row", "per output channel", "scalar", "one by one"],
)
def test_importances_broadcast(part, axis):
    importance, quartic = I[part], H[part]
    full = [np.broadcast_to(x, W.shape).copy() for x in (importance, quartic)]
    assert_same_everything(
        everything(W, importance, quartic, axis=axis), everything(W, *full, axis=axis)
    )


def test_a_number_is_an_importance():
    assert_same_everything(
        everything(W, 2.5, 0.5), everything(W, np.full(W.shape, 2.5), np.full(W.shape, 0.5))
    )


def test_no_importance_is_one_and_zero():
    assert_same_everything(everything(W, None, None), everything(W, 1.0, 0.0))


@pytest.mark.parametrize("argument", ["importance", "quartic_importance"])
@pytest.mark.parametrize("shape", [(3,), (10, 6), (6,), (2, 6, 10), (0,)])
def test_shapes_that_do_not_broadcast(argument, shape):
    """An importance may be smaller than the weights but never adds an axis to them."""
    for function, second in ((wkmeans, 3), (prune, 0.5), (cost_curve, 3)):
        with pytest.raises(ValueError, match=rf"\b{argument}\b") as error:
            function(W, second, **{argument: np.ones(shape)})
        assert str(W.shape) in str(error.value)
        assert str(shape) in str(error.value)


# Axes


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("solver", ["optimal", "lloyd"])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_an_axis_is_a_loop_over_rows(axis, solver, dtype):
    shape = (3, 4, 5)
    w, importance, quartic = RNG.exponential(size=(3, *shape)).astype(dtype)
    result = wkmeans(
        w, 2, importance=importance, quartic_importance=quartic, solver=solver, axis=axis
    )
    curve = cost_curve(w, 4, importance=importance, quartic_importance=quartic, axis=axis)
    assert result.labels.shape == shape
    others = np.delete(shape, axis)
    assert result.centroids.shape == (*others, 2)
    assert result.cost.shape == tuple(others)
    assert curve.shape == (*others, 4)
    rows, I_rows, H_rows, label_rows = (
        np.moveaxis(x, axis, -1) for x in (w, importance, quartic, result.labels)
    )
    for at in np.ndindex(*others):
        keywords = {"importance": I_rows[at], "quartic_importance": H_rows[at]}
        alone = wkmeans(rows[at], 2, solver=solver, **keywords)
        assert result.centroids[at].tobytes() == alone.centroids.tobytes()
        assert label_rows[at].tobytes() == alone.labels.tobytes()
        assert result.cost[at] == alone.cost
        if solver == "optimal":
            assert result.lower_bound[at] == alone.lower_bound
        assert curve[at].tobytes() == cost_curve(rows[at], 4, **keywords).tobytes()


def test_without_an_axis_everything_is_one_problem():
    w = RNG.normal(size=(2, 3, 4))
    flat, whole = wkmeans(w.ravel(), 4), wkmeans(w, 4)
    assert whole.centroids.tobytes() == flat.centroids.tobytes()
    np.testing.assert_array_equal(whole.labels, flat.labels.reshape(w.shape))
    assert np.ndim(whole.cost) == 0


@pytest.mark.parametrize("axis", [2, -3, 100])
def test_axis_out_of_range(axis):
    for function, second in ((wkmeans, 3), (prune, 0.5), (cost_curve, 3)):
        with pytest.raises(ValueError, match="axis"):
            function(W, second, axis=axis)


def test_a_single_weight_has_no_axis():
    for axis in (0, -1):
        with pytest.raises(ValueError, match=f"axis: expected None .*no dimension, got {axis}"):
            wkmeans(np.float64(3), 1, axis=axis)


# Mistakes

FUNCTIONS = [(wkmeans, 3), (cost_curve, 3), (prune, 0.5)]
ARGUMENTS = ["weights", "importance", "quartic_importance"]


def call_with(function, second, argument, value):
    if argument == "weights":
        return function(value, second)
    return function(W, second, **{argument: value})


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize(("function", "second"), FUNCTIONS)
def test_not_finite(function, second, argument, bad, order, axis):
    """The first offender in index order is named, however the array lies in memory."""
    arrays = {"weights": W, "importance": I, "quartic_importance": H}
    arrays = {name: np.array(x, order=order) for name, x in arrays.items()}
    arrays[argument][2, 7] = arrays[argument][4, 1] = bad
    with pytest.raises(ValueError, match=rf"\b{argument}\b") as error:
        function(arrays.pop("weights"), second, **arrays, axis=axis)
    assert re.search(r"\b2, 7\b", str(error.value)), error.value
    assert re.search(r"nan" if np.isnan(bad) else r"inf", str(error.value)), error.value


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("at", [0, 1, 7, 8, 15, 16, 63, 64, 4095, 4096, 9999])
def test_not_finite_anywhere(dtype, at):
    for bad in (np.nan, np.inf):
        w = np.ones(10_000, dtype)
        w[at] = w[-1] = bad
        for function, second in FUNCTIONS:
            with pytest.raises(ValueError, match=rf"weights.*\b{at}\b"):
                function(w, second)


@pytest.mark.parametrize("argument", ["importance", "quartic_importance"])
@pytest.mark.parametrize(("function", "second"), FUNCTIONS)
def test_negative_importances(function, second, argument):
    bad = np.ones(W.shape)
    bad[3, 4] = -0.5
    with pytest.raises(ValueError, match=rf"\b{argument}\b") as error:
        function(W, second, **{argument: bad})
    message = str(error.value)
    assert "3, 4" in message
    assert "-0.5" in message
    assert re.search(r"clamp|clip|maximum", message), "says how to clamp"
    function(W, second, **{argument: np.where(bad < 0, -0.0, bad)})  # a zero of either sign is none


@pytest.mark.parametrize("k", [0, -1, 65537, 10**30])
def test_k_out_of_range(k):
    for call in (lambda: wkmeans(W, k), lambda: cost_curve(W, k)):
        with pytest.raises(ValueError, match=rf"\bk(_max)?\b.*65536.*{k}|\bk(_max)?\b.*{k}.*65536"):
            call()


@pytest.mark.parametrize("k", [2.0, "3", None])
def test_k_is_a_whole_number(k):
    with pytest.raises(TypeError, match=r"\bk\b|int"):
        wkmeans(W, k)


def test_k_may_be_a_numpy_integer():
    assert_same(wkmeans(W, np.int64(3)), wkmeans(W, 3))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize(("function", "second"), FUNCTIONS)
def test_empty(function, second, shape):
    for axis in (None, *range(len(shape))):
        with pytest.raises(ValueError, match=r"weights.*(empty|at least one)"):
            function(np.empty(shape), second, axis=axis)


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize(("function", "second"), FUNCTIONS)
@pytest.mark.parametrize(
    "dtype", [np.int8, np.int64, np.uint8, bool, np.complex64, object, np.longdouble, "U3", "M8[s]"]
)
def test_dtypes_outside_the_list(function, second, argument, dtype):
    if dtype is np.longdouble and np.dtype(dtype) == np.float64:
        pytest.skip("long doubles are doubles here")
    value = np.zeros(W.shape, dtype)
    with pytest.raises(TypeError, match=rf"\b{argument}\b") as error:
        call_with(function, second, argument, value)
    assert str(value.dtype) in str(error.value)


@pytest.mark.parametrize("value", [["a", "b"], [1.0, None], [1j, 2.0], [[1.0], [2.0, 3.0]], {1, 2}])
def test_lists_that_hold_no_numbers(value):
    for function, second in FUNCTIONS[:2]:
        with pytest.raises((TypeError, ValueError), match="weights"):
            function(value, second)


@pytest.mark.parametrize("solver", ["Optimal", "kmeans", ""])
def test_unknown_solver(solver):
    with pytest.raises(ValueError, match=r"solver.*optimal.*lloyd") as error:
        wkmeans(W, 3, solver=solver)
    assert repr(solver) in str(error.value)


def test_unknown_init():
    with pytest.raises(ValueError, match=r"init.*quantile") as error:
        wkmeans(W, 3, solver="lloyd", init="random")
    assert "'random'" in str(error.value)


@pytest.mark.parametrize("init", [[0.0, 1.0], [[0.0, 1.0, 2.0]], 0.0, [0.0, np.nan, 1.0]])
def test_init_that_is_no_codebook(init):
    with pytest.raises(ValueError, match=r"\binit\b"):
        wkmeans(W, 3, solver="lloyd", init=np.array(init))


@pytest.mark.parametrize("max_iter", [-1, -300])
def test_max_iter_out_of_range(max_iter):
    with pytest.raises(ValueError, match="max_iter"):
        wkmeans(W, 3, solver="lloyd", max_iter=max_iter)


def test_an_error_leaves_everything_usable():
    before = wkmeans(W, 3)
    for _ in range(3):
        with pytest.raises(ValueError, match="weights"):
            wkmeans(np.full(5, np.nan), 3)
    assert_same(wkmeans(W, 3), before)


def test_numpy_alone_never_imports_torch():
    script = """
import sys
import numpy as np
import wkmeans
w = np.arange(12.0, dtype=np.float32).reshape(3, 4)
wkmeans.wkmeans(w, 2, importance=w, axis=1).dequantize()
wkmeans.wkmeans(w, 2, solver="lloyd")
wkmeans.cost_curve(w, 2)
wkmeans.prune({"w": w}, 0.5)
try:
    wkmeans.wkmeans(w.astype(int), 2)
except TypeError:
    pass
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
