"""Compression block by block: memory for one block, and runs that go on where they stopped."""

from __future__ import annotations

import collections
import copy
import gc
import json
import threading
import weakref

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from miniatures import ARCHITECTURES  # noqa: E402
from texts import text, tokenizer  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.cli import main  # noqa: E402
from wkmeans.transformers.by_block import run  # noqa: E402
from wkmeans.transformers.by_block.files import RunFiles  # noqa: E402
from wkmeans.transformers.by_block.linear import Watch  # noqa: E402
from wkmeans.transformers.by_block.network import (  # noqa: E402
    OUTSIDE,
    BlockModel,
    _parameters_on_meta,
)
from wkmeans.transformers.by_block.sensitivity import _fisher_signs  # noqa: E402

SIZE = ("--target-bits-per-weight", "6")
STACKS = ("GPT-2", "Llama", "Mistral", "Qwen2, tied", "Mixtral", "BERT")
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


def file_bits(folder):
    """Of each weight of the model."""
    file = folder / "model.safetensors"
    return 8 * file.stat().st_size / wkmeans.load(file).report().n_weights


@pytest.mark.parametrize(
    ("architecture", "dtype", "size"),
    [
        *((name, torch.float32, ("--target-bits-per-weight", "6")) for name in STACKS),
        ("Llama", torch.bfloat16, ("--target-bits-per-weight", "6")),
        ("Qwen2, tied", torch.float32, ("--bits", "4")),
        ("Llama", torch.float32, ("--target-bits-per-weight", "6", "--granularity", "channel")),
    ],
)
def test_the_folder_loads_as_the_dequantised_weights(architecture, dtype, size, tmp_path, capsys):
    model = written(architecture, tmp_path, dtype)
    capsys.readouterr()
    assert compress(tmp_path, "small", *size) == 0
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
    assert 0 < report["divergence"] < 0.01 and report["divergence_unweighted"] is None
    if architecture != "BERT":
        assert report["metric_after"] == pytest.approx(report["metric_before"], rel=0.1)
    compressed = [tensor for tensor in report["tensors"] if tensor["reason"] is None]
    assert len(compressed) >= 8 and all(tensor["k"] > 1 for tensor in compressed)
    assert not list(tmp_path.glob(".small*"))


def test_divergence_is_that_of_the_whole_models(tmp_path, capsys, monkeypatch):
    """Run block by block is run at once."""
    model = written("Llama", tmp_path)
    batches = []
    judged = run.judged
    monkeypatch.setattr(
        run,
        "judged",
        lambda n, m, batch, s: batches.extend(batch) or judged(n, m, batch, s),
    )
    capsys.readouterr()
    assert compress(tmp_path, "small", *SIZE) == 0
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


@pytest.mark.parametrize("architecture", ["GPT-2", "Qwen2, tied", "Mixtral"])
def test_sensitivities_are_those_of_the_whole_model(architecture, tmp_path):
    """Back through one block at a time is back through all of them: squared derivatives."""
    model = written(architecture, tmp_path)
    network = BlockModel(tmp_path / "model")
    batches = [{"input_ids": torch.randint(3, 96, (3, 6))} for _ in range(2)]
    plan = run.plan_of(1, bits=3)
    swept = run.Run(network, batches, [], RunFiles(tmp_path), plan, None)
    swept._go_forward()
    found = swept._swept_back()
    sums = collections.Counter()

    def add(use):
        x = use.inputs.detach().flatten(0, -2)

        def hook(slope, name=use.name):
            sums[name] += float((x.square().sum(1) * slope.flatten(0, -2).square().sum(1)).sum())

        if use.outputs.requires_grad:
            use.outputs.register_hook(hook)

    model.config._experts_implementation = "eager"  # one product an expert
    generator = torch.Generator().manual_seed(0)
    table = model.get_input_embeddings()
    rows = torch.zeros(96)
    for batch in batches:
        embedded = table(batch["input_ids"]).detach().requires_grad_()
        with Watch(dict(model.named_parameters()), add):
            logits = model(inputs_embeds=embedded).logits
        logits.backward(_fisher_signs(generator, logits.detach()))
        rows.index_add_(0, batch["input_ids"].flatten(), embedded.grad.square().sum(2).flatten())
    assert set(found) == set(sums) | {network.embedding_name}
    for name, total in sums.items():
        product = float((found[name].outputs.sum(1) * found[name].inputs.sum(1)).sum())
        assert product == pytest.approx(total, rel=1e-4), name
    torch.testing.assert_close(
        found[network.embedding_name].rows.float(), rows, rtol=1e-4, atol=1e-12
    )


