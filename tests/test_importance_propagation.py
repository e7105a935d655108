"""Curvature propagation: local curvature, the certificate of all layers at once, the estimates."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import (  # noqa: E402
    CLASSES,
    MODELS,
    Attention,
    assert_close,
    brute_force,
    examples,
    mlp,
    tanh_mlp,
    z_scores,
)
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from wkmeans.importance import estimate  # noqa: E402
from wkmeans.importance.first.engine import Engine  # noqa: E402
from wkmeans.importance.losses.cross_entropy import CrossEntropy  # noqa: E402
from wkmeans.importance.losses.losses import Probes  # noqa: E402
from wkmeans.importance.model.batches import read_batch  # noqa: E402
from wkmeans.importance.model.calls import Calls  # noqa: E402
from wkmeans.importance.model.functional import (  # noqa: E402
    FunctionalModel,
    differentiable_kernels,
    plain_kernels,
)
from wkmeans.importance.second import curvature, hessian, propagation  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*mean Hessian are negative"),
    pytest.mark.filterwarnings("ignore:.*stands in for the Hessian"),
]


class GatedUnit(nn.Module):
    """SwiGLU: the product of two activations, and a call whose inputs are overwritten."""

    def __init__(self):
        super().__init__()
        self.gate, self.up = nn.Linear(6, 3), nn.Linear(6, 3)
        self.down = nn.Linear(3, CLASSES)

    def forward(self, x):
        hidden = functional.silu(self.gate(x), inplace=True)
        hidden *= self.up(x)
        return self.down(hidden)


class Unseen(torch.autograd.Function):
    """A nonlinearity that no torch function shows."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


class Opaque(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 3), nn.Linear(3, CLASSES)

    def forward(self, x):
        return self.head(Unseen.apply(self.first(x)))


class Unrolled(nn.Module):
    """As many calls as there are positions."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(2, 3), nn.Linear(3, CLASSES)

    def forward(self, x):
        hidden = self.first(x)
        state = hidden[:, 0]
        for position in range(1, x.shape[1]):
            state = torch.tanh(state + hidden[:, position])
        return self.head(state)


class Tokens(nn.Module):
    """A logit for each of two tokens."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, CLASSES)

    def forward(self, x):
        return self.head(self.norm(torch.tanh(self.first(x.reshape(len(x), 2, 3)))))


def certificate_of(net, inputs, targets):
    """That of all layers at once, and that of one after another."""
    loss, batch = CrossEntropy(1.0), read_batch(0, (inputs, targets))
    model = FunctionalModel.of(net, None)
    engine = Engine(model)
    with differentiable_kernels():
        outputs = engine.record(batch.inputs).outputs.detach()
        seed = propagation.mixed_gradient(loss, outputs, batch)
        together = propagation.certify(engine, batch.inputs, seed)
        generator = torch.Generator().manual_seed(0)
        seeds = loss.rough_curvature_seeds(outputs, targets, generator)
        written = curvature._written_out(seeds)
        with plain_kernels():
            apart = hessian.certified(model, batch.inputs, seed, written)
    return together, apart


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (torch.tanh, [(2, 3)]),
        (lambda x: functional.layer_norm(x, (4,)), [(2, 4)]),
        (torch.mul, [(2, 3), (2, 3)]),
        (torch.matmul, [(2, 3), (3, 2)]),
        (functional.scaled_dot_product_attention, [(1, 2, 3)] * 3),
    ],
)
def test_the_curvature_of_a_call_is_its_second_derivative(function, shapes):
    inputs = [torch.randn(s, dtype=torch.float64).requires_grad_() for s in shapes]
    sizes = [t.numel() for t in inputs]
    moving = [2 * t for t in inputs]
    with differentiable_kernels():
        with Calls() as calls:
            output = function(*moving)
        (call,), gradient = calls.made, torch.randn_like(output)

        def loss(flat):
            own = [p.view(s) for p, s in zip(flat.split(sizes), shapes, strict=True)]
            return (function(*own) * gradient).sum()

        whole = torch.cat([t.detach().flatten() for t in moving])
        expected = torch.autograd.functional.hessian(loss, whole)
        local = call.curvature(list(call.inputs), [gradient])
        axes = torch.eye(len(whole), dtype=torch.float64).split(sizes, 1)
        rows = local.product([a.reshape(-1, *s) for a, s in zip(axes, shapes, strict=True)])
    assert_close(torch.cat([row.flatten(1) for row in rows], 1), expected)


