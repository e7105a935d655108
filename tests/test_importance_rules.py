"""Every analytic rule against brute force, and that it is the rule that answered."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import CLASSES, assert_close, brute_force  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from wkmeans.importance import estimate, register_rule  # noqa: E402
from wkmeans.importance.first import engine  # noqa: E402


class Pooled(nn.Module):
    """The mean over positions of a layer's output, classified: ``(n, *positions, features)``."""

    def __init__(self, layer, features, *, channels_first=False):
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(features, CLASSES)
        self.channels_first = channels_first

    def forward(self, x):
        hidden = torch.tanh(self.layer(x))
        hidden = hidden.movedim(1, -1) if self.channels_first else hidden
        return self.head(hidden.flatten(1, -2).mean(1) if hidden.ndim > 2 else hidden)


class SequenceFirst(nn.Module):
    """Examples along the second dimension inside; as many positions as the probe has examples."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 5)
        self.norm = nn.LayerNorm(5)

    def forward(self, x):
        return self.norm(self.layer(x.transpose(0, 1))).transpose(0, 1)


class Merged(nn.Module):
    """Examples and positions in one dimension, either of them first."""

    def __init__(self, *, positions_first):
        super().__init__()
        self.layer = nn.Linear(3, 5)
        self.conv = nn.Conv1d(5, 5, 3, padding=1)
        self.positions_first = positions_first

    def forward(self, x):
        n, t = x.shape[:2]
        rows = (x.transpose(0, 1) if self.positions_first else x).reshape(n * t, 3)
        hidden = self.conv(self.layer(rows).unsqueeze(-1)).squeeze(-1)
        if self.positions_first:
            return hidden.reshape(t, n, 5).transpose(0, 1)
        return hidden.reshape(n, t, 5)


class Elementwise(nn.Module):
    """Raw parameters added, subtracted and multiplied; one of them broadcasts."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3))
        self.shift = nn.Parameter(torch.randn(1, 2, 3))
        self.offset = nn.Parameter(torch.randn(2, 1))
        self.gain = nn.Parameter(torch.randn(()))
        self.mix = nn.Parameter(torch.randn(3, 4))
        self.bias = nn.Parameter(torch.randn(4))

    def forward(self, x):
        hidden = (self.scale * x + self.shift - self.offset) * self.gain
        return torch.addmm(
            self.bias, (hidden @ self.mix).flatten(0, 1), torch.eye(4).to(x)
        ).reshape(len(x), 2, 4)