def test_modules_that_other_threads_make_hold_parameters():
    made = []
    thread = threading.Thread(target=lambda: made.append(torch.nn.Linear(2, 2)))
    with _parameters_on_meta():
        own = torch.nn.Linear(2, 2)
        thread.start()
        thread.join()
    assert own.weight.is_meta
    assert not made[0].weight.is_meta and made[0].weight.requires_grad


def test_signs_have_the_fisher_of_a_softmax():
    logits = torch.tensor([1.0, -0.5, 0.3, 2.0]).expand(20000, 4)
    signs = _fisher_signs(torch.Generator().manual_seed(0), logits)
    p = logits[0].softmax(0)
    expected = torch.diag(p) - torch.outer(p, p)
    torch.testing.assert_close(signs.T @ signs / len(signs), expected, atol=0.01, rtol=0)


def test_a_size_is_kept(tmp_path, capsys):
    written("Llama", tmp_path)
    assert compress(tmp_path, "small", "--target-bits-per-weight", "6") == 0
    assert 0.99 * 6 <= file_bits(tmp_path / "small") <= 6


@pytest.mark.slow
def test_one_part_is_in_memory(tmp_path, capsys, monkeypatch):
    """However many there are: the tensors that were read and still live, counted at each read."""
    most = {}
    read = BlockModel.read
    gc.collect()
    gc.freeze()  # so that each collection looks at what this test makes
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
        assert compress(path, "small", *SIZE) == 0
        assert len(sizes) > 3 * layers
        most[layers] = max(sizes)
    gc.unfreeze()
    largest = max(2 * 96 * 32 + 32, 32 * (32 + 16 + 16 + 32 + 3 * 48 + 2))
    assert most[2] == most[6] == 4 * largest


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(stop_at, tmp_path, capsys, monkeypatch):
    written("Llama", tmp_path)
    assert compress(tmp_path, "whole", *SIZE) == 0
    made = []
    make = run.Run._make

    def stopping(self, part, *rest):
        if len(made) == stop_at:
            raise KeyboardInterrupt
        made.append(part)
        return make(self, part, *rest)

    monkeypatch.setattr(run.Run, "_make", stopping)
    assert compress(tmp_path, "small", *SIZE) == 130
    assert not (tmp_path / "small").exists()
    assert len(list((tmp_path / ".small.unfinished").glob("part-*"))) == stop_at
    monkeypatch.setattr(
        run.Run, "_make", lambda self, part, *rest: made.append(part) or make(self, part, *rest)
    )
    assert compress(tmp_path, "small", *SIZE) == 0
    assert made == [OUTSIDE, 0, 1]
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "small" / path.name).read_bytes() == path.read_bytes()
    assert not (tmp_path / ".small.unfinished").exists()


def test_what_was_begun_for_something_else_is_not_taken_up(tmp_path, capsys, monkeypatch):
    written("Llama", tmp_path)
    judged = run.judged

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "judged", stopped)
    assert compress(tmp_path, "small", "--target-bits-per-weight", "5") == 130
    monkeypatch.setattr(run, "judged", judged)
    assert compress(tmp_path, "small", *SIZE) == 0
    assert file_bits(tmp_path / "small") > 0.99 * 6


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        (
            "T5",
            [],
            "block by block: expected a model that is one stack of blocks of a kind, got T5",
        ),
        ("ViT", [], "expected a model that reads text, got ViT"),
        ("Llama", ["--exclude", "lm_head*"], "exclude: expected none with block by block"),
    ],
)
def test_what_it_does_not_do_is_said(architecture, options, message, tmp_path, capsys):
    written(architecture, tmp_path)
    capsys.readouterr()
    assert compress(tmp_path, "small", "--bits", "3", *options) == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "text.txt"]
