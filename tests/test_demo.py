"""The demo: its data, what it measures, and that it says what it found."""

from __future__ import annotations

import gzip
import io
import struct
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[demo]'")
for _module in ("sklearn", "rich", "matplotlib"):
    pytest.importorskip(_module, reason="needs the extra: pip install 'wkmeans[demo]'")

from rich.console import Console  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.demo import PLANS, run  # noqa: E402
from wkmeans.demo._data import load_digits, load_fashion_mnist  # noqa: E402
from wkmeans.demo._experiment import (  # noqa: E402
    Outcome,
    Pruned,
    Quantised,
    compare_objectives,
)
from wkmeans.demo._idx import read_idx  # noqa: E402
from wkmeans.demo._network import Score, evaluate, perceptron, train  # noqa: E402
from wkmeans.demo._results import Results, verdict  # noqa: E402
from wkmeans.importance import estimate  # noqa: E402

SMALL = replace(
    PLANS["digits"],
    training=PLANS["digits"].training._replace(epochs=3),
    n_examples=64,
    seeds=(0,),
    temperatures=(1.0,),
    ks=(2,),
    densities=(0.5,),
)


def write_idx(path, array, *, kind=0x08, surplus=b""):
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes() + surplus))


def write_fashion_mnist(directory, n_train=60, n_test=20):
    rng = np.random.default_rng(0)
    for part, n in (("train", n_train), ("t10k", n_test)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        write_idx(directory / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(directory / f"{part}-labels-idx1-ubyte.gz", np.arange(n, dtype=np.uint8) % 10)


def trained(data, seed=0):
    return train(
        SMALL.widths, data.training, **SMALL.training._asdict(), seed=seed, on_epoch=lambda: None
    )


# --- data ------------------------------------------------------------------------------------


def test_idx_gives_back_what_was_written(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "a.gz", array)
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz", 3), array)


def test_idx_refuses_what_it_is_not(tmp_path):
    array = np.zeros((2, 3), np.uint8)
    path = tmp_path / "a.gz"
    write_idx(path, array)
    whole = path.read_bytes()
    with pytest.raises(ValueError, match=r"expected 00000803 at its start .* got 00000802"):
        read_idx(path, 3)
    write_idx(path, array, kind=0x0D)
    with pytest.raises(ValueError, match="got 00000d02"):
        read_idx(path, 2)
    write_idx(path, array, surplus=b"x")
    with pytest.raises(ValueError, match="6 bytes its header announces"):
        read_idx(path, 2)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 2]) + struct.pack(">2I", 2**31, 2**31)))
    with pytest.raises(ValueError, match="its header announces"):
        read_idx(path, 2)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 2, 0])))
    with pytest.raises(ValueError, match="ends within its header"):
        read_idx(path, 2)
    for damaged in (b"not gzip", whole[:-9], whole[:14] + b"\xff\xff\xff" + whole[17:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a readable gzip file"):
            read_idx(path, 2)


def test_digits_are_split_without_overlap_and_centred():
    data = load_digits(3)
    sizes = [len(split) for split in (data.training, data.validation, data.test)]
    assert sum(sizes) == 1797 and min(sizes) > 200
    rows = torch.cat([data.training.inputs, data.validation.inputs, data.test.inputs])
    assert len(rows.unique(dim=0)) == 1797
    torch.testing.assert_close(data.training.inputs.mean(0), torch.zeros(64), atol=1e-5, rtol=0)
    assert torch.equal(load_digits(3).test.inputs, data.test.inputs)
    assert not torch.equal(load_digits(4).test.targets, data.test.targets)


def test_fashion_mnist_is_read_from_a_directory(tmp_path):
    write_fashion_mnist(tmp_path)
    data = load_fashion_mnist(0, tmp_path)
    assert (len(data.training), len(data.validation), len(data.test)) == (50, 10, 20)
    assert data.training.inputs.shape == (50, 784)
    assert data.test.targets.tolist() == [i % 10 for i in range(20)]


def test_missing_fashion_mnist_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is missing.*dataset-fashion-mnist.*--data-dir"):
        load_fashion_mnist(0, tmp_path)


def test_other_idx_files_are_not_taken_for_fashion_mnist(tmp_path):
    write_fashion_mnist(tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    write_idx(labels, np.arange(19, dtype=np.uint8))
    with pytest.raises(ValueError, match="images of t10k, got 19 and 20"):
        load_fashion_mnist(0, tmp_path)
    write_idx(labels, np.full(20, 10, np.uint8))
    with pytest.raises(ValueError, match="labels from 0 to 9"):
        load_fashion_mnist(0, tmp_path)


# --- the experiment --------------------------------------------------------------------------


def test_training_learns_and_repeats_itself_without_touching_the_random_state():
    data = load_digits(0)
    state = torch.get_rng_state()
    first, second = trained(data), trained(data)
    assert torch.equal(torch.get_rng_state(), state)
    assert evaluate(first, data.test).accuracy > 0.8
    for mine, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_quantised_weights_have_k_values_a_tensor_and_the_papers_ratio():
    net = perceptron((8, 6, 4))
    importances = estimate(net, [], objective="baseline", parameters=["0.weight", "2.weight"])
    weights = {name: net.get_parameter(name).detach() for name in importances}
    compressed, ratio = Quantised(4).compress(weights, importances)
    bits = 0
    for name, weight in weights.items():
        values, counts = compressed[name].unique(return_counts=True)
        assert len(values) == 4
        bits += wkmeans.rate.shannon_bits(counts.numpy()) + 4 * 32
        assert compressed[name].shape == weight.shape
    assert ratio == pytest.approx((48 + 24) * 32 / bits, rel=1e-12)


def test_pruned_weights_keep_their_density_in_every_tensor():
    net = perceptron((8, 6, 4))
    importances = estimate(net, [], objective="baseline", parameters=["0.weight", "2.weight"])
    weights = {name: net.get_parameter(name).detach() for name in importances}
    compressed, ratio = Pruned(0.25).compress(weights, importances)
    assert [int((c != 0).sum()) for c in compressed.values()] == [12, 6]
    assert ratio == 4
    for name, weight in weights.items():
        kept = compressed[name] != 0
        assert torch.equal(compressed[name][kept], weight[kept])
        assert weight[kept].abs().min() >= weight[~kept].abs().max()


def test_temperature_is_chosen_on_validation_and_scored_on_test():
    data = load_digits(0)
    net = trained(data)

    def outcomes(*temperatures):
        return compare_objectives(
            net, data, objectives=["baseline", "fisher"], settings=[Pruned(0.2)],
            temperatures=temperatures, n_examples=64, on_step=steps.append,
        )  # fmt: skip

    steps = []
    chosen = outcomes(1.0, 20.0)["fisher", Pruned(0.2)]
    assert steps == ["baseline", "fisher", "fisher"]
    alone = [outcomes(t)["fisher", Pruned(0.2)] for t in (1.0, 20.0)]
    assert alone[0].test != alone[1].test
    assert chosen in alone

    swapped = replace(data, test=data.validation)
    on_validation = [
        compare_objectives(
            net, swapped, objectives=["fisher"], settings=[Pruned(0.2)], temperatures=[t],
            n_examples=64, on_step=steps.append,
        )["fisher", Pruned(0.2)].test.cross_entropy
        for t in (1.0, 20.0)
    ]  # fmt: skip
    assert chosen == alone[int(np.argmin(on_validation))]


@pytest.mark.slow
def test_weighted_pruning_beats_the_baseline_in_cross_entropy():
    """The claim of the demo, where it is clearest, on three networks."""
    settings = [Pruned(0.3)]
    sums = dict.fromkeys(("baseline", "fisher", "gradient"), 0.0)
    for seed in range(3):
        data = load_digits(seed)
        net = train(
            (64, 64, 10), data.training, epochs=20, batch_size=32, learning_rate=1e-3, seed=seed,
            on_epoch=lambda: None,
        )  # fmt: skip
        outcomes = compare_objectives(
            net, data, objectives=list(sums), settings=settings, temperatures=[4.0],
            n_examples=2000, on_step=lambda _: None,
        )  # fmt: skip
        for objective in sums:
            sums[objective] += outcomes[objective, settings[0]].test.cross_entropy
    assert sums["fisher"] < 0.9 * sums["baseline"]
    assert sums["gradient"] < 0.9 * sums["baseline"]


# --- what it says ----------------------------------------------------------------------------


def results_of(**cross_entropies):
    """Two seeds and two settings, from ``objective=(quantised, quantised, pruned, pruned)``."""
    settings = [Quantised(4), Pruned(0.5)]
    outcomes = [
        {
            (objective, setting): Outcome(Score(0.9, values[2 * s + seed]), 4.0, 1.0)
            for objective, values in cross_entropies.items()
            for s, setting in enumerate(settings)
        }
        for seed in range(2)
    ]
    return Results("toy", "network", [Score(0.95, 0.1)] * 2, outcomes)


def test_verdict_says_where_an_objective_is_behind():
    results = results_of(baseline=(0.4, 0.4, 0.3, 0.3), fisher=(0.3, 0.4, 0.2, 0.5))
    (line,) = verdict(results)
    assert line == (
        "fisher: mean cross-entropy below the baseline's at the same k or density in 1 of 2 "
        "settings (not at density 0.5), and in 2 of 4 single runs."
    )


def test_verdict_says_when_two_objectives_are_one_evidence():
    same = (0.1, 0.1, 0.1, 0.1)
    lines = verdict(results_of(baseline=(0.2,) * 4, fisher=same, hessian=same))
    assert "(everywhere), and in 4 of 4" in lines[0]
    assert "not two" in lines[-1]
    lines = verdict(results_of(baseline=(0.2,) * 4, fisher=same, hessian=(0.1, 0.1, 0.1, 0.15)))
    assert len(lines) == 2


def test_no_verdict_without_a_baseline():
    assert verdict(results_of(fisher=(0.1,) * 4)) == []


@pytest.mark.parametrize("data", ["digits", "fashion-mnist"])
def test_the_whole_demo_fits_a_terminal_and_saves_a_plot(tmp_path, data):
    write_fashion_mnist(tmp_path)
    plan = replace(SMALL, widths=(64, 16, 10) if data == "digits" else (784, 16, 10))
    text = io.StringIO()
    threads = torch.get_num_threads()
    results = run(
        data, plan, output=tmp_path / "plot.png", console=Console(file=text, width=80),
        data_dir=tmp_path if data == "fashion-mnist" else None,
    )  # fmt: skip
    assert torch.get_num_threads() == threads
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    printed = text.getvalue()
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 80
    for objective in plan.objectives:
        assert f"{results.cross_entropy(objective, Quantised(2)):.3f}" in printed
        assert f"{results.accuracy(objective, Pruned(0.5)):.1%}" in printed
    assert f"{results.ratio('baseline', Quantised(2)):.1f}x" in printed
    assert "single runs" in printed


@pytest.mark.parametrize("name", ["plot.txt", "missing/plot.png"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, name):
    text = io.StringIO()
    with pytest.raises(ValueError, match="output"):
        run("digits", SMALL, output=tmp_path / name, console=Console(file=text))
    assert text.getvalue() == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ks": (0,)}, "k: expected 1 to 65536, got 0"),
        ({"densities": (1.5,)}, "densities: expected more than 0, at most 1, got 1.5"),
        ({"densities": (), "ks": ()}, "expected at least one of either"),
        ({"objectives": ("magnitude",)}, r"got \['magnitude'\]"),
        ({"seeds": ()}, "seeds: expected at least 1"),
        ({"temperatures": (0.0,)}, "temperature: expected positive"),
        ({"widths": (64, 0, 10)}, "at least 1 unit"),
    ],
)
def test_a_plan_that_makes_no_sense(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)