class TiedLanguageModel(nn.Module):
    """One table to read tokens from and to score them with."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 5)
        self.mix = nn.Linear(5, 5)

    def forward(self, tokens):
        hidden = self.embedding(tokens) + torch.tanh(self.mix(self.embedding(tokens)))
        return functional.linear(hidden.mean(1), self.embedding.weight)


class Attend(nn.Module):
    def __init__(self, *, crossed=False, batch_first=True, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=batch_first, **options)
        self.crossed, self.batch_first = crossed, batch_first

    def forward(self, x):
        x = x if self.batch_first else x.transpose(0, 1)
        other = x.flip(-1) if self.crossed else x
        y = self.attention(x, other, other)[0]
        return y if self.batch_first else y.transpose(0, 1)


def images(*shape):
    return torch.randn(3, *shape, dtype=torch.float64)


def tokens(n_positions=4):
    return torch.randint(0, CLASSES, (3, n_positions))


IMAGES = {
    "conv1d": (nn.Conv1d, (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, (4, 9)),
    "conv2d": (nn.Conv2d, (4, 6, (3, 2)), {"padding": (1, 0), "dilation": (2, 1)}, (4, 7, 6)),
    "conv3d": (nn.Conv3d, (2, 4, 2), {"stride": (1, 2, 1), "groups": 2}, (2, 3, 4, 3)),
    "same": (nn.Conv2d, (2, 4, (4, 3)), {"padding": "same", "dilation": (1, 2)}, (2, 6, 5)),
    "valid": (nn.Conv1d, (2, 4, 2), {"padding": "valid"}, (2, 5)),
    "circular": (nn.Conv2d, (2, 4, 3), {"padding": 1, "padding_mode": "circular"}, (2, 5, 4)),
    "reflect": (nn.Conv2d, (2, 4, 3), {"padding": 1, "padding_mode": "reflect"}, (2, 5, 4)),
    "replicate": (nn.Conv1d, (2, 4, 3), {"padding": 2, "padding_mode": "replicate"}, (2, 5)),
    "depthwise": (nn.Conv2d, (4, 8, 3), {"groups": 4, "bias": False}, (4, 5, 5)),
    "transposed1d": (
        nn.ConvTranspose1d, (4, 6, 3),
        {"stride": 3, "padding": 1, "output_padding": 2, "groups": 2}, (4, 4),
    ),
    "transposed2d": (
        nn.ConvTranspose2d, (2, 4, (3, 2)), {"stride": (2, 1), "dilation": (1, 2)}, (2, 3, 4),
    ),
    "transposed3d": (nn.ConvTranspose3d, (2, 4, 2), {"padding": 1}, (2, 3, 3, 4)),
    "groupnorm": (nn.GroupNorm, (2, 4), {}, (4, 5, 3)),
    "instancenorm": (nn.InstanceNorm1d, (4,), {"affine": True}, (4, 6)),
    "prelu": (nn.PReLU, (4,), {}, (4, 5)),
    "one prelu": (nn.PReLU, (), {}, (4, 5)),
    "batchnorm": (nn.BatchNorm2d, (4,), {}, (4, 3, 3)),
}  # fmt: skip

SEQUENCES = {
    "linear": (lambda: nn.Linear(3, 5), 5, images(4, 3)),
    "linear, no positions": (lambda: nn.Linear(3, 5), 5, images(3)),
    "linear, two dimensions of positions": (lambda: nn.Linear(3, 5), 5, images(2, 4, 3)),
    "layernorm": (lambda: nn.LayerNorm((4, 3)), 3, images(4, 3)),
    "rmsnorm": (lambda: nn.RMSNorm(3), 3, images(4, 3)),
    "sequence first": (SequenceFirst, 5, images(2, 3)),
    "merged": (lambda: Merged(positions_first=False), 5, images(2, 3)),
    "merged, positions first": (lambda: Merged(positions_first=True), 5, images(2, 3)),
    "elementwise": (Elementwise, 4, images(2, 3)),
    "embedding": (lambda: nn.Embedding(CLASSES, 5, padding_idx=1), 5, tokens()),
    "bag of means": (lambda: nn.EmbeddingBag(CLASSES, 5, padding_idx=-1), 5, tokens()),
    "bag of sums": (lambda: nn.EmbeddingBag(CLASSES, 5, mode="sum"), 5, tokens()),
    "attention": (Attend, 4, images(3, 4)),
    "attention, sequence first": (lambda: Attend(batch_first=False), 4, images(2, 4)),
    "attention, crossed": (lambda: Attend(crossed=True), 4, images(3, 4)),
    "attention, no bias": (lambda: Attend(bias=False), 4, images(3, 4)),
}


@pytest.fixture
def no_fall_back(monkeypatch):
    def refuse(*_):
        raise AssertionError("a rule should have covered this")

    monkeypatch.setattr("wkmeans.importance.first.engine.engine_for", refuse)


def assert_exact(net, inputs, objectives=("gradient", "fisher"), rtol=1e-10):
    targets = torch.randint(0, CLASSES, (len(inputs),))
    for objective in objectives:
        result = estimate(net, [(inputs, targets)], objective=objective)
        expected = brute_force(net, inputs, targets, objective)
        assert list(result) == list(expected)
        for name, (importance, _) in expected.items():
            assert_close(result[name][0], importance, rtol)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.usefixtures("no_fall_back")
@pytest.mark.parametrize("case", IMAGES)
def test_layers_of_images(case):
    layer, arguments, options, shape = IMAGES[case]
    features = layer(*arguments, **options)(torch.randn(3, *shape)).shape[1]
    net = Pooled(layer(*arguments, **options), features, channels_first=True).double()
    if case == "batchnorm":
        net(images(*shape))  # running statistics that are not 0 and 1
    for parameter in net.layer.parameters():
        nn.init.normal_(parameter)
    assert_exact(net.eval(), images(*shape))


@pytest.mark.usefixtures("no_fall_back")
@pytest.mark.parametrize("case", SEQUENCES)
def test_layers_of_sequences(case):
    layer, features, inputs = SEQUENCES[case]
    net = Pooled(layer(), features).double()
    assert_exact(net, inputs)


@pytest.mark.usefixtures("no_fall_back")
def test_tied_embedding_and_head_are_summed_before_squaring():
    assert_exact(TiedLanguageModel().double(), tokens())


class Positions(nn.Module):
    """A table read once for all examples, as BERT, GPT-2 and others do."""

    def __init__(self, style):
        super().__init__()
        self.tokens, self.places = nn.Embedding(CLASSES, 5), nn.Embedding(6, 5)
        self.head = nn.Linear(5, CLASSES)
        self.style = style

    def forward(self, tokens):
        hidden, where = self.tokens(tokens), torch.arange(1, tokens.shape[1] + 1)
        places = self.places(where if self.style == "no batch" else where.unsqueeze(0))
        if self.style == "in place":
            hidden += places
        elif self.style == "scaled":
            hidden = torch.add(hidden, places, alpha=2)
        elif self.style == "used again":
            hidden = (hidden + places) * places
        else:
            hidden = places + hidden
        return self.head(torch.tanh(hidden).mean(1))


@pytest.mark.usefixtures("no_fall_back")
@pytest.mark.parametrize("n_positions", [1, 2, 4])
@pytest.mark.parametrize("style", ["batch of one", "no batch", "in place"])
def test_position_embeddings(style, n_positions):
    assert_exact(Positions(style).double(), tokens(n_positions))


@pytest.mark.parametrize("style", ["scaled", "used again"])
def test_position_embeddings_beyond_the_rule_fall_back(style):
    """It would be wrong for them, and is found out."""
    net, inputs = Positions(style).double(), tokens()
    assert_exact(net, inputs)
    result = estimate(net, [(inputs, torch.tensor([0, 1, 2]))], objective="gradient")
    assert result.methods["places.weight"] == "one example at a time"


class Attention(nn.Module):
    """One head, whose softmax does not change with the bias of its keys."""

    def __init__(self, *, bias_used_again=False):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4) for _ in range(3))
        self.head = nn.Linear(4, CLASSES)
        self.bias_used_again = bias_used_again

    def forward(self, x):
        q, k, v = (layer(x)[:, None] for layer in (self.q, self.k, self.v))
        hidden = functional.scaled_dot_product_attention(q, k, v)[:, 0]
        if self.bias_used_again:
            hidden = hidden + 1e-3 * self.k.bias
        return self.head(hidden.mean(1))


@pytest.mark.usefixtures("no_fall_back")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_that_is_nothing_but_rounding_needs_no_fall_back(dtype):
    torch.manual_seed(0)
    net, inputs, targets = Attention().to(dtype), torch.randn(6, 50, 4), torch.arange(6) % CLASSES
    result = estimate(net, [(inputs.to(dtype), targets)], objective="fisher")
    others = [float(result[name][0].mean()) for name in ("q.bias", "v.bias")]
    assert float(result["k.bias"][0].max()) < 1e-9 * min(others)


@pytest.mark.parametrize("bytes_together", [0, 100, 2**25])
def test_a_small_use_beside_a_gradient_of_rounding_is_seen(monkeypatch, bytes_together):
    """However many parameters' gradients are compared at one time."""
    monkeypatch.setattr(engine, "_TOGETHER", bytes_together)
    torch.manual_seed(0)
    net, inputs = Attention(bias_used_again=True), torch.randn(6, 50, 4)
    targets = torch.arange(6) % CLASSES
    result = estimate(net, [(inputs, targets)], objective="gradient")
    methods = dict(result.methods)
    assert methods.pop("k.bias") == "one example at a time"
    assert set(methods.values()) == {"rules"} and len(methods) == 7


