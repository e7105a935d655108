"""Agreement with BackPACK, curvlinops and Opacus where they are right, and where they are not.

Each is skipped where it is not installed (the extra "peers").
"""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import CLASSES, assert_close, examples  # noqa: E402
from torch import nn  # noqa: E402

from wkmeans.importance import estimate  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs


def plain():
    return nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, CLASSES)).double()


def convolutional(**options):
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, 3, padding=1, **options), nn.ReLU(),
        nn.Flatten(), nn.Linear(18, CLASSES),
    ).double()  # fmt: skip


def by_backpack(net, batch, extension, read):
    backpack = pytest.importorskip("backpack", reason="needs the extra: wkmeans[peers]")
    own = backpack.extend(copy.deepcopy(net))
    loss = backpack.extend(nn.CrossEntropyLoss(reduction="sum"))  # a mean would scale by 1 / n
    with backpack.backpack(extension(backpack)):
        loss(own(batch[0]), batch[1]).backward()
    return {name: read(p).detach() / len(batch[0]) for name, p in own.named_parameters()}


@pytest.mark.parametrize("build", [plain, convolutional])
@pytest.mark.parametrize(
    ("objective", "extension", "attribute"),
    [
        ("gradient", "SumGradSquared", "sum_grad_squared"),
        ("fisher", "DiagGGNExact", "diag_ggn_exact"),
        ("hessian", "DiagHessian", "diag_h"),
    ],
)
def test_backpack_agrees(build, objective, extension, attribute):
    net, batch = build(), examples()
    theirs = by_backpack(
        net, batch, lambda b: getattr(b.extensions, extension)(), lambda p: getattr(p, attribute)
    )
    mine = estimate(net, [batch], objective=objective)
    for name in mine:
        assert_close(mine[name][0], theirs[name])


def test_backpack_squares_another_gradient_under_circular_padding():
    """It unfolds the input with zeros around it, silently; brute force sides with us."""
    from importance_oracle import brute_force

    net, batch = convolutional(padding_mode="circular"), examples()
    theirs = by_backpack(
        net, batch, lambda b: b.extensions.SumGradSquared(), lambda p: p.sum_grad_squared
    )["1.weight"]
    mine = estimate(net, [batch], objective="gradient")["1.weight"][0]
    assert_close(mine, brute_force(net, *batch, "gradient")["1.weight"][0])
    assert float((theirs - mine).norm() / mine.norm()) > 0.05


def test_curvlinops_gauss_newton_has_our_diagonal():
    curvlinops = pytest.importorskip("curvlinops", reason="needs the extra: wkmeans[peers]")
    net, batch = plain(), examples()
    parameters = dict(net.named_parameters())
    operator = curvlinops.GGNLinearOperator(
        net, nn.CrossEntropyLoss(), list(parameters.values()), [batch]
    )
    size = sum(p.numel() for p in parameters.values())
    diagonal = (operator @ torch.eye(size, dtype=torch.float64)).diagonal()
    mine = estimate(net, [batch], objective="fisher")
    flat = torch.cat([mine[name][0].flatten() for name in parameters])
    assert_close(flat, diagonal)


def test_opacus_has_our_per_example_gradients():
    """And, like BackPACK, others under circular padding."""
    opacus = pytest.importorskip("opacus", reason="needs the extra: wkmeans[peers]")
    for options, agrees in (({}, True), ({"padding_mode": "circular"}, False)):
        net, batch = convolutional(**options), examples()
        own = opacus.GradSampleModule(copy.deepcopy(net), loss_reduction="sum")
        nn.functional.cross_entropy(own(batch[0]), batch[1], reduction="sum").backward()
        mine = estimate(net, [batch], objective="gradient")["1.weight"][0]
        theirs = own.get_parameter("_module.1.weight").grad_sample.square().mean(0)
        error = float((theirs - mine).norm() / mine.norm())
        assert (error < 1e-10) == agrees
