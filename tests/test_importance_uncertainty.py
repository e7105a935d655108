"""Standard errors of what random probes leave uncertain: right, kept, merged, and said."""

from __future__ import annotations

from itertools import permutations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")
pytest.importorskip("safetensors", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import (  # noqa: E402
    CLASSES,
    Tied,
    assert_close,
    brute_force,
    examples,
    mlp,
    tanh_mlp,
)
from torch import nn  # noqa: E402

from wkmeans.importance import Importances, estimate  # noqa: E402
from wkmeans.importance.run.state import merged_methods  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*mean Hessian are negative"),
    pytest.mark.filterwarnings("ignore:.*stands in for the Hessian"),
]


class Mixing(nn.Module):
    """Piecewise linear, with positions, a table and a layer that no rule covers."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(CLASSES, 3)
        self.mix = nn.Linear(3, 3)
        self.pair = nn.Bilinear(3, 2, CLASSES)

    def forward(self, x):
        rows = self.table((3 * x[:, :4]).long() % CLASSES)
        return self.pair(torch.relu(self.mix(rows)).mean(1), x[:, 4:])


CASES = {
    "fisher": (mlp, {"objective": "fisher"}, "rules, probes"),
    "fisher, all rules": (Mixing, {"objective": "fisher"}, "rules, probes"),
    "fisher, one by one": (Mixing, {"objective": "fisher"}, "one example at a time, probes"),
    "gauss-newton": (mlp, {"objective": "hessian"}, "gauss-newton, certified, probes"),
    "propagation": (
        tanh_mlp,
        {"objective": "hessian", "curvature": "propagation"},
        "curvature propagation",
    ),
    "hutchinson": (tanh_mlp, {"objective": "hessian", "curvature": "hutchinson"}, "hutchinson"),
    "hutchinson, by weight": (
        Tied,
        {"objective": "hessian", "curvature": "hutchinson"},
        "hutchinson",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_standard_errors_are_the_spread_over_seeds(case):
    """Errors in their units have a mean square of one."""
    build, options, method = CASES[case]
    net, (inputs, targets) = build().double(), examples(3)
    many = inputs.repeat(16, 1), targets.repeat(16)
    truth = brute_force(net, inputs, targets, options["objective"])
    runs = [estimate(net, [many], probes=3, seed=seed, **options) for seed in range(6)]
    names = [name for name, own in runs[0].methods.items() if own == method]
    assert names
    squares = []
    for name in names:
        for run in runs:
            error = run.standard_error(name)[0]
            gap = run.sums[name] / run.count - truth[name][0]
            scale = float(truth[name][0].abs().max())
            sure = error < 1e-9 * scale
            assert bool((gap[sure].abs() < 1e-8 * scale).all())
            squares.append((gap / error)[~sure].square())
    assert 0.7 < float(torch.cat([one.flatten() for one in squares]).mean().sqrt()) < 1.4


@pytest.mark.parametrize(
    ("build", "curvature"),
    [(mlp, "auto"), (Mixing, "auto"), (tanh_mlp, "propagation"), (tanh_mlp, "hutchinson")],
)
@pytest.mark.parametrize(("probes", "most"), [(2, 1.3), (8, 1.3)])
def test_standard_errors_of_squares_are_no_smaller_than_the_spread(build, curvature, probes, most):
    net, (inputs, targets) = build().double(), examples(3)
    many = inputs.repeat(16, 1), targets.repeat(16)
    truth = brute_force(net, inputs, targets, "gradient+hessian")
    squares = []
    for seed in range(6):
        run = estimate(net, [many], probes=probes, curvature=curvature, seed=seed)
        for name in run:
            error = run.standard_error(name)[1]
            assert run.standard_error(name)[0] is None  # the gradient's square is exact
            if error is not None:
                gap = run.quartic_sums[name] / run.count - truth[name][1]
                squares.append((gap / error)[error > 0].square())
    rms = float(torch.cat([one.flatten() for one in squares]).mean().sqrt())
    assert 0.2 < rms < most


def test_what_is_exact_or_rests_on_one_probe_has_none():
    net, batch = tanh_mlp().double(), examples()
    assert estimate(net, [batch], objective="gradient").variance_sums == {}
    single = estimate(net, [batch], objective="fisher", probes=1)
    assert single.methods["0.weight"] == "rules, probes"
    assert single.standard_error("0.weight") == (None, None)
    mixed = estimate(net, [batch], objective="hessian", curvature="propagation")
    assert set(mixed.variance_sums) == {"0.weight", "0.bias"}


def test_they_survive_a_file_and_are_refused_where_unsound(tmp_path):
    net, batch, path = tanh_mlp().double(), examples(), tmp_path / "importances"
    saved = estimate(net, [batch], curvature="propagation")
    saved.save(path)
    loaded = Importances.load(path)
    assert set(loaded.quartic_variance_sums) == {"0.weight", "0.bias"}
    for name, total in saved.quartic_variance_sums.items():
        assert torch.equal(loaded.quartic_variance_sums[name], total)
    saved.quartic_variance_sums["0.bias"][1] = -1.0
    with pytest.raises(ValueError, match=r"quartic_variance:0\.bias.*-1\.0 at index \(1,\)"):
        saved.save(path)
    saved.quartic_variance_sums["0.bias"] = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"'0\.bias': expected importances of one shape"):
        saved.save(path)
    saved.quartic_variance_sums["nothing"] = saved.quartic_variance_sums.pop("0.bias")
    with pytest.raises(ValueError, match="'nothing' has a variance and no sum"):
        saved.save(path)


def test_variances_of_merged_runs_add():
    net, (inputs, targets) = tanh_mlp().double(), examples(6)
    halves = [(inputs[:3], targets[:3]), (inputs[3:], targets[3:])]
    options = {"objective": "hessian", "curvature": "propagation"}
    runs = [estimate(net, [half], seed=k, **options) for k, half in enumerate(halves)]
    merged = runs[0] + runs[1]
    for name in ("0.weight", "0.bias"):
        expected = runs[0].variance_sums[name] + runs[1].variance_sums[name]
        assert torch.equal(merged.variance_sums[name], expected)
        assert_close(merged.standard_error(name)[0], expected.sqrt() / 6)
    exact = estimate(net, [halves[0]], objective="hessian", curvature="exact")
    mixed = exact + runs[1]
    assert torch.equal(mixed.variance_sums["0.bias"], runs[1].variance_sums["0.bias"])
    single = estimate(net, [halves[0]], probes=1, **options)
    assert "0.bias" not in (single + runs[1]).variance_sums  # unknown in one half


def test_merged_runs_are_as_sure_as_the_least_sure_of_them():
    net, batch = mlp().double(), examples(3)
    runs = [estimate(net, [batch], objective="fisher", probes=probes) for probes in (None, 1, 2)]
    for first, second, third in permutations(runs):
        merged = first + second + third
        assert merged.methods == runs[1].methods
        assert merged.variance_sums == {}  # one probe leaves it unknown, wherever it stands
    assert (runs[2] + runs[0]).methods == (runs[0] + runs[2]).methods == runs[2].methods


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        ("rules, probes", "one example at a time", "one example at a time, probes"),
        ("gauss-newton, certified, probes", "curvature propagation", "curvature propagation"),
        ("second derivatives", "gauss-newton", "gauss-newton"),
        ("second derivatives", "hutchinson", "hutchinson"),
    ],
)
def test_the_least_sure_method_is_the_merged_ones(one, other, merged):
    for methods in permutations([{"w": one}, {"w": other}]):
        assert merged_methods(methods) == {"w": merged}


def test_negative_estimates_of_squares_count_as_zero():
    run = estimate(Tied().double(), [examples(2)], curvature="hutchinson", probes=2)
    assert any(bool((total < 0).any()) for total in run.quartic_sums.values())
    assert all(bool((quartic >= 0).all()) for _, quartic in run.values())
    assert sum(run.clamped.values()) == sum(int((t < 0).sum()) for t in run.quartic_sums.values())


@pytest.mark.parametrize("per", ["example", "token"])
def test_probes_are_said_wherever_seeds_are_random(per):
    net = nn.Linear(3, CLASSES).double()
    batch = torch.randn(2, 2, 3, dtype=torch.float64), torch.randint(0, CLASSES, (2, 2))
    gradient = estimate(net, [batch], objective="gradient", per=per, probes=3)
    random = per == "token"  # the signs under which tokens' gradients are summed
    assert gradient.methods["weight"] == ("rules, probes" if random else "rules")
    assert (gradient.standard_error("weight")[0] is None) != random
    for objective, method in (("fisher", "rules"), ("hessian", "gauss-newton, certified")):
        exact = estimate(net, [batch], objective=objective, per=per)
        assert exact.methods["weight"] == method
        probed = estimate(net, [batch], objective=objective, per=per, probes=3)
        assert probed.methods["weight"] == f"{method}, probes"
        assert probed.standard_error("weight")[0] is not None
