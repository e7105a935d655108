"""Second derivatives: certificates, exact and random paths, and what they say of themselves."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import (  # noqa: E402
    CLASSES,
    Attention,
    RawParameters,
    Recurrent,
    assert_close,
    brute_force,
    examples,
    mlp,
    tanh_mlp,
    z_scores,
)
from torch import nn  # noqa: E402

from wkmeans.importance import estimate  # noqa: E402
from wkmeans.importance.second import curvature, neurons  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*mean Hessian are negative")


class Sequence(nn.Module):
    """Smooth, with positions and no attention, so that only its own layers are curved."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        hidden = nn.functional.gelu(self.mix(x.reshape(len(x), 2, 3)))
        return self.head(self.norm(hidden).flatten(1))


def runs_of(net, batch, n, **options):
    """Independent estimates; each repeats its examples, and so averages many probes."""
    inputs, targets = batch
    many = inputs.repeat(8, 1), None if targets is None else targets.repeat(8)
    return [estimate(net, [many], seed=seed, **options) for seed in range(n)]


@pytest.mark.parametrize("build", [tanh_mlp, Sequence, Attention])
@pytest.mark.parametrize("objective", ["hessian", "gradient+hessian"])
def test_second_derivatives_in_a_layers_outputs(monkeypatch, build, objective):
    """Every linear layer goes that way, whatever it costs, and agrees with one weight at a time."""
    exact, seen = neurons.exact, []

    def spy(recording, use, *rest):
        seen.extend(slot.name for slot in use.slots.values())
        exact(recording, use, *rest)

    monkeypatch.setattr(neurons, "exact", spy)
    net, (inputs, targets) = build().double(), examples()
    result = estimate(net, [(inputs, targets)], objective=objective, curvature="exact")
    assert seen
    expected = brute_force(net, inputs, targets, objective)
    for name, (importance, quartic) in expected.items():
        assert_close(result[name][0], importance.clamp(min=0))
        if objective == "gradient+hessian":
            assert_close(result[name][1], quartic)


@pytest.mark.parametrize("build", [tanh_mlp, Sequence, RawParameters])
@pytest.mark.parametrize("objective", ["hessian", "gradient+hessian"])
def test_hutchinson_is_unbiased(build, objective):
    net, batch = build().double(), examples(3)
    options = {"objective": objective, "curvature": "hutchinson", "probes": 2}
    runs = runs_of(net, batch, 20, **options)
    expected = brute_force(net, *batch, objective)
    for name, (importance, quartic) in expected.items():
        if objective == "hessian":
            estimates = [run.sums[name] / 24 for run in runs]
            assert float(z_scores(estimates, importance).max()) < 7
        else:
            estimates = [run.quartic_sums[name] / 24 for run in runs]
            assert float(z_scores(estimates, quartic).max()) < 7


@pytest.mark.parametrize("objective", ["fisher", "hessian", "gradient+hessian"])
def test_rademacher_probes_are_unbiased(objective):
    net, batch = mlp().double(), examples(3)
    runs = runs_of(net, batch, 20, objective=objective, probes=2)
    expected = brute_force(net, *batch, objective)
    for name, (importance, quartic) in expected.items():
        squared = objective == "gradient+hessian"
        truth = quartic if squared else importance
        sums = [(run.quartic_sums if squared else run.sums)[name] / 24 for run in runs]
        assert float(z_scores(sums, truth).max()) < 7


def test_probes_of_a_regressor_are_unbiased():
    net, (inputs, _) = mlp().double(), examples(3)
    exact = estimate(net, [(inputs, None)], objective="fisher", loss="mse")
    runs = runs_of(net, (inputs, None), 20, objective="fisher", loss="mse", probes=2)
    for name in exact:
        sums = [run.sums[name] / 24 for run in runs]
        assert float(z_scores(sums, exact[name][0]).max()) < 7


def test_probes_repeat_themselves_and_leave_the_random_state():
    net, batch = mlp().double(), examples()
    state = torch.get_rng_state()
    first = estimate(net, [batch], objective="fisher", probes=3)
    second = estimate(net, [batch], objective="fisher", probes=3)
    assert torch.equal(torch.get_rng_state(), state)
    for name in first:
        assert torch.equal(first[name][0], second[name][0])


def test_one_probe_does_far_better_than_sampled_labels_on_a_confident_network():
    """The design's reason for them: the relative variance is at most 2 whatever p is."""
    net, (inputs, _) = nn.Linear(6, CLASSES, bias=False).double(), examples(1)
    with torch.no_grad():
        net.weight.mul_(30)
    exact = estimate(net, [(inputs, None)], objective="fisher")["weight"][0]
    runs = runs_of(net, (inputs, None), 40, objective="fisher", probes=1)
    variance = 8 * torch.stack([run["weight"][0] for run in runs]).var(0) / exact**2
    assert float(variance[exact > 0].max()) < 4


