"""Importances against a loop over examples, and what they leave behind on the model."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import (  # noqa: E402
    CLASSES,
    MODELS,
    Tied,
    assert_close,
    brute_force,
    examples,
    mlp,
    tanh_mlp,
)
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from wkmeans.importance import OBJECTIVES, estimate  # noqa: E402


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]().double()


@pytest.mark.filterwarnings("ignore:.*mean Hessian are negative")
@pytest.mark.parametrize("objective", OBJECTIVES[1:])
def test_agrees_with_brute_force(model, objective, temperature=3.0):
    inputs, targets = examples(4)
    batches = [(inputs[:3], targets[:3]), (inputs[3:], targets[3:])]
    result = estimate(model, batches, objective=objective, temperature=temperature)
    expected = brute_force(model, inputs, targets, objective, temperature)
    assert list(result) == list(expected)
    assert result.count == len(inputs)
    for name, (importance, quartic) in expected.items():
        assert_close(result[name][0], importance.clamp(min=0))
        if objective == "gradient+hessian":
            assert_close(result[name][1], quartic)
        else:
            assert result[name][1] is None


@pytest.mark.filterwarnings("ignore:.*mean Hessian are negative")
@pytest.mark.parametrize("objective", OBJECTIVES[1:])
def test_float32_model_agrees_to_single_precision(model, objective):
    inputs, targets = examples(2)
    inputs = inputs.float().double()
    for parameter in model.parameters():
        parameter.data.copy_(parameter.data.float())
    for buffer in model.buffers():
        buffer.data.copy_(buffer.data.float())
    expected = brute_force(model, inputs, targets, objective)
    result = estimate(model.float(), [(inputs.float(), targets)], objective=objective)
    for name, (importance, quartic) in expected.items():
        assert result[name][0].dtype == torch.float64
        assert_close(result[name][0], importance.clamp(min=0), rtol=1e-5)
        if objective == "gradient+hessian":
            assert_close(result[name][1], quartic, rtol=1e-5)


def test_baseline_is_one_and_needs_no_example():
    result = estimate(mlp(), [], objective="baseline")
    assert all(bool((importance == 1).all()) for importance, _ in result.values())


def test_default_objective_is_gradient_plus_hessian():
    result = estimate(mlp().double(), [examples()])
    assert result.objective == "gradient+hessian"
    assert all(quartic is not None for _, quartic in result.values())


def test_piecewise_linear_networks_have_fisher_equal_to_hessian():
    """The design's identity, and a check that the two paths are the same mathematics."""
    net, batch = mlp().double(), examples()
    fisher = estimate(net, [batch], objective="fisher", temperature=2.0)
    hessian = estimate(net, [batch], objective="hessian", temperature=2.0)
    for name in fisher:
        assert_close(hessian[name][0], fisher[name][0])


def test_squares_are_averaged_not_the_average_squared():
    net = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        net.weight.fill_(1)
    inputs = torch.tensor([[1.0], [1.0]], dtype=torch.float64)
    targets = torch.tensor([[0.0], [2.0]], dtype=torch.float64)  # gradients 2 and -2: they cancel
    result = estimate(net, [(inputs, targets)], objective="gradient", loss="mse")
    assert result["weight"][0].item() == 4


def test_fisher_of_a_regressor_is_the_squared_jacobian():
    net = tanh_mlp().double()
    inputs, _ = examples()
    result = estimate(net, [(inputs, None)], objective="fisher", loss="mse")
    for name, p in net.named_parameters():
        expected = torch.zeros_like(p)
        for x in inputs:
            for output in net(x[None])[0]:
                expected += torch.autograd.grad(output, p, retain_graph=True)[0] ** 2
        assert_close(result[name][0], expected / len(inputs))


def test_fisher_survives_probabilities_that_underflow():
    net = nn.Linear(6, CLASSES).double()
    with torch.no_grad():
        net.weight.mul_(1e4)
    inputs, _ = examples()
    result = estimate(net, [(inputs, None)], objective="fisher")
    assert all(bool(importance.isfinite().all()) for importance, _ in result.values())


@pytest.mark.parametrize("objective", ["gradient", "gradient+hessian"])
def test_loss_function_equals_the_named_loss(objective):
    """The general path: autograd for the seeds, an eigenbasis for the curvature."""
    net, (inputs, targets) = mlp().double(), examples()

    def loss(output, target):
        return functional.cross_entropy(output, target, reduction="none")

    batch = (inputs, targets)
    named = estimate(net, [batch], objective=objective, temperature=2.0)
    given = estimate(net, [batch], objective=objective, loss=loss, temperature=2.0)
    assert "loss" in given.loss
    for name in named:
        for mine, theirs in zip(named[name], given[name], strict=True):
            if mine is not None:
                assert_close(theirs, mine)


