"""Compression block by block: memory for one block, and runs that go on where they stopped."""

from __future__ import annotations

import copy
import gc
import json
import weakref

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from miniatures import ARCHITECTURES  # noqa: E402
from texts import text, tokenizer  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.cli import main  # noqa: E402
from wkmeans.transformers import _streaming  # noqa: E402
from wkmeans.transformers._blocks import OUTSIDE, BlockModel  # noqa: E402

SMALL = ["--calibration-sequences", "10", "--sequence-length", "10", "--block-by-block"]


def written(architecture, path, dtype=torch.float32, **more):
    """A miniature in several files, and a text; the model."""
    name, config, sizes = ARCHITECTURES[architecture]
    torch.manual_seed(0)
    made = getattr(transformers, name)(getattr(transformers, config)(**{**sizes, **more}))
    made = made.to(dtype).eval()
    made.save_pretrained(path / "model", max_shard_size="40KB")
    tokenizer().save_pretrained(path / "model")
    (path / "text.txt").write_text(text(300))
    return made


def compress(path, output, *options):
    size = options or ("--bits", "3")
    command = ["compress", str(path / "model"), "--calibration", str(path / "text.txt")]
    return main([*command, "-o", str(path / output), *size, "--json", *SMALL])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["Llama", "Qwen2, tied"])
def test_the_folder_loads_as_the_dequantised_weights(architecture, dtype, tmp_path, capsys):
    model = written(architecture, tmp_path, dtype)
    capsys.readouterr()
    assert compress(tmp_path, "small") == 0
    report = json.loads(capsys.readouterr().out)
    loaded, info = type(model).from_pretrained(tmp_path / "small", output_loading_info=True)
    assert not any(info.values()), info
    original = type(model).from_pretrained(tmp_path / "model")
    expected = wkmeans.load(tmp_path / "small").apply_to(original)
    ids = torch.randint(3, 96, (2, 7))
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(input_ids=ids).logits, expected(input_ids=ids).logits, rtol=0, atol=1e-5
        )
    for one, other in loaded.all_tied_weights_keys.items():
        assert loaded.get_parameter(one) is loaded.get_parameter(other)
    assert loaded.dtype == dtype
    assert 0 < report["divergence"] < 0.1 and report["divergence_unweighted"] is None
    assert report["metric_after"] == pytest.approx(report["metric_before"], rel=0.1)
    compressed = [tensor for tensor in report["tensors"] if tensor["reason"] is None]
    assert {t["k"] for t in compressed} == {8} and len(compressed) > 8
    assert not list(tmp_path.glob(".small*"))


def test_divergence_is_that_of_the_whole_models(tmp_path, capsys, monkeypatch):
    """Run block by block is run at once."""
    model = written("Llama", tmp_path)
    batches = []
    judged = _streaming._judged
    monkeypatch.setattr(
        _streaming,
        "_judged",
        lambda n, m, batch, c: batches.extend(batch) or judged(n, m, batch, c),
    )
    capsys.readouterr()
    assert compress(tmp_path, "small") == 0
    report = json.loads(capsys.readouterr().out)
    small = wkmeans.load(tmp_path / "small").apply_to(copy.deepcopy(model))
    terms, surprise = [], [[], []]
    with torch.no_grad():
        for batch in batches:
            p, q = (m(**batch).logits.double().log_softmax(-1) for m in (model, small))
            terms.append((p.exp() * (p - q)).sum(-1))
            for found, logs in zip(surprise, (p, q), strict=True):
                found.append(-logs[:, :-1].gather(2, batch["input_ids"][:, 1:, None]))
    assert report["divergence"] == pytest.approx(float(torch.cat(terms).mean()), rel=1e-4)
    before, after = (float(torch.cat(found).mean().exp()) for found in surprise)
    assert report["metric_before"] == pytest.approx(before, rel=1e-5)
    assert report["metric_after"] == pytest.approx(after, rel=1e-5)