def test_methods_say_how_each_parameter_was_found():
    batch = examples()
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, CLASSES)).double()
    result = estimate(net, [batch], objective="hessian")
    assert result.methods["2.weight"] == "gauss-newton, certified"
    assert result.methods["0.weight"] == "second derivatives"
    result = estimate(net, [batch], objective="hessian", curvature="hutchinson")
    assert result.methods["0.weight"] == "hutchinson"
    result = estimate(net, [batch], objective="hessian", curvature="gauss-newton")
    assert set(result.methods.values()) == {"gauss-newton"}
    fisher = estimate(net, [batch], objective="fisher")
    for name in result:
        assert_close(result[name][0], fisher[name][0])


def test_what_would_take_too_long_is_said_not_done(monkeypatch):
    """Propagation does not cover a state's parameters, and other estimates take too long too."""
    monkeypatch.setattr(curvature, "MOST_WORK", 3 * 48)
    net = Recurrent().double()
    with pytest.warns(UserWarning, match=r"stands in for the Hessian's of 2 of 6.*'lstm"):
        result = estimate(net, [examples()], objective="hessian")
    assert result.methods["lstm.weight_hh_l0"] == "gauss-newton"
    assert result.methods["head.bias"] == "gauss-newton, certified"


@pytest.mark.parametrize("objective", ["fisher", "hessian", "gradient+hessian"])
@pytest.mark.parametrize(("length", "n_classes", "loss"), [
    (3, 342, "cross_entropy"), (3, 343, "cross_entropy"), (2, 513, "mse"),
])  # fmt: skip
def test_probes_stand_for_more_seeds_than_can_be_waited_for(objective, length, n_classes, loss):
    net = nn.Linear(6, n_classes).double()
    exact = length * (n_classes - 1) <= 1024 and loss != "mse"
    torch.manual_seed(3)
    inputs = torch.randn(2, length, 6).double()
    targets = torch.randint(0, n_classes, (2, length))
    if loss == "mse":
        targets = torch.randn(2, length, n_classes).double()
    result = estimate(net, [(inputs, targets)], objective=objective, loss=loss)
    which = 1 if objective == "gradient+hessian" else 0
    error = result.standard_error("weight")[which]
    assert ("probes" in result.methods["weight"]) == (not exact)
    assert (error is None) == exact
    if not exact:
        assert bool((error > 0).any()) and error.shape == (n_classes, 6)
        again = estimate(net, [(inputs, targets)], objective=objective, loss=loss)
        assert torch.equal(again["weight"][which], result["weight"][which])


def test_the_probes_taken_for_long_sequences_have_the_right_mean():
    torch.manual_seed(3)
    net, inputs = nn.Linear(3, 40).double(), torch.randn(2, 30, 3).double()
    runs = [estimate(net, [inputs], objective="fisher", seed=seed) for seed in range(60)]
    p = net(inputs).softmax(-1)
    truth = torch.zeros(40, 3, dtype=torch.float64)
    for n in range(2):  # of the mean over positions, sum_t x_t x_t' (diag p_t - p_t p_t') / 30
        for t in range(30):
            truth += (inputs[n, t] ** 2) * (p[n, t] * (1 - p[n, t])).unsqueeze(1).detach() / 60
    scores = z_scores([run["weight"][0] for run in runs], truth)
    assert float(scores.max()) < 5
    assert "probes" in runs[0].methods["weight"]


def test_one_long_batch_among_short_ones_makes_the_run_random(tmp_path):
    torch.manual_seed(3)
    net = nn.Linear(3, 40).double()
    short, long = torch.randn(2, 4, 3).double(), torch.randn(2, 30, 3).double()
    for batches in ([short, long], [long, short]):
        for objective in ("fisher", "gradient+hessian"):
            labelled = [(x, torch.zeros(x.shape[:2]).long()) for x in batches]
            result = estimate(net, labelled, objective=objective)
            assert "probes" in result.methods["weight"]
            assert result.standard_error("weight")[objective != "fisher"] is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": 0, "objective": "fisher"}, "probes: expected at least 1"),
        ({"probes": 1, "objective": "gradient+hessian"}, "probes: expected at least 2"),
        (
            {"curvature": "kfac"},
            "auto, gauss-newton, exact, propagation, hutchinson",
        ),
        ({"per": "word"}, 'per: expected "example" or "token"'),
        ({"per": "token", "loss": "mse"}, 'loss: expected "cross_entropy" with per=.token.'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        estimate(mlp(), [], **options)
