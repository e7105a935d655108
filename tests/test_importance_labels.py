"""Whose targets are whose: transformers' labels, masks, and what no batch need hold."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import CLASSES, assert_close, examples, mlp  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from wkmeans.importance import calibrate_temperature, estimate  # noqa: E402

VOCABULARY = 13


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip(
        "transformers", reason="needs the extra: pip install 'wkmeans[transformers]'"
    )


def llama(transformers):
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=8, intermediate_size=12, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).double().eval()


def gpt2(transformers):
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=16, n_embd=8, n_layer=1, n_head=2
    )
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(config).double().eval()


def bert(transformers, kind="BertForMaskedLM", **options):
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=12, max_position_embeddings=16, **options,
    )  # fmt: skip
    torch.manual_seed(0)
    return getattr(transformers, kind)(config).double().eval()


def t5(transformers):
    config = transformers.T5Config(
        vocab_size=VOCABULARY, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.T5ForConditionalGeneration(config).double().eval()


def tokens(n=3, length=6):
    return torch.randint(1, VOCABULARY, (n, length), generator=torch.Generator().manual_seed(1))


def own_squares(model, batch):
    """Squared gradients of the loss that the model itself gives each example."""
    parameters = dict(model.named_parameters())
    totals = {name: torch.zeros_like(p) for name, p in parameters.items()}
    n = len(batch["input_ids"])
    for i in range(n):
        loss = model(**{key: value[i : i + 1] for key, value in batch.items()}).loss
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, found, strict=True):
            totals[name] += 0 if gradient is None else gradient**2
    return {name: total / n for name, total in totals.items()}


@pytest.mark.parametrize("build", [llama, gpt2, bert, t5])
def test_labels_mean_what_the_model_takes_them_for(transformers, build, monkeypatch):
    """To the last digits, with the models kept from taking their losses in single precision."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    model = build(transformers)
    labels = tokens()
    labels[0, 4:] = labels[2, 0] = -100
    batch = {"input_ids": tokens(), "labels": labels}
    result = estimate(model, [batch], objective="gradient")
    for name, expected in own_squares(model, batch).items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(result[name][0], expected, rtol=1e-6, atol=1e-12 * scale + 1e-25)


def test_labels_of_classes(transformers):
    model = bert(transformers, "BertForSequenceClassification", num_labels=3)
    config = model.config.to_dict()
    batch = {"input_ids": tokens(), "labels": torch.tensor([0, 2, 1])}
    result = estimate(model, [batch], objective="gradient")
    assert model.config.to_dict() == config
    for name, expected in own_squares(model, batch).items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(result[name][0], expected, rtol=1e-6, atol=1e-12 * scale + 1e-25)


def test_another_loss_of_the_model_is_refused(transformers):
    model = bert(transformers, "BertForSequenceClassification", num_labels=3)

    class Smoothed(type(model)):
        def forward(self, *args, labels=None, **options):
            output = super().forward(*args, **options)
            if labels is not None:
                output.loss = functional.cross_entropy(output.logits, labels, label_smoothing=0.2)
            return output

    model.__class__ = Smoothed
    batch = {"input_ids": tokens(), "labels": torch.tensor([0, 2, 1])}
    with pytest.raises(ValueError, match=r"its own loss of example 0 .* pass loss="):
        estimate(model, [batch], objective="gradient")
    pair = ({"input_ids": batch["input_ids"]}, batch["labels"])
    estimate(model, [pair], objective="gradient")
    estimate(
        model, [batch], objective="gradient",
        loss=lambda o, t: functional.cross_entropy(o, t, reduction="none", label_smoothing=0.2),
    )  # fmt: skip


@pytest.mark.parametrize("build", [llama, gpt2])
def test_a_causal_models_own_tokens_are_no_aligned_targets(transformers, build):
    model, ids = build(transformers), tokens()
    with pytest.raises(ValueError, match=r"the input's own tokens.*'labels'"):
        estimate(model, [(ids, ids)], objective="gradient")
    shifted = estimate(model, [(ids[:, :-1], ids[:, 1:])], objective="gradient")
    own = estimate(model, [{"input_ids": ids, "labels": ids}], objective="gradient")
    for name in own:
        assert_close(own[name][0], shifted[name][0], rtol=1e-9)