def test_a_call_that_is_affine_has_no_curvature():
    weight, x = torch.randn(3, 4), (2 * torch.randn(2, 4).requires_grad_())
    with Calls() as calls:
        output = functional.linear(x, weight)
    assert calls.made[0].curvature([0], [torch.ones_like(output)]) is None


@pytest.mark.parametrize("build", [*MODELS.values(), Attention, GatedUnit, Unrolled])
def test_all_layers_at_once_are_certified_as_one_by_one(build):
    net, (inputs, targets) = build().double(), examples(3)
    inputs = inputs.reshape(3, 3, 2) if build is Unrolled else inputs
    together, apart = certificate_of(net, inputs, targets)
    if together is None:  # nothing that the rules cover
        return
    assert together.flat | together.curved
    assert together.flat <= apart
    # Curvature that couples a tensor to others alone arrives there too: it is not found flat.
    coupled = {"up.weight", "up.bias"} if build is GatedUnit else set()
    assert together.curved & apart == coupled


def test_the_passes_of_the_certificate_do_not_grow_with_the_layers(monkeypatch):
    counts, original = [], torch.autograd.grad

    def counting(*args, **kwargs):
        counts[-1] += 1
        return original(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counting)
    for depth in (1, 5):
        counts.append(0)
        layers = [nn.Linear(6, 6), nn.ReLU()] * depth
        certificate_of_all(nn.Sequential(*layers, nn.Linear(6, CLASSES)).double())
    per_call = 4 * 2  # a layer's and an activation's own, local passes
    assert counts[1] - counts[0] <= 4 * per_call


def certificate_of_all(net):
    loss, batch = CrossEntropy(1.0), read_batch(0, examples(3))
    engine = Engine(FunctionalModel.of(net, None))
    outputs = engine.record(batch.inputs).outputs.detach()
    seed = propagation.mixed_gradient(loss, outputs, batch)
    assert propagation.certify(engine, batch.inputs, seed) is not None


def test_what_no_torch_function_shows_is_found_out():
    net, batch = Opaque().double(), examples(3)
    assert certificate_of(net, *batch)[0] is None
    result = estimate(net, [batch], objective="hessian", curvature="propagation")
    assert result.methods["first.weight"] == "hutchinson"
    assert result.methods["head.weight"].startswith("gauss-newton, certified")


def runs_over_seeds(net, batch, objective, n_runs=10, **options):
    """Estimates of each propagated parameter, and the standard errors that they claim."""
    inputs, targets = batch
    many = inputs.repeat(8, *[1] * (inputs.ndim - 1)), targets.repeat(8, *[1] * (targets.ndim - 1))
    options = {"curvature": "propagation", "probes": 3} | options
    runs = [
        estimate(net, [many], objective=objective, seed=seed, **options) for seed in range(n_runs)
    ]
    which = int(objective == "gradient+hessian")
    propagated = [n for n, m in runs[0].methods.items() if m == "curvature propagation"]
    return {
        name: (
            [(run.quartic_sums if which else run.sums)[name] / run.count for run in runs],
            torch.stack([run.standard_error(name)[which] for run in runs]),
        )
        for name in propagated
    }


@pytest.mark.slow
@pytest.mark.parametrize("build", [tanh_mlp, Attention, GatedUnit])
@pytest.mark.parametrize("objective", ["hessian", "gradient+hessian"])
def test_estimates_are_unbiased(build, objective):
    net, batch = build().double(), examples(2)
    found = runs_over_seeds(net, batch, objective)
    expected = brute_force(net, *batch, objective)
    assert found
    for name, (estimates, _) in found.items():
        truth = expected[name][int(objective == "gradient+hessian")]
        assert float(z_scores(estimates, truth).max()) < 7


