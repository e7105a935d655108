"""Life around an estimate: what batches may be, long runs, interrupted ones, several processes."""

from __future__ import annotations

import io
import multiprocessing
import sys
import threading

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")
pytest.importorskip("safetensors", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import CLASSES, assert_close, brute_force, examples, mlp, tanh_mlp  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from wkmeans import _progress  # noqa: E402
from wkmeans.importance import estimate  # noqa: E402


def assert_same_bits(first, second):
    assert repr(first) == repr(second) and first.methods == second.methods
    for name in first:
        pairs = [*zip(first[name], second[name], strict=True)]
        pairs += zip(first.standard_error(name), second.standard_error(name), strict=True)
        for mine, theirs in pairs:
            assert (mine is None and theirs is None) or torch.equal(mine, theirs)


# --- batches ---------------------------------------------------------------------------------


class Output:
    """As transformers' models return."""

    def __init__(self, logits):
        self.logits = logits


class Tagger(nn.Module):
    """Called by keywords; a logit for every token; a parameter that nothing uses."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, CLASSES)
        self.pooler = nn.Linear(4, 4)

    def forward(self, input_ids, attention_mask, flag=None):
        assert flag == "kept"
        hidden = self.embedding(input_ids) * attention_mask.unsqueeze(2)
        hidden = torch.relu(self.mix(hidden)) + hidden.mean(1, keepdim=True)
        return Output(self.head(hidden))


class Classifies(nn.Module):
    """The tagger's loss at one token of one example, or the mean over tokens, as a classifier."""

    def __init__(self, tagger):
        super().__init__()
        self.tagger = tagger

    def loss(self, ids, mask, labels):
        logits = self.tagger(ids[None], mask[None], "kept").logits[0]
        return functional.cross_entropy(logits, labels, reduction="none", ignore_index=-100)


def tagged():
    ids, mask = torch.randint(0, 7, (3, 4)), torch.ones(3, 4, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (3, 4))
    labels[0, 2:] = labels[1, 0] = -100
    mask[0, 2:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "flag": "kept"}


@pytest.mark.parametrize("per", ["example", "token"])
def test_tokens_of_a_dict_batch(per):
    net, batch = Tagger().double(), tagged()
    result = estimate(net, [batch], objective="gradient", per=per)
    assert result.count == (3 if per == "example" else 9)
    expected = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for ids, mask, labels in zip(
        batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True
    ):
        losses = Classifies(net).loss(ids, mask, labels)[labels != -100]
        for loss in [losses.mean()] if per == "example" else losses:
            grads = torch.autograd.grad(
                loss, list(net.parameters()), retain_graph=True, allow_unused=True
            )
            for total, g in zip(expected.values(), grads, strict=True):
                total += 0 if g is None else g**2
    for name, total in expected.items():
        assert_close(result[name][0], total / result.count)
        assert result.methods[name] == "rules"


@pytest.mark.parametrize("per", ["example", "token"])
def test_tokens_have_fisher_equal_to_hessian(per):
    """The network is piecewise linear in each tensor, so the certified identity holds."""
    net, batch = Tagger().double(), tagged()
    fisher = estimate(net, [batch], objective="fisher", per=per)
    hessian = estimate(net, [batch], objective="hessian", per=per)
    assert set(hessian.methods.values()) == {"gauss-newton, certified"}
    for name in fisher:
        assert_close(hessian[name][0], fisher[name][0])


def test_quartic_importances_of_tokens_are_squared_token_by_token():
    net, batch = Tagger().double(), tagged()
    together = estimate(net, [batch], per="token")
    single = None
    for n, t in (batch["labels"] != -100).nonzero().tolist():
        one = {k: v[n : n + 1] if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        one["labels"] = torch.full((1, 4), -100)
        one["labels"][0, t] = batch["labels"][n, t]
        run = estimate(net, [one], per="example")
        single = run if single is None else single + run
    for name in together:
        assert_close(together[name][0], single[name][0])
        assert_close(together[name][1], single[name][1])


def test_tuples_and_forward():
    net, (inputs, targets) = mlp().double(), examples()
    expected = estimate(net, [(inputs, targets)], objective="gradient")
    halves = (inputs[:, :3], inputs[:, 3:])
    result = estimate(
        net, [(halves, targets)], objective="gradient",
        forward=lambda model, pair: {"scores": model(torch.cat(pair, 1))}["scores"],
    )  # fmt: skip
    assert list(result) == list(expected)
    for name in expected:
        assert_close(result[name][0], expected[name][0], rtol=1e-12)


def test_inputs_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="got 6 and 5"):
        estimate(mlp(), [((torch.zeros(6, 6), torch.zeros(5, 6)), torch.zeros(6).long())])


# --- long runs -------------------------------------------------------------------------------


def test_progress_is_told_after_each_batch():
    seen = []
    batches = [examples(2, torch.float32), examples(3, torch.float32)]
    estimate(mlp(), batches, objective="fisher", progress=lambda *done: seen.append(done))
    assert seen == [(1, 2), (2, 5)]


def test_progress_bar(capsys):
    pytest.importorskip("rich", reason="needs the extra: pip install 'wkmeans[demo]'")
    estimate(mlp(), [examples(2, torch.float32)], objective="fisher", progress=True)
    assert "1/1 batches" in capsys.readouterr().err


def slowly(n, events):
    """Batches that wait until the bar is there."""
    for _ in range(n):
        events.wait(20)
        yield examples(2, torch.float32)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("has_rich", [True, False])
def test_a_long_run_shows_progress_on_a_terminal_by_itself(monkeypatch, has_rich):
    if has_rich:
        pytest.importorskip("rich", reason="needs the extra: pip install 'wkmeans[demo]'")
    else:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    monkeypatch.setattr(_progress, "PATIENCE", 0.01)
    shown, original = threading.Event(), _progress.Progress._show

    def show(self):
        original(self)
        shown.set()

    monkeypatch.setattr(_progress.Progress, "_show", show)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    estimate(mlp(), slowly(3, shown), objective="fisher")
    text = terminal.getvalue()
    assert "importances" in text and "6 examples" in text and "\n" in text


@pytest.mark.parametrize("stderr", [io.StringIO(), None])
def test_nothing_is_shown_where_nobody_watches(monkeypatch, stderr):
    monkeypatch.setattr(_progress, "PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", stderr)
    estimate(mlp(), [examples(2, torch.float32)] * 3, objective="fisher")
    assert stderr is None or stderr.getvalue() == ""


def test_a_short_run_says_nothing_on_a_terminal(monkeypatch):
    monkeypatch.setattr(_progress, "PATIENCE", 600.0)
    terminal, before = Terminal(), threading.active_count()
    monkeypatch.setattr(sys, "stderr", terminal)
    estimate(mlp(), [examples(2, torch.float32)], objective="fisher")
    assert terminal.getvalue() == "" and threading.active_count() <= before + 1


@pytest.mark.filterwarnings("ignore:.*mean Hessian are negative")
@pytest.mark.parametrize(
    ("build", "options"),
    [
        (mlp, {"objective": "gradient"}),
        (mlp, {"objective": "fisher", "probes": 2}),
        (tanh_mlp, {"objective": "hessian", "mu": 0.5}),
        (tanh_mlp, {"objective": "gradient+hessian", "curvature": "hutchinson", "probes": 3}),
        (tanh_mlp, {"objective": "gradient+hessian", "curvature": "propagation", "probes": 3}),
        (tanh_mlp, {"objective": "hessian", "curvature": "propagation"}),
    ],
)
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, build, options):
    net = build()
    batches = [examples(n, torch.float32) for n in (4, 1, 3, 4, 2)]
    expected = estimate(net, batches, **options)

    def interrupted():
        yield from batches[:3]
        raise KeyboardInterrupt

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        estimate(net, interrupted(), checkpoint=path, checkpoint_every=2, **options)
    seen = []
    resumed = estimate(
        net, batches, checkpoint=path, progress=lambda *done: seen.append(done), **options
    )
    assert seen == [(3, 8), (4, 12), (5, 14)]
    assert_same_bits(resumed, expected)
    expected.save(tmp_path / "a")
    resumed.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("change", ["order", "values", "targets", "fewer"])