def test_hessian_of_squared_error():
    net, (inputs, _) = mlp().double(), examples()
    targets = torch.randn(len(inputs), CLASSES, dtype=torch.float64)
    hessian = estimate(net, [(inputs, targets)], objective="hessian", loss="mse")
    fisher = estimate(net, [(inputs, targets)], objective="fisher", loss="mse")
    for name in hessian:
        assert_close(hessian[name][0], fisher[name][0] * 2 / CLASSES)


def test_mu_is_added_after_negative_curvature_is_clamped():
    net, batch = tanh_mlp().double(), examples(3)
    with pytest.warns(UserWarning, match="negative"):
        result = estimate(net, [batch], objective="hessian", mu=0.25)
    assert sum(result.clamped.values()) > 0
    for name, (importance, _) in result.items():
        assert_close(importance, (result.sums[name] / 3).clamp(min=0) + 0.25)
        assert result.clamped[name] == int((result.sums[name] < 0).sum())


@pytest.mark.parametrize("objective", ["gradient", "fisher", "gradient+hessian"])
@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_chunk_size_changes_only_rounding(objective, chunk_size):
    net, batch = mlp().double(), examples(7)
    whole = estimate(net, [batch], objective=objective)
    chunked = estimate(net, [batch], objective=objective, chunk_size=chunk_size)
    for name in whole:
        for mine, theirs in zip(whole[name], chunked[name], strict=True):
            if mine is not None:
                assert_close(theirs, mine, rtol=1e-12)


def test_tied_weights_are_one_parameter_summed_before_squaring():
    net, (inputs, targets) = Tied().double(), examples()
    result = estimate(net, [(inputs, targets)], objective="gradient")
    assert "embedding.weight" in result
    assert "inner.weight" not in result
    by_alias = estimate(net, [(inputs, targets)], objective="gradient", parameters=["inner.weight"])
    assert list(by_alias) == ["embedding.weight"]
    assert_close(by_alias["embedding.weight"][0], result["embedding.weight"][0])


def test_parameters_are_chosen_by_name_predicate_or_requires_grad():
    net, batch = mlp().double(), examples()
    net[0].bias.requires_grad_(False)
    whole = estimate(net, [batch], objective="gradient")
    assert "0.bias" not in whole
    named = estimate(net, [batch], objective="gradient", parameters=["2.weight", "0.bias"])
    assert list(named) == ["0.bias", "2.weight"]
    assert_close(named["2.weight"][0], whole["2.weight"][0])
    matrices = estimate(net, [batch], objective="gradient", parameters=lambda _, p: p.ndim == 2)
    assert list(matrices) == ["0.weight", "2.weight", "4.weight"]


def test_gradient_mode_of_the_caller_does_not_matter():
    net, batch = mlp().double(), examples()
    expected = estimate(net, [batch])
    with torch.no_grad():
        result = estimate(net, [batch])
    for name in expected:
        assert torch.equal(result[name][0], expected[name][0])


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.filterwarnings("ignore:.*mean Hessian are negative")
def test_nothing_is_left_on_the_model(model, objective):
    before = copy.deepcopy(model.state_dict())
    attributes = {n: set(vars(m)) for n, m in model.named_modules()}
    modes = {n: m.training for n, m in model.named_modules()}
    grad = torch.ones_like(next(model.parameters()))
    next(model.parameters()).grad = grad
    parameters = list(model.parameters())
    random_state = torch.get_rng_state()
    fastpath = torch.backends.mha.get_fastpath_enabled()
    inputs, targets = examples(2)
    kept = inputs.clone()
    torch.set_rng_state(random_state)

    estimate(model, [(inputs, targets)], objective=objective)

    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.backends.mha.get_fastpath_enabled() == fastpath
    assert torch.equal(inputs, kept)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(p.requires_grad for p in parameters)
    assert parameters[0].grad is grad and all(p.grad is None for p in parameters[1:])
    assert bool((grad == 1).all())
    assert {n: m.training for n, m in model.named_modules()} == modes
    assert {n: set(vars(m)) for n, m in model.named_modules()} == attributes
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_without_torch_one_sentence_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import wkmeans.importance"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert "needs PyTorch: pip install 'wkmeans[torch]'" in result.stderr.splitlines()[-1]