@pytest.mark.parametrize("seeds_at_once", [1, 2, 100])
@pytest.mark.usefixtures("no_fall_back")
def test_blocks_of_seeds_and_examples_change_nothing(monkeypatch, seeds_at_once):
    """Down to one of each at a time."""
    from wkmeans.importance.first import contributions, engine

    net = Pooled(nn.Linear(3, 5), 5).double()
    inputs, targets = images(4, 3), torch.tensor([0, 1, 2])
    expected = estimate(net, [(inputs, targets)], objective="fisher")
    monkeypatch.setattr(engine, "DELTA_BYTES", seeds_at_once * 3 * 8 * (4 * 5 + CLASSES))
    monkeypatch.setattr(contributions, "_BYTES_AT_ONCE", 8 * 15)
    result = estimate(net, [(inputs, targets)], objective="fisher")
    for name in expected:
        assert_close(result[name][0], expected[name][0], rtol=1e-12)


def test_half_precision_is_squared_in_single():
    net = Pooled(nn.Linear(3, 5), 5).bfloat16()
    inputs, targets = images(4, 3).bfloat16(), torch.tensor([0, 1, 2])
    result = estimate(net, [(inputs, targets)], objective="gradient")
    expected = brute_force(net.double(), inputs.double(), targets, "gradient")
    for name, (importance, _) in expected.items():
        assert_close(result[name][0], importance, rtol=0.05)


