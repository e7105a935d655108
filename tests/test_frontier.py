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
_MODULES = (
    *("end_metrics", "files", "grids", "measure", "methods"),
    *("nnc", "nnc_blocks", "nnc_tuning", "simple"),
)


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


@pytest.fixture(scope="module")
def normalised(bench):
    """One normalisation right after a layer, with an addend not NNCodec's, and one elsewhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 3, bias=False),
            torch.nn.BatchNorm2d(8, eps=1e-3),
            torch.nn.ReLU(),
            torch.nn.BatchNorm2d(8),
            torch.nn.Flatten(),
            torch.nn.Linear(8 * 16, 10),
        )
        inputs = torch.randn(200, 1, 6, 6)
        for _ in range(20):
            net(inputs)
    return bench.end_metrics.Network(
        *(net.eval(), inputs.split(50), inputs.split(50)),
        *("cross_entropy", "nothing", lambda outputs, original: 0.5, 200),
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


def test_normalisations_right_after_a_layer_are_folded_and_unfolded(bench, normalised):
    folded = bench.nnc_blocks.foldings(normalised)
    assert folded == [bench.nnc_blocks.Folded("0", "1", 1e-3)]
    state = {
        name: torch.from_numpy(values)
        for name, values in bench.nnc_blocks.parameters_of(normalised, folded).items()
    }
    gain = state.pop("1.weight") / (state.pop("1.running_var") + 1e-5).sqrt()
    state["0.weight"] = state["0.weight"] * gain[:, None, None, None]
    state["0.weight.bias"] = state.pop("1.bias") - state.pop("1.running_mean") * gain
    divergence, _ = normalised.judge(bench.nnc_blocks.unfolded(state, folded))
    assert divergence < 1e-9


def test_names_in_front_of_a_file_are_read_back(bench):
    folded = [bench.nnc_blocks.Folded("a.b", "c", 1e-5), bench.nnc_blocks.Folded("d", "e.f", 1e-3)]
    for some in (folded, []):
        file = bench.nnc_blocks.with_names(b"stream", some)
        assert bench.nnc_blocks.without_names(file) == (b"stream", some)


def test_tuned_scales_and_vectors_make_up_for_lost_weights(bench, normalised):
    parameters = bench.nnc_blocks.parameters_of(normalised, (), scaled=True)
    parameters["5.weight"] = 0.06 * np.rint(parameters["5.weight"] / 0.06).astype(np.float32)
    types = {name: "weight" if values.ndim > 1 else "bias" for name, values in parameters.items()}
    types |= {name: "weight.ls" for name in types if name.endswith(bench.nnc_tuning.SCALING)}
    tuner = bench.nnc_tuning.Tuner(normalised)
    scales, vectors = tuner.tune_model(parameters, types, lsa_flag=True, ft_flag=True)
    assert sorted(scales) == ["0.weight_scaling", "5.weight_scaling"]
    assert sorted(vectors) == ["1.bias", "1.weight", "3.bias", "3.weight", "5.bias"]
    before, after = (
        tuner.eval_model(some)["acc"] for some in (parameters, parameters | scales | vectors)
    )
    assert before < after < 0


@pytest.mark.parametrize("ioq", [False, True])
def test_files_of_nncodec_with_what_uses_data_are_nearer(bench, normalised, ioq):
    pytest.importorskip("nncodec")
    target = 1400
    file = bench.nnc.nncodec_tuned(normalised, target, ioq=ioq)
    assert 0.8 * target < len(file) <= target
    plain = bench.nnc.read_nncodec(bench.nnc.nncodec(normalised, target, opt_qp=True))
    tuned = bench.nnc.read_tuned(file)
    assert tuned.keys() == plain.keys()
    assert normalised.judge(tuned)[0] < normalised.judge(plain)[0]