def test_estimates_for_a_loss_of_the_users():
    """Whose curvature at the output is not positive: both streams start there."""

    def loss(outputs, targets):
        return torch.sin(outputs).sum(1) * targets

    net, (inputs, _) = tanh_mlp().double(), examples(2)
    targets = torch.tensor([1.0, -0.5], dtype=torch.float64)
    expected = {}
    for name, p in net.named_parameters():
        only = {name: p}

        def of_one(value, name=name):
            return loss(torch.func.functional_call(net, {name: value}, inputs), targets).sum()

        hessian = torch.autograd.functional.hessian(of_one, only[name].detach())
        expected[name] = hessian.reshape(p.numel(), -1).diagonal().reshape(p.shape) / 2
    # probes are not for a function's Gauss-Newton: four of propagation are its default
    found = runs_over_seeds(net, (inputs, targets), "hessian", loss=loss, probes=None)
    assert set(found) == {"0.weight", "0.bias"}
    for name, (estimates, _) in found.items():
        assert float(z_scores(estimates, expected[name]).max()) < 7


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["hessian", "gradient+hessian"])
def test_estimates_token_by_token(objective):
    """A token's loss is that of the sequence with no other target, as an example."""
    net, (inputs, _) = Tokens().double(), examples(1)
    targets = torch.tensor([[1, 3]])
    found = runs_over_seeds(net, (inputs, targets), objective, per="token")
    apart = torch.tensor([[1, -100], [-100, 3]])
    exact = estimate(
        net, [(inputs.repeat(2, 1), apart)], objective=objective, curvature="exact"
    )  # fmt: skip
    assert found
    for name, (estimates, _) in found.items():
        sums = exact.quartic_sums if objective == "gradient+hessian" else exact.sums
        assert float(z_scores(estimates, sums[name] / 2).max()) < 7


def test_calls_that_change_from_batch_to_batch_are_seen_anew():
    net = Unrolled().double()
    batches = [
        (torch.randn(2, length, 2, dtype=torch.float64), torch.tensor([0, 1]))
        for length in (2, 4, 3)
    ]
    together = estimate(net, batches, objective="hessian", curvature="propagation", probes=64)
    exact = estimate(net, batches, objective="hessian", curvature="exact")
    assert together.methods["first.weight"] == "curvature propagation"
    for name in exact:
        error = together.standard_error(name)[0]
        gap = (together.sums[name] - exact.sums[name]).abs() / together.count
        assert float((gap / error.clamp(min=1e-12)).max()) < 7


def test_one_example_first_and_more_after_it():
    """Alone it does not show that the gate belongs to no example."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(6, 3), nn.Linear(3, CLASSES)
            self.gate = nn.Parameter(torch.randn(3))

        def forward(self, x):
            return self.head(torch.tanh(self.first(x)) * torch.exp(self.gate))

    net, (inputs, targets) = Shared().double(), examples(5)
    batches = [(inputs[:1], targets[:1]), (inputs[1:], targets[1:])]
    options = {"objective": "hessian", "probes": 64}
    found = estimate(net, batches, curvature="propagation", **options)
    exact = estimate(net, batches, objective="hessian", curvature="exact")
    assert found.methods["first.weight"] == "curvature propagation"
    error = found.standard_error("first.weight")[0]
    gap = (found.sums["first.weight"] - exact.sums["first.weight"]).abs() / found.count
    assert float((gap / error).max()) < 7


def test_auto_propagates_what_exact_products_would_take_too_long_for(monkeypatch):
    net, batch = tanh_mlp().double(), examples()
    assert estimate(net, [batch], objective="hessian").methods["0.weight"] == "second derivatives"
    monkeypatch.setattr(curvature, "MOST_WORK", 3 * 48)
    result = estimate(net, [batch], objective="hessian")
    assert result.methods["0.weight"] == "curvature propagation"
    assert result.methods["2.weight"] == "gauss-newton, certified"
    assert result.standard_error("0.weight")[0] is not None
    assert result.standard_error("2.weight") == (None, None)


def test_factors_have_the_curvature_as_their_mean():
    """Over all signs, not a sample of them."""
    x = 2 * torch.randn(1, 3, dtype=torch.float64).requires_grad_()
    with Calls() as calls:
        output = functional.layer_norm(x, (3,))
    local = calls.made[0].curvature([0], [torch.randn_like(output)])
    every = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).double().reshape(8, 1, 3)

    class All(Probes):
        def signs(self, shape, like):
            return every if shape[0] == 8 else super().signs(shape, like)

    (both,) = propagation._factors(local, All(8, torch.Generator().manual_seed(0)))
    first, second = both.flatten(1).chunk(2)
    expected = local.product([torch.eye(3, dtype=torch.float64).unsqueeze(1)])[0].flatten(1)
    assert_close(first.T @ second / 8, expected)


def test_a_network_without_curvature_takes_no_estimates():
    result = estimate(mlp().double(), [examples()], objective="hessian", curvature="propagation")
    assert set(result.methods.values()) == {"gauss-newton, certified"}