def padded(ids, extra=3, side="right"):
    pads = torch.zeros(len(ids), extra, dtype=ids.dtype)
    parts = [ids, pads] if side == "right" else [pads, ids]
    mask = torch.cat([torch.ones_like(p) * (p is ids) for p in parts], 1)
    return {"input_ids": torch.cat(parts, 1), "attention_mask": mask}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("objective", ["fisher", "gradient"])
def test_hidden_positions_count_for_nothing(transformers, side, with_labels, objective):
    if objective == "gradient" and not with_labels:
        return  # nothing to derive
    model, ids = llama(transformers), tokens()
    plain, long = {"input_ids": ids}, padded(ids, side=side)
    if with_labels:
        plain["labels"] = ids
        long["labels"] = long["input_ids"]  # pads are not even marked
    expected = estimate(model, [plain], objective=objective)
    result = estimate(model, [long], objective=objective)
    for name in expected:
        assert_close(result[name][0], expected[name][0], rtol=1e-6)


@pytest.mark.parametrize("objective", ["fisher", "gradient", "hessian"])
def test_a_regressors_hidden_positions_count_for_nothing(objective):
    class Regressor(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x, attention_mask):
            return self.layer(x)

    model = Regressor().double()
    x, y = torch.randn(4, 3, 3).double(), torch.randn(4, 3, 2).double()
    mask = torch.tensor([[1, 1, 0]] * 4)
    short = {"x": x[:, :2], "attention_mask": mask[:, :2], "labels": y[:, :2]}
    whole = {"x": x, "attention_mask": mask, "labels": y}
    expected = estimate(model, [short], objective=objective, loss="mse")
    result = estimate(model, [whole], objective=objective, loss="mse")
    probed = estimate(model, [whole], objective="fisher", loss="mse", probes=2)
    assert probed["layer.bias"][0].shape == (2,)
    for name in expected:
        assert_close(result[name][0], expected[name][0], rtol=1e-12)


def test_calibration_sees_the_same_labels(transformers):
    model, ids = gpt2(transformers), torch.ones(4, 6, dtype=torch.long)
    ids[0, 3] = 2  # some information, which a random net does not have
    own = calibrate_temperature(model, [{"input_ids": ids, "labels": ids}], bounds=(1e-3, 1e6))
    pair = calibrate_temperature(model, [(ids[:, :-1], ids[:, 1:])], bounds=(1e-3, 1e6))
    assert own == pytest.approx(pair, rel=1e-9)


# --- batches of inputs alone -----------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: (x,),
        lambda x: {"input": x},
        lambda x: (x, None),
        lambda x: (x, ["names", "of", "files"]),
        lambda x: (x, torch.zeros(2, 7)),
        lambda x: {"input": x, "labels": "unknown"},
    ],
    ids=["tensor", "single", "dict", "pair", "strings", "shape", "dict of strings"],
)
def test_fisher_takes_inputs_alone(wrap):
    net, (inputs, targets) = mlp().double(), examples()
    expected = estimate(net, [(inputs, targets)], objective="fisher")
    result = estimate(net, [wrap(inputs)], objective="fisher")
    for name in expected:
        assert torch.equal(result[name][0], expected[name][0])


def test_fisher_of_sequences_ignores_targets_of_another_kind():
    net, inputs = nn.Linear(3, CLASSES).double(), torch.randn(2, 5, 3).double()
    expected = estimate(net, [inputs], objective="fisher")
    result = estimate(net, [(inputs, torch.randn(2, 5))], objective="fisher")
    assert torch.equal(result["weight"][0], expected["weight"][0])


def test_other_objectives_say_what_they_expected():
    with pytest.raises(TypeError, match=r"expected pairs.*got Tensor as batch 0"):
        estimate(mlp(), [torch.zeros(3, 6)], objective="gradient")