def test_a_resumed_run_that_sees_other_batches_warns(tmp_path, change):
    net, path = mlp(), tmp_path / "checkpoint"
    batches = [examples(n, torch.float32) for n in (3, 3, 2)]
    options = {"objective": "gradient", "checkpoint": path, "checkpoint_every": 2}
    expected = estimate(net, batches, **options)
    assert_same_bits(estimate(net, batches, **options), expected)  # the same: no warning
    changed = {
        "order": [batches[1], batches[0], batches[2]],
        "values": [batches[0], (batches[1][0] + 1, batches[1][1]), batches[2]],
        "targets": [batches[0], (batches[1][0], 3 - batches[1][1]), batches[2]],
        "fewer": batches[:1],
    }[change]
    message = "more than the 1 given" if change == "fewer" else "2 batches are not those"
    with pytest.warns(UserWarning, match=message):
        estimate(net, changed, **options)


def test_a_checkpoint_without_a_digest_still_resumes_and_warns(tmp_path):
    from wkmeans.importance.run.storage import load_with_metadata, save

    net, path = mlp(), tmp_path / "checkpoint"
    batches = [examples(3, torch.float32)] * 2
    options = {"objective": "fisher", "checkpoint": path, "checkpoint_every": 1}
    expected = estimate(net, batches[:1], **options)
    state, metadata = load_with_metadata(path)
    save(state, path, {k: metadata[k] for k in ("batches", "arguments", "second_methods")})
    with pytest.warns(UserWarning, match="1 batches are not those"):
        resumed = estimate(net, batches, **options)
    assert resumed.count == 2 * expected.count