def test_inputs_weigh_by_their_mean_squares(tmp_path):
    model = written("Llama", tmp_path)
    network = BlockModel(tmp_path / "model")
    batch = {"input_ids": torch.randint(3, 96, (3, 6))}
    seen = {}
    name = "model.layers.1.mlp.down_proj"
    model.get_submodule(name).register_forward_pre_hook(lambda _, x: seen.update(x=x[0]))
    with torch.no_grad():
        logits = model(**batch).logits
    with network.holding(network.read(OUTSIDE)):
        hidden, arguments = network.first_inputs(batch)
    for block in range(2):
        with network.holding(network.read(block)), network.squares(block) as sums:
            hidden = network.through(block, hidden, arguments[block])
    expected = seen["x"].double().square().sum((0, 1))
    torch.testing.assert_close(sums[f"{name}.weight"], expected, rtol=1e-5, atol=1e-12)
    with network.holding(network.read(OUTSIDE)):
        torch.testing.assert_close(network.logits(batch, hidden), logits)


def test_a_size_is_kept(tmp_path, capsys):
    written("Llama", tmp_path)
    assert compress(tmp_path, "small", "--target-bits-per-weight", "6") == 0
    file = tmp_path / "small" / "model.safetensors"
    weights = sum(tensor.size for tensor in wkmeans.load(file).values())
    assert 0.9 * 6 <= 8 * file.stat().st_size / weights <= 6


@pytest.mark.slow
def test_one_part_is_in_memory(tmp_path, capsys, monkeypatch):
    """However many there are: the tensors that were read and still live, counted at each read."""
    most = {}
    read = BlockModel.read
    for layers in (2, 6):
        alive, sizes = [], []

        def counted(network, part, alive=alive, sizes=sizes):
            assert all(parameter.is_meta for parameter in network.model.parameters())
            found = read(network, part)
            alive.extend(map(weakref.ref, found.values()))
            gc.collect()
            sizes.append(sum(t.nbytes for t in (one() for one in alive) if t is not None))
            return found

        monkeypatch.setattr(BlockModel, "read", counted)
        path = tmp_path / str(layers)
        path.mkdir()
        written("Llama", path, num_hidden_layers=layers)
        assert compress(path, "small") == 0
        assert len(sizes) == layers + 2
        most[layers] = max(sizes)
    largest = max(2 * 96 * 32 + 32, 32 * (32 + 16 + 16 + 32 + 3 * 48 + 2))
    assert most[2] == most[6] == 4 * largest


@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(stop_at, tmp_path, capsys, monkeypatch):
    written("Llama", tmp_path)
    assert compress(tmp_path, "whole") == 0
    made = []
    once = _streaming.compress

    def stopping(tensors, **options):
        if len(made) == stop_at:
            raise KeyboardInterrupt
        made.append(sorted(tensors))
        return once(tensors, **options)

    monkeypatch.setattr(_streaming, "compress", stopping)
    assert compress(tmp_path, "small") == 130
    assert not (tmp_path / "small").exists()
    assert len(list((tmp_path / ".small.unfinished").glob("part-*"))) == stop_at
    monkeypatch.setattr(
        _streaming, "compress", lambda t, **o: made.append(sorted(t)) or once(t, **o)
    )
    assert compress(tmp_path, "small") == 0
    assert len(made) == 3 and made[0] != made[1] != made[2]
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "small" / path.name).read_bytes() == path.read_bytes()
    assert not (tmp_path / ".small.unfinished").exists()


def test_what_was_begun_for_something_else_is_not_taken_up(tmp_path, capsys, monkeypatch):
    written("Llama", tmp_path)
    judged = _streaming._judged

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_streaming, "_judged", stopped)
    assert compress(tmp_path, "small", "--bits", "2") == 130
    monkeypatch.setattr(_streaming, "_judged", judged)
    assert compress(tmp_path, "small", "--bits", "3") == 0
    assert wkmeans.load(tmp_path / "small")["lm_head.weight"].k == 8


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("BERT", [], "block by block: expected a model that predicts next tokens, got BertFor"),
        ("Llama", ["--exclude", "lm_head*"], "exclude: expected none with block by block"),
        ("Mixtral", [], "expected a tensor 'model.layers.0.mlp"),
    ],
)
def test_what_it_does_not_do_is_said(architecture, options, message, tmp_path, capsys):
    written(architecture, tmp_path)
    capsys.readouterr()
    assert compress(tmp_path, "small", "--bits", "3", *options) == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "text.txt"]
