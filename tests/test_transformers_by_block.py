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
from test_ranks import run_two_ranks  # noqa: E402
from texts import text, tokenizer  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.cli import main  # noqa: E402
from wkmeans.transformers import Sequences, compress_folder  # noqa: E402
from wkmeans.transformers.by_block import run  # noqa: E402
from wkmeans.transformers.by_block.files import RunFiles  # noqa: E402
from wkmeans.transformers.by_block.judged import Judge  # noqa: E402
from wkmeans.transformers.by_block.linear import Watch  # noqa: E402
from wkmeans.transformers.by_block.network import (  # noqa: E402
    OUTSIDE,
    BlockModel,
    _parameters_on_meta,
)
from wkmeans.transformers.by_block.plan import plan_of  # noqa: E402
from wkmeans.transformers.by_block.ranks import Ranks  # noqa: E402
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
    assert 0 < report["divergence"] < 0.01
    assert report["divergence"] <= report["divergence_unweighted"]
    if architecture != "BERT":
        assert report["metric_after"] == pytest.approx(report["metric_before"], rel=0.1)
    compressed = [tensor for tensor in report["tensors"] if tensor["reason"] is None]
    assert len(compressed) >= 8 and all(tensor["k"] > 1 for tensor in compressed)
    assert not list(tmp_path.glob(".small*"))


@pytest.mark.parametrize(
    ("architecture", "bits", "chosen"), [("Llama", 6, "matrix"), ("GPT-2", 4, "unweighted")]
)
def test_divergences_are_those_of_the_whole_models(
    architecture, bits, chosen, tmp_path, capsys, monkeypatch
):
    """Run block by block is run at once; of two files the one that moves the model less stays."""
    model = written(architecture, tmp_path)
    batches = []
    least = Judge.least
    monkeypatch.setattr(
        Judge, "least", lambda self, made: batches.extend(self.batches) or least(self, made)
    )
    capsys.readouterr()
    assert compress(tmp_path, "small", "--target-bits-per-weight", str(bits)) == 0
    report = json.loads(capsys.readouterr().out)
    small = wkmeans.load(tmp_path / "small").apply_to(copy.deepcopy(model))
    plain = wkmeans.compress(model, target_bits_per_weight=bits)
    rounded = plain.apply_to(copy.deepcopy(model))
    terms, surprise = [[], []], [[], []]
    with torch.no_grad():
        for batch in batches:
            p, q, r = (m(**batch).logits.double().log_softmax(-1) for m in (model, small, rounded))
            for found, other in zip(terms, (q, r), strict=True):
                found.append((p.exp() * (p - other)).sum(-1))
            for found, logs in zip(surprise, (p, q), strict=True):
                found.append(-logs[:, :-1].gather(2, batch["input_ids"][:, 1:, None]))
    divergence, unweighted = (float(torch.cat(found).mean()) for found in terms)
    assert report["divergence"] == pytest.approx(divergence, rel=1e-4)
    assert report["divergence_unweighted"] == pytest.approx(unweighted, rel=1e-4)
    before, after = (float(torch.cat(found).mean().exp()) for found in surprise)
    assert report["metric_before"] == pytest.approx(before, rel=1e-5)
    assert report["metric_after"] == pytest.approx(after, rel=1e-5)
    assert set(report["tried"]) == {"unweighted", "matrix"}
    assert min(report["tried"], key=report["tried"].get) == chosen
    assert (wkmeans.load(tmp_path / "small").to_bytes() == plain.to_bytes()) == (
        chosen == "unweighted"
    )


@pytest.mark.parametrize("architecture", ["GPT-2", "Qwen2, tied", "Mixtral", "BERT"])
@pytest.mark.parametrize("size", [{"bits": 2}, {"target_bits_per_weight": 5}])
def test_plain_rounding_is_that_of_the_whole_model(architecture, size, tmp_path):
    """A tensor read when it is needed is compressed as one in memory."""
    model = written(architecture, tmp_path)
    network = BlockModel(tmp_path / "model")
    weights = sum(map(network.n_weights, network.parts))
    batches = [{"input_ids": torch.randint(3, 96, (3, 6))}]
    plan = plan_of(weights, "unweighted", **size)
    made = run.Run(network, batches, batches, RunFiles(tmp_path), plan, None, Ranks()).compressed()
    expected = wkmeans.compress(model, **size)
    assert made.nbytes == expected.nbytes
    assert set(made) == set(expected)
    for name, tensor in expected.items():
        assert (made[name].dequantize() == tensor.dequantize()).all(), name
    assert list(made.findings.tried) == ["unweighted"]


