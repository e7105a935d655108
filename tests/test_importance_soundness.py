"""Derivatives that are no numbers stop a run where they come from, and never reach a file."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")
pytest.importorskip("safetensors", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import CLASSES, examples, mlp  # noqa: E402
from torch import nn  # noqa: E402

from wkmeans.importance import Importances, estimate  # noqa: E402


class Root(nn.Module):
    """Finite outputs and gradients; the square root has no second derivative at 0."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 5)
        self.b = nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)).sqrt())


class Steep(nn.Module):
    """Where an input is 1 the gradient is infinite and the output is not."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, CLASSES)

    def forward(self, x):
        offset = torch.zeros_like(x[:, 0]).sub(1) + x[:, 0]
        return self.a(x) + (offset.unsqueeze(1) * self.a.bias).abs().sqrt()


@pytest.mark.filterwarnings("ignore:.*mean Hessian are negative")
@pytest.mark.parametrize(
    ("objective", "quantity"),
    [
        ("gradient+hessian", r"squared second derivative \(the quartic importance\)"),
        ("hessian", "second derivative"),
    ],
)
def test_the_first_batch_without_second_derivatives_is_named(objective, quantity):
    torch.manual_seed(0)
    net = Root().double()
    x, y = examples(3)
    with torch.no_grad():
        net.a.bias.fill_(10.0)
    good, bad = (x, y), (100 * x, y)  # all units live, and some dead
    estimate(net, [good], objective=objective)
    with pytest.raises(ValueError, match=rf"nan in batch 1 as the {quantity} of 'a\.weight'"):
        estimate(net, [good, bad, bad], objective=objective)
    estimate(net, [good, bad], objective="gradient")


@pytest.mark.parametrize("objective", ["gradient", "fisher"])
def test_gradients_that_overflow_name_the_batch(objective):
    net = Steep().double()
    x, y = examples(2)
    there = x.clone()
    there[1, 0] = 1.0
    name = {"gradient": "squared gradient", "fisher": "Fisher information"}[objective]
    with pytest.raises(ValueError, match=rf"in batch 2 as the {name} of 'a.bias'"):
        estimate(net, [(x, y), (x, y), (there, y)], objective=objective)


def test_an_infinite_target_is_found():
    net = nn.Linear(3, 2).double()
    x, y = torch.randn(4, 3).double(), torch.randn(4, 2).double()
    y[2, 1] = torch.inf
    with pytest.raises(ValueError, match="in batch 0 as the squared gradient of 'weight'"):
        estimate(net, [(x, y)], objective="gradient", loss="mse")


def test_a_target_that_is_no_number_is_not_taken_for_a_hidden_one():
    net = nn.Linear(3, 2).double()
    x, y = torch.randn(4, 3).double(), torch.randn(4, 2).double()
    y[2, 1] = torch.nan
    with pytest.raises(ValueError, match=r"targets.*nan.*\(2, 1\)"):
        estimate(net, [(x, y)], objective="gradient", loss="mse")


def test_the_outputs_message_names_the_batch():
    net = nn.Linear(6, CLASSES)
    x, y = examples(3, torch.float32)
    bad = x.clone()
    bad[1, 0] = torch.inf
    with pytest.raises(ValueError, match="for example 4, in batch 1"):
        estimate(net, [(x, y), (bad, y)], objective="fisher")


def test_a_checkpoint_keeps_what_was_sound(tmp_path):
    net = Steep().double()
    x, y = examples(2)
    there = x.clone()
    there[1, 0] = 1.0
    path, batches = tmp_path / "checkpoint", [(x, y), (there, y)]
    with pytest.raises(ValueError, match="batch 1"):
        estimate(net, batches, objective="fisher", checkpoint=path, checkpoint_every=1)
    assert Importances.load(path).count == 2


# --- files -----------------------------------------------------------------------------------


def unsound():
    good = estimate(mlp(), [examples(3, torch.float32)], objective="gradient+hessian")
    name = next(iter(good))

    def spoiled(field, value):
        totals = dict(getattr(good, field))
        totals[name] = totals[name].clone()
        totals[name].view(-1)[0] = value
        return replace(good, **{field: totals})

    yield spoiled("sums", torch.nan)
    yield spoiled("sums", -1.0)
    yield spoiled("quartic_sums", torch.inf)
    yield replace(good, count=0)
    yield replace(good, mu=float("nan"))
    yield replace(good, sums={k: v.float() for k, v in good.sums.items()})


@pytest.mark.parametrize("which", range(6))
def test_nothing_is_saved_that_cannot_be_loaded(tmp_path, which):
    path = tmp_path / "importances.safetensors"
    with pytest.raises(ValueError, match="importances to save"):
        list(unsound())[which].save(path)
    assert not list(tmp_path.iterdir())


def test_saving_follows_links(tmp_path):
    good = estimate(mlp(), [examples(3, torch.float32)], objective="fisher")
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    good.save(link)
    assert link.is_symlink() and Importances.load(target).count == 3


@pytest.mark.parametrize("probes", [None, 4])
@pytest.mark.parametrize("objective", ["fisher", "gradient", "hessian", "gradient+hessian"])
def test_parameters_of_a_layer_that_nothing_runs_count_nothing(objective, probes):
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(6, CLASSES), nn.Linear(6, 6)

        def forward(self, x):
            return self.used(x)

    names = ["unused.weight", "unused.bias"]
    batches = [examples(9, torch.float32)]
    found = estimate(Unused(), batches, objective=objective, probes=probes, parameters=names)
    assert list(found) == names
    assert not any(bool(one.any()) for pair in found.values() for one in pair if one is not None)