def test_gradients_beyond_single_precision_squared_survive():
    """A confident network: squares of its gradients lie below the smallest float32."""
    net = nn.Linear(3, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[30.0, 0, 0], [-30.0, 0, 0]]))
        net.bias.zero_()
    inputs = torch.tensor([[1.0, 0.5, 0.25]])
    result = estimate(net, [(inputs, torch.tensor([0]))], objective="gradient")
    p = torch.sigmoid(torch.tensor(-60.0, dtype=torch.float64))
    assert 0 < float(p**2) < 1e-45
    assert_close(result["bias"][0], (p**2).expand(2), rtol=1e-5)
    assert_close(result["weight"][0], (p**2 * inputs.double() ** 2).expand(2, 3), rtol=1e-5)


class Scale(nn.Module):
    """A user's layer that no rule sees through."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))

    def forward(self, x):
        return torch.einsum("ntc,c->ntc", x, self.weight)


@pytest.fixture
def scale_rule():
    from wkmeans.importance.first import tape

    calls = []

    @register_rule(Scale)
    def scale_gradients(module, inputs, delta):
        calls.append(module)
        return {"weight": (delta * inputs[0]).sum(1) * factor[0]}

    factor = [1.0]
    yield calls, factor
    del tape._MODULE_RULES[Scale]


def test_a_users_rule_is_used_and_leaves_no_hook(scale_rule, monkeypatch):
    calls, _ = scale_rule
    monkeypatch.setattr("wkmeans.importance.first.engine.engine_for", None)
    net = Pooled(Scale(), 3).double()
    assert_exact(net, images(4, 3))
    assert calls and not any(module._forward_hooks for module in net.modules())


def test_a_wrong_rule_is_found_out_and_not_used(scale_rule):
    _, factor = scale_rule
    factor[0] = 2.0
    assert_exact(Pooled(Scale(), 3).double(), images(4, 3))


def test_rules_are_for_modules():
    with pytest.raises(TypeError, match=r"subclasses of torch.nn.Module, got <class 'int'>"):
        register_rule(int)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Linear(3, 3)),
        nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Hardtanh(inplace=True)).eval(),
    ],
)
def test_outputs_that_are_overwritten(layer):
    assert_exact(Pooled(layer, 3).double().eval(), images(4, 3))


@pytest.mark.parametrize("objective", ["fisher", "gradient+hessian"])
def test_an_embedding_with_sparse_gradients_is_as_any(objective):
    def table(sparse):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Embedding(40, 6, sparse=sparse), nn.Flatten(), nn.Linear(18, 5)
        ).eval()

    ids = torch.randint(0, 40, (30, 3), generator=torch.Generator().manual_seed(1))
    batches = [(ids, ids[:, 0] % 5)]
    dense, sparse = (
        estimate(table(sparse), batches, objective=objective) for sparse in (False, True)
    )
    for name, pair in dense.items():
        for one, other in zip(pair, sparse[name], strict=True):
            if one is not None:
                torch.testing.assert_close(torch.as_tensor(other), torch.as_tensor(one))