def test_a_checkpoint_of_another_estimate_is_refused(tmp_path):
    net, batch, path = mlp(), examples(2, torch.float32), tmp_path / "checkpoint"
    run = {"checkpoint": path, "checkpoint_every": 1}
    estimate(net, [batch], objective="fisher", **run)
    with pytest.raises(ValueError, match="different objective"):
        estimate(net, [batch], objective="gradient", **run)
    with pytest.raises(ValueError, match="made with"):
        estimate(net, [batch], objective="fisher", seed=1, **run)
    with pytest.raises(ValueError, match="the model's parameters, got others"):
        estimate(net, [batch], objective="fisher", parameters=["0.weight"], **run)
    estimate(net, [batch], objective="fisher").save(path)
    with pytest.raises(ValueError, match="no checkpoint"):
        estimate(net, [batch], objective="fisher", **run)


def test_memory_does_not_grow_with_examples_times_parameters():
    """The fall-back works through a batch in parts."""
    from wkmeans.importance.first import engine

    sizes = []
    original = engine.PerExampleEngine.weighted_squares

    def spy(self, model, inputs, vectors, weights):
        sizes.append(len(inputs))
        return original(self, model, inputs, vectors, weights)

    net = nn.Bilinear(3, 3, CLASSES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "FALL_BACK_BYTES", 20 * (9 * CLASSES + CLASSES) * 5)
        patch.setattr(engine.PerExampleEngine, "weighted_squares", spy)
        inputs = (torch.randn(12, 3), torch.randn(12, 3))
        result = estimate(net, [(inputs, torch.zeros(12).long())], objective="gradient")
    assert max(sizes) == 5
    assert set(result.methods.values()) == {"one example at a time"}


# --- several processes -----------------------------------------------------------------------


def rank(index, directory, broken, probes):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{directory}/store", rank=index, world_size=2
    )
    inputs, targets = torch.load(directory / "examples")
    mine = slice(0, 3) if index == 0 else slice(3, None)
    net = torch.load(directory / "model", weights_only=False)
    options = {"temperature": 1.0 + index} if broken else {}
    result = estimate(net, [(inputs[mine], targets[mine])], probes=probes, seed=index, **options)
    try:
        result.all_reduce().save(directory / f"rank{index}")
    except ValueError as error:
        (directory / f"error{index}").write_text(str(error))
    torch.distributed.destroy_process_group()


def run_ranks(directory, broken, probes=None):
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=rank, args=(i, directory, broken, probes)) for i in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


@pytest.mark.slow
def test_two_processes_add_their_variances(tmp_path):
    if not torch.distributed.is_available():
        pytest.skip("this torch was built without torch.distributed")
    from wkmeans.importance import Importances

    net, (inputs, targets) = mlp().double(), examples(8)
    torch.save((inputs, targets), tmp_path / "examples")
    torch.save(net, tmp_path / "model")
    run_ranks(tmp_path, broken=False, probes=3)
    merged = [Importances.load(tmp_path / f"rank{index}") for index in range(2)]
    assert_same_bits(*merged)
    parts = [(inputs[:3], targets[:3]), (inputs[3:], targets[3:])]
    expected = [estimate(net, [part], probes=3, seed=k) for k, part in enumerate(parts)]
    together = expected[0] + expected[1]
    assert set(merged[0].quartic_variance_sums) == set(together)
    assert merged[0].methods == together.methods
    for name in together:
        mine, theirs = merged[0].standard_error(name)[1], together.standard_error(name)[1]
        assert_close(mine, theirs, rtol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_two_processes_give_the_result_of_one(tmp_path, broken):
    if not torch.distributed.is_available():
        pytest.skip("this torch was built without torch.distributed")
    from wkmeans.importance import Importances

    net, (inputs, targets) = mlp().double(), examples(8)
    torch.save((inputs, targets), tmp_path / "examples")
    torch.save(net, tmp_path / "model")
    run_ranks(tmp_path, broken)
    if broken:
        for index in range(2):
            text = (tmp_path / f"error{index}").read_text()
            assert "temperature is 1.0 on rank 0 and 2.0 on rank 1" in text
        return
    merged = [Importances.load(tmp_path / f"rank{index}") for index in range(2)]
    assert_same_bits(*merged)
    expected = estimate(net, [(inputs, targets)])
    assert merged[0].count == 8
    for name in expected:
        for mine, theirs in zip(merged[0][name], expected[name], strict=True):
            assert_close(mine, theirs, rtol=1e-14)
    truth = brute_force(net, inputs, targets, "gradient+hessian")
    for name, (importance, quartic) in truth.items():
        assert_close(merged[0][name][0], importance)
        assert_close(merged[0][name][1], quartic)


def test_all_reduce_without_a_group_says_what_to_do():
    with pytest.raises(RuntimeError, match="init_process_group"):
        estimate(mlp(), [], objective="baseline").all_reduce()