@pytest.mark.parametrize("architecture", ["GPT-2", "Qwen2, tied", "Mixtral"])
def test_sensitivities_are_those_of_the_whole_model(architecture, tmp_path):
    """Back through one block at a time is back through all of them: squared derivatives."""
    model = written(architecture, tmp_path)
    network = BlockModel(tmp_path / "model")
    batches = [{"input_ids": torch.randint(3, 96, (3, 6))} for _ in range(2)]
    plan = plan_of(1, bits=3)
    swept = run.Run(network, batches, [], RunFiles(tmp_path), plan, None, Ranks())
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
    table = model.get_input_embeddings()
    rows = torch.zeros(96)
    for number, batch in enumerate(batches):
        generator = torch.Generator().manual_seed(number)
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


def test_plain_rounding_reads_a_tensor_at_a_time(tmp_path, monkeypatch):
    written("Llama", tmp_path)
    network = BlockModel(tmp_path / "model")
    alive, most = [], []
    read = BlockModel._array

    def counted(network, name):
        found = read(network, name)
        alive.append(weakref.ref(found))
        most.append(sum(one() is not None for one in alive))
        return found

    monkeypatch.setattr(BlockModel, "_array", counted)
    plan = plan_of(1, "unweighted", bits=3)
    run.Run(network, [], [], RunFiles(tmp_path), plan, None, Ranks())._round()
    # One that stays dense is kept: a norm's vector, of which a block has two and the end one.
    assert len(most) == 2 * 9 + 3 and max(most) <= 1 + 5


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

    rounded = []
    build = run.build
    monkeypatch.setattr(run, "build", lambda *a: rounded.append(1) or build(*a))
    monkeypatch.setattr(run.Run, "_make", stopping)
    assert compress(tmp_path, "small", *SIZE) == 130
    assert not (tmp_path / "small").exists()
    assert len(list((tmp_path / ".small.unfinished").glob("part-*"))) == stop_at
    monkeypatch.setattr(
        run.Run, "_make", lambda self, part, *rest: made.append(part) or make(self, part, *rest)
    )
    assert compress(tmp_path, "small", *SIZE) == 0
    assert made == [OUTSIDE, 0, 1]
    assert len(rounded) == 1
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "small" / path.name).read_bytes() == path.read_bytes()
    assert not (tmp_path / ".small.unfinished").exists()


OF_RANKS = (
    {"target_bits_per_weight": 6},
    {"bits": 3},
    {"target_bits_per_weight": 8, "granularity": "channel"},
)
TWO_RANKS = f"""
from pathlib import Path
from wkmeans.transformers import Sequences, compress_folder

place = Path(sys.argv[2]).parent
divergences = []
for number, options in enumerate({OF_RANKS}):
    made = compress_folder(
        place / "model", [place / "text.txt"], place / f"two-{{number}}", Sequences(10, 10),
        by_block=True, group=group, **options,
    )
    divergences.append((made.report().tried, made.to_bytes()))
open(sys.argv[3], "wb").write(pickle.dumps(divergences))
"""


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path, monkeypatch):
    """Each its share of examples, layers and tensors; they take up what one process began."""
    written("Llama", tmp_path)
    make = run.Run._make

    def made(output, options):
        texts, sizes = [tmp_path / "text.txt"], Sequences(10, 10)
        place = tmp_path / output
        return compress_folder(tmp_path / "model", texts, place, sizes, by_block=True, **options)

    def stopping(self, part, *rest):
        if part == 1:
            raise KeyboardInterrupt
        return make(self, part, *rest)

    alone = [made(f"one-{number}", options) for number, options in enumerate(OF_RANKS)]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run.Run, "_make", stopping)
        made("two-0", OF_RANKS[0])
    assert len(list((tmp_path / ".two-0.unfinished").glob("part-*"))) == 2
    for found in run_two_ranks(tmp_path, TWO_RANKS, timeout=300):
        assert found == [(one.report().tried, one.to_bytes()) for one in alone]
    for number in range(len(OF_RANKS)):
        for path in (tmp_path / f"one-{number}").iterdir():
            assert (tmp_path / f"two-{number}" / path.name).read_bytes() == path.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_what_was_begun_for_something_else_is_not_taken_up(tmp_path, capsys, monkeypatch):
    written("Llama", tmp_path)
    least = Judge.least

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Judge, "least", stopped)
    assert compress(tmp_path, "small", "--target-bits-per-weight", "5") == 130
    monkeypatch.setattr(Judge, "least", least)
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
