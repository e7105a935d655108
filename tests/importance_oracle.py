"""Models to estimate importances of, and the slow truth: a float64 loop with plain autograd.

The oracle knows nothing of torch.func: it takes one example at a time, and one derivative at a time
where the objective has second ones.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

CLASSES = 4


class Tied(nn.Module):
    """One tensor used as embedding and as head, and once more inside."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(CLASSES, 5, bias=False)
        self.inner = nn.Linear(5, 5)
        self.head = nn.Linear(5, CLASSES, bias=False)
        self.head.weight = nn.Parameter(torch.randn(CLASSES, 5))
        self.embedding.weight = self.inner.weight = nn.Parameter(torch.randn(5, 5) / 2)
        self.project = nn.Linear(6, 5)

    def forward(self, x):
        hidden = torch.tanh(self.embedding(self.project(x)))
        return self.head(self.inner(hidden))


class RawParameters(nn.Module):
    """Parameters that no layer owns: a gate, a scale and a bilinear form."""

    def __init__(self):
        super().__init__()
        self.form = nn.Parameter(torch.randn(CLASSES, 6, 6) / 3)
        self.gate = nn.Parameter(torch.randn(6))
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("offset", torch.full((CLASSES,), 0.1))

    def forward(self, x):
        gated = x * torch.sigmoid(self.gate)
        return self.scale * torch.einsum("ni,cij,nj->nc", gated, self.form, x) + self.offset


class Recurrent(nn.Module):
    """vmap refuses torch's LSTM, so this goes one example at a time."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 2, batch_first=True)
        self.head = nn.Linear(2, CLASSES)

    def forward(self, x):
        return self.head(self.lstm(x.reshape(len(x), 2, 3))[0][:, -1])


class Attention(nn.Module):
    """LayerNorm, softmax attention and GELU: curved in nearly every tensor."""

    def __init__(self):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(
            3, 1, 4, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(self.block(x.reshape(len(x), 2, 3)).flatten(1))


class Residual(nn.Module):
    """BatchNorm, and every kind of convolution: circular, grouped, dilated and "same"."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")
        self.norm = nn.BatchNorm2d(2)
        self.grouped = nn.Conv2d(2, 2, 3, padding="same", groups=2)
        self.dilated = nn.Conv2d(2, 2, (1, 3), padding="same", dilation=(1, 2))
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        hidden = torch.relu_(self.norm(self.stem(x.reshape(len(x), 1, 2, 3))))
        hidden = hidden + torch.relu_(self.grouped(hidden))
        hidden = hidden + self.dilated(hidden)
        return self.head(functional.max_pool2d(hidden, (1, 2)).flatten(1))


def residual():
    net = Residual()
    net(torch.randn(50, 6).to(next(net.parameters())))  # running statistics that are not 0 and 1
    return net.eval()


class Transformer(nn.Module):
    """Pre-LN, GELU, attention, and one table to read tokens from and to score them with."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 4)
        self.position = nn.Parameter(torch.randn(1, 3, 4))
        self.block = nn.TransformerEncoderLayer(
            4, 2, 3, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        tokens = (3 * x[:, :3]).long() % CLASSES
        hidden = self.block(self.embedding(tokens) + self.position)
        return functional.linear(self.norm(hidden.mean(1)), self.embedding.weight)


class Gated(nn.Module):
    """A GRU."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 2, batch_first=True)
        self.head = nn.Linear(2, CLASSES)

    def forward(self, x):
        return self.head(self.gru(x.reshape(len(x), 2, 3))[0][:, -1])


def mlp():
    return nn.Sequential(
        nn.Linear(6, 7), nn.ReLU(inplace=True), nn.Linear(7, 5), nn.ReLU(inplace=True),
        nn.Linear(5, CLASSES),
    )  # fmt: skip


def tanh_mlp():
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, CLASSES))


MODELS = {
    "mlp": mlp,
    "tanh": tanh_mlp,
    "residual": residual,
    "raw parameters": RawParameters,
    "tied": Tied,
    "recurrent": Recurrent,
    "gru": Gated,
    "transformer": Transformer,
}


def examples(n=6, dtype=torch.float64):
    return torch.randn(n, 6, dtype=dtype), torch.randint(0, CLASSES, (n,))


def brute_force(model, inputs, targets, objective, temperature=1.0):
    """The objective's definition, example by example."""
    parameters = dict(model.named_parameters())
    importance = {n: torch.zeros_like(p) for n, p in parameters.items()}
    quartic = {n: torch.zeros_like(p) for n, p in parameters.items()}
    for x, y in zip(inputs, targets, strict=True):
        with sdpa_kernel(SDPBackend.MATH):  # the only one that is differentiable twice
            logits = model(x[None]) / temperature
        loss = functional.cross_entropy(logits, y[None])
        for name, p in parameters.items():
            if objective == "fisher":
                f = logits.softmax(1)[0]
                for c in range(CLASSES):
                    (g,) = torch.autograd.grad(f[c], p, retain_graph=True)
                    importance[name] += g**2 / f[c].detach()
                continue
            (g,) = torch.autograd.grad(loss, p, create_graph=True)
            if objective != "hessian":
                importance[name] += g.detach() ** 2
            if objective in ("hessian", "gradient+hessian"):
                h = hessian_diagonal(g, p)
                importance[name] += h if objective == "hessian" else 0
                quartic[name] += h**2 / 4
    n = len(inputs)
    return {k: (importance[k] / n, quartic[k] / n) for k in parameters}


def hessian_diagonal(gradient, parameter):
    diagonal = torch.zeros_like(parameter)
    if gradient.requires_grad:
        for i, g in enumerate(gradient.flatten()):
            (row,) = torch.autograd.grad(g, parameter, retain_graph=True, allow_unused=True)
            diagonal.view(-1)[i] = 0 if row is None else row.flatten()[i]
    return diagonal


def assert_close(actual, expected, rtol=1e-10):
    scale = float(expected.abs().max())
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol * scale)


def z_scores(estimates, truth):
    """Of the mean over independent runs, entry by entry."""
    runs = torch.stack(estimates)
    error = runs.std(0) / len(runs) ** 0.5
    return ((runs.mean(0) - truth) / error.clamp(min=1e-12 * float(truth.abs().max()))).abs()
