"""The pictures: that they draw the numbers they are given, and refuse what does not fit."""

from __future__ import annotations

import importlib
import io
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs the extra: pip install 'wkmeans[plot]'")

from wkmeans import cost_curve, plot, wkmeans

WEIGHTS = np.random.default_rng(0).standard_normal(500)
IMPORTANCE = np.random.default_rng(1).lognormal(size=500)


def png(axes):
    file = io.BytesIO()
    axes.figure.savefig(file, format="png")
    return file.getvalue()


def test_codebook_marks_every_centroid_and_cell():
    clustering = wkmeans(WEIGHTS, 5, importance=IMPORTANCE)
    axes = plot.codebook(WEIGHTS, clustering, importance=IMPORTANCE)
    markers = axes.lines[-1].get_xdata()
    np.testing.assert_allclose(markers, clustering.centroids)
    borders = sorted(line.get_xdata()[0] for line in axes.lines[:-1])
    np.testing.assert_allclose(borders, (markers[1:] + markers[:-1]) / 2)
    assert png(axes).startswith(b"\x89PNG")


def test_codebook_of_scaled_integers_is_in_the_weights_units():
    clustering = wkmeans(WEIGHTS, 3, centroid_dtype="int8")
    markers = plot.codebook(WEIGHTS, clustering).lines[-1].get_xdata()
    np.testing.assert_allclose(markers, np.unique(clustering.dequantize()), rtol=1e-6)


def test_codebook_refuses_many_codebooks_and_other_importances():
    rows = wkmeans(WEIGHTS.reshape(5, 100), 3, axis=1)
    with pytest.raises(ValueError, match=r"one codebook, got centroids of shape \(5, 3\)"):
        plot.codebook(WEIGHTS, rows)
    with pytest.raises(ValueError, match=r"size, 500, got shape \(3,\)"):
        plot.codebook(WEIGHTS, wkmeans(WEIGHTS, 3), importance=[1, 2, 3])


def test_cost_against_k_draws_curves_and_bound_into_the_axes_given():
    ks = range(1, 7)
    costs = cost_curve(WEIGHTS, 6)
    own = plot.cost_against_k(ks, {"optimal": costs})
    axes = plot.cost_against_k(ks, {"again": costs * 2}, bound=costs, ax=own)
    assert axes is own
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), costs * 2)
    np.testing.assert_array_equal(axes.lines[2].get_ydata(), costs)
    png(axes)
    with pytest.raises(ValueError, match=r"optimal: expected one value for each k, 2, got \(6,\)"):
        plot.cost_against_k([1, 2], {"optimal": costs})


def test_a_cost_of_zero_is_left_out_of_logarithmic_axes():
    axes = plot.cost_against_k([1, 2, 3], {"optimal": [2.0, 1.0, 0.0]})
    assert np.isnan(axes.lines[0].get_ydata()[2])
    png(axes)


def test_score_against_rate_draws_means_and_bands():
    scores = np.array([[0.9, 0.8], [0.8, 0.6], [0.7, 0.7]])
    axes = plot.score_against_rate(
        {"fisher": ([2, 4], scores), "baseline": ([2, 4], [0.5, 0.4])}, uncompressed=0.95
    )
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.8, 0.7])
    (band,) = axes.collections
    # Student's 0.975 quantile for 2 degrees of freedom is 4.302653.
    half = 4.302653 * 0.1 / np.sqrt(3)
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(0.8 + half, rel=1e-6)
    assert heights.min() == pytest.approx(0.7 - half, rel=1e-6)
    png(axes)
    with pytest.raises(ValueError, match=r"curves\['x'\].*\(2,\).*got \(3,\)"):
        plot.score_against_rate({"x": ([1, 2], [1, 2, 3])})


@pytest.mark.parametrize(("n", "quantile"), [(2, 12.706205), (5, 2.776445), (30, 2.045230)])
def test_confidence_half_width_is_students(n, quantile):
    runs = np.random.default_rng(n).standard_normal((n, 3))
    expected = quantile * runs.std(axis=0, ddof=1) / np.sqrt(n)
    np.testing.assert_allclose(plot.confidence_half_width(runs), expected, rtol=1e-6)


def test_importance_by_layer_names_layers_and_their_zeros():
    layers = {"a": (IMPORTANCE, None), "b": (np.array([0.0, 1.0, 2.0, 4.0]), None)}
    axes = plot.importance_by_layer(layers)
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b\n25% zero"]
    png(axes)


def test_figure_6_has_its_two_kinks():
    *panels, curve = plot.water_filling([3, 2, 1], [3, 2, 1], [2, 6, 12])
    assert [panel.get_title() for panel in panels] == ["D = 2", "D = 6", "D = 12"]
    np.testing.assert_allclose(curve.lines[1].get_xdata(), [3, 9])
    np.testing.assert_allclose(curve.lines[1].get_ydata(), np.log2([36, 9 / 4]) / 2)
    filled = [bar.get_height() for bar in panels[1].patches[:3]]
    np.testing.assert_allclose(filled, [2.5 / 3, 1.25, 1])
    png(curve)


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    monkeypatch.delitem(sys.modules, "wkmeans.plot")
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install 'wkmeans\[plot\]'"):
        importlib.import_module("wkmeans.plot")
