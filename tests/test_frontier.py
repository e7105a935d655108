"""What bench/frontier compares with: the peers' files must say what the peers decided."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("constriction")

from wkmeans import rate  # noqa: E402

_BENCH = Path(__file__).parents[1] / "bench"
if not _BENCH.is_dir():
    pytest.skip("bench/ is not in this tree", allow_module_level=True)
_FOLDERS = [str(_BENCH / "frontier"), str(_BENCH)]
_MODULES = ("end_metrics", "files", "grids", "measure", "methods", "nnc", "simple")


@pytest.fixture(scope="module")
def bench():
    """Modules by name, imported as the command imports them, and forgotten again."""
    before = set(sys.modules)
    sys.path[:0] = _FOLDERS
    try:
        yield SimpleNamespace(**{name: __import__(name) for name in _MODULES})
    finally:
        sys.path[:] = [folder for folder in sys.path if folder not in _FOLDERS]
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in _MODULES:
                del sys.modules[name]


@pytest.fixture(scope="module")
def network(bench):
    """A small network with a convolution, and inputs that calibrate and judge it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(4 * 36, 20),
        ).eval()
        inputs = torch.randn(200, 1, 6, 6).split(50)
    return bench.end_metrics.Network(
        net, inputs, inputs, "mse", "nothing", lambda outputs, original: 0.5, 200
    )


@pytest.mark.parametrize("rows", [3, 300])
def test_grids_are_read_back_whether_coded_in_one_or_in_chunks(bench, rows):
    integers = np.rint(3 * np.random.default_rng(rows).standard_normal((rows, 400))).astype(
        np.int64
    )
    payload = bench.simple.grid_payload(integers, np.ones(rows, np.float32), np.float32(0.5))
    values = bench.simple._read_grid(payload, *integers.shape)
    np.testing.assert_array_equal(values, integers / 2)


@pytest.mark.parametrize("k", [1, 2, 3, 31])
def test_huffman_codes_are_read_back_and_as_short_as_they_can_be(bench, k):
    labels = np.minimum(np.random.default_rng(k).geometric(0.4, 999) - 1, k - 1)
    counts = np.bincount(labels, minlength=k)
    payload = bench.simple._huffman_encoded(labels, counts)
    np.testing.assert_array_equal(bench.simple._huffman_decoded(payload, counts, 999), labels)
    if k > 1:
        assert len(payload) == -(-rate.huffman_bits(counts) // 8)


@pytest.mark.parametrize("bits", [4, 6])
@pytest.mark.parametrize(
    "method",
    [
        "k-means + Huffman",
        "rounding per channel + entropy code",
        "GPTQ's grids + entropy code",
        "WaterSIC's steps + entropy code",
        "unweighted",
    ],
)
def test_files_fit_and_give_near_outputs(bench, network, method, bits):
    row = bench.measure.measured(network, bench.measure.Row("small", 0, False, bits, method))
    assert not row.missing
    assert 0.5 * bits * network.n_weights / 8 < row.nbytes <= bits * network.n_weights / 8
    assert 0 < row.divergence < (0.2 if bits == 4 else 0.01)


def test_a_size_below_any_file_is_said(bench, network):
    row = bench.measure.Row("small", 0, False, 0.2, "rounding per channel + entropy code")
    assert "at least" in bench.measure.measured(network, row).missing


def test_feedback_on_equally_spaced_levels_lessens_the_error_of_outputs(bench, network):
    rows = network.module.state_dict()["3.weight"].numpy()
    columns = np.arange(rows.shape[1])
    matrix = 0.9 ** np.abs(columns[:, None] - columns)
    fed_back = bench.grids.levels_with_feedback(rows, matrix, 4)
    plain = bench.grids.levels_with_feedback(rows, np.eye(len(matrix)), 4)

    def cost(rounded):
        gap = (rows - rounded).astype(np.float64)
        return float(((gap @ matrix) * gap).sum())

    assert cost(fed_back) < 0.7 * cost(plain)
    assert max(len(np.unique(row)) for row in fed_back) <= 4
