"""Models whose passes are hard to go on with: values that go other ways than from call to call."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class Residual(nn.Module):
    """Two branches, and something noted in the module between layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.skip = nn.Conv2d(3, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        self.noted = x
        y = self.first(x).relu()
        y = y + self.deep(y).relu()
        y = y + self.skip(self.noted)
        return self.head(y.mean((2, 3)))


class Fickle(nn.Module):
    """The order of its layers, and whether one of them is used, hang on the batch."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(6, 6), nn.Linear(6, 6)
        self.rare, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        layers = (self.one, self.other) if float(x[0, 0]) > 0 else (self.other, self.one)
        for layer in layers:
            x = layer(x).tanh()
        return self.head(self.rare(x) if len(x) > 3 else x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(6, 10, bidirectional=True, batch_first=True)
        self.cell = nn.Linear(32, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        y, _ = self.layer(x)
        state = y.new_zeros(len(x), 12)
        for step in y.unbind(1):
            state = self.cell(torch.cat([step, state], 1)).tanh()
        return self.head(state)


class Attention(nn.Module):
    """Residuals around attention, and a loop over what it gives."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True)
        self.wide, self.narrow = nn.Linear(6, 24), nn.Linear(24, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        y = self.norm(x)
        x = x + self.attend(y, y, y, need_weights=False)[0]
        x = x + self.narrow(self.wide(x).relu())
        total = 0
        for step in x.transpose(0, 1):
            total = total + step
        return self.head(total)


class InPlace(nn.Module):
    """Later layers write to what earlier ones gave, and one needs more room than the others."""

    def __init__(self):
        super().__init__()
        self.first, self.deep = nn.Linear(6, 6), nn.Linear(6, 6)
        self.wide, self.narrow = nn.Linear(6, 60), nn.Linear(60, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        y = self.first(x).relu_()
        y += self.deep(y)
        y[:, 0] = 1
        z = self.wide(y)
        y += z[:, :6]
        return self.head(y + self.narrow(z))


class Cube(torch.autograd.Function):
    """What no mode of torch's functions sees."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, delta):
        return 3 * ctx.saved_tensors[0] ** 2 * delta


class Unseen(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        y = Cube.apply(self.first(x))
        return self.head(y + self.deep(y).tanh())


class Early(nn.Module):
    """A weight is looked at before its layer, and matters after it."""

    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        y = self.first(x)
        scale = self.deep.weight.detach().abs().mean()
        return self.head(self.deep(y).tanh() * scale)


class Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        y = self.first(x).relu().to_sparse()
        z = self.deep(y.to_dense()).tanh()
        return self.head(z + y.to_dense())


class Inferring(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        y = self.first(x)
        with torch.inference_mode():
            largest = y.detach().abs().max()
        z = self.deep(y / float(largest)).tanh()
        return self.head(z * float(largest))


class Whimsical(nn.Module):
    """Every pass asks torch for something else."""

    passes = 0

    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        self.passes += 1
        y = self.first(x)
        y = y.abs() if self.passes % 2 else y.square().sqrt()
        return self.head(self.deep(y.round(decimals=2)).tanh())


class Settings(nn.Module):
    """What it computes hangs on what it has set."""

    def __init__(self):
        super().__init__()
        self.first, self.deep, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        was_enabled = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        try:
            y = self.deep(self.first(x).tanh())
            return self.head(y if torch.is_grad_enabled() else y.relu())
        finally:
            torch.set_grad_enabled(was_enabled)


class Plain(nn.Module):
    """Four layers, for what may go on around them."""

    def __init__(self):
        super().__init__()
        self.first, self.deep, self.more = (nn.Linear(6, 6) for _ in range(3))
        self.head = nn.Linear(6, 3)
        self.memory = torch.zeros(8, 6)


class Shared(Plain):
    """Writes through memory that NumPy has as well."""

    def forward(self, x):
        y = self.first(x).detach()
        y.numpy()[...] += 1
        z = self.deep(y)
        y.numpy()[...] *= 2
        return self.head(self.more(z + y) + y)


class Given(Plain):
    """NumPy's memory, of which torch is given a view."""

    def forward(self, x):
        values = np.zeros((len(x), 6), dtype=np.float32)
        y = torch.from_numpy(values)
        y.copy_(self.first(x).detach())
        values += 1
        z = self.deep(y)
        return self.head(self.more(z + y) + y)


class Seeded(Plain):
    """Noise of its own, the same in every pass."""

    def forward(self, x):
        generator = torch.Generator().manual_seed(0)
        y = self.first(x) + torch.rand(6, generator=generator)
        z = self.deep(y) + torch.rand(6, generator=generator)
        return self.head(self.more(z) + torch.rand(6, generator=generator))


class Forked(Plain):
    def forward(self, x):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            y = self.first(x) + torch.rand(6)
            return self.head(self.more(self.deep(y) + torch.rand(6)) + torch.rand(6))


class Remembering(Plain):
    """Reads what was written before in the same pass to a tensor that outlasts it."""

    def forward(self, x):
        self.memory[: len(x)] = self.first(x).detach()
        y = self.more(self.deep(x).tanh() + self.memory[: len(x)])
        return self.head(y + self.memory[: len(x)])


class Stacking(Plain):
    """Weights within a list are looked at before their layers."""

    def forward(self, x):
        weight = torch.stack([self.deep.weight, self.more.weight]).mean(0)
        y = (self.first(x) * weight[0]).relu()
        return self.head(self.more(self.deep(y)).tanh() * weight[1])


class Largest(Plain):
    """What it takes from a weight, before its layer, comes in a tuple."""

    def forward(self, x):
        scale = self.deep.weight.max(1).values
        return self.head(self.more(self.deep(self.first(x) * scale)).tanh() * scale)


class Listed(Plain):
    """What it takes from a weight, before its layer, is no tensor."""

    def forward(self, x):
        scale = self.deep.weight.tolist()[0][0]
        return self.head(self.more(self.deep(self.first(x) * scale)).tanh() * scale)


class Shifted(Plain):
    def forward(self, x):
        scale = self.deep.bias.exp()
        return self.head(self.more(self.deep(self.first(x) * scale)).tanh() * scale)


class Adding(Plain):
    """A weight is looked at by what writes to a tensor that is held."""

    def forward(self, x):
        y = self.first(x)
        y.addmm_(x, self.deep.weight)
        return self.head(self.more(self.deep(y) + y) + y)


UNSEEN = torch.jit.CompilationUnit("""
def add_one_(x):
    return x.add_(1.0)

def bounded(x):
    return x.tanh()
""")


class Scripted(Plain):
    """Its functions, one that writes and one of a weight, no mode sees."""

    def forward(self, x):
        scale = UNSEEN.bounded(self.deep.weight)[0]
        y = self.first(x) * scale
        UNSEEN.add_one_(y)
        return self.head(self.more(self.deep(y) + y) + y)


class Uncounted(Plain):
    """Writes that a tensor does not count; the last layer but one is not always met."""

    def forward(self, x):
        y = self.first(x)
        z = self.deep(y)
        y.data.mul_(z)
        return self.head((self.more(z) if len(x) == 5 else z) + y)


class Deriving(Plain):
    """Derives by something that was there before its layers."""

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = self.deep(self.first(x).tanh())
            x.requires_grad_()
            (delta,) = torch.autograd.grad(y.square().sum() + (x**3).sum(), x)
        return self.head(self.more(delta))


class Scaled(torch.Tensor):
    """Notes in an attribute what it was before."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        if func is torch.Tensor.tanh:
            result.scale = float(args[0].detach().as_subclass(torch.Tensor).abs().max())
        return result


class Subclass(Plain):
    def forward(self, x):
        y = self.first(x).as_subclass(Scaled).tanh()
        scale = getattr(y, "scale", 1.0)
        y = y.as_subclass(torch.Tensor)
        return self.head(self.more(self.deep(y) * scale + y) * scale)


class Mapped(Plain):
    def forward(self, x):
        scale = torch.vmap(torch.norm)(self.deep.weight)
        return self.head(self.more(self.deep(self.first(x) * scale)) * scale)


HARD = [
    *(Shared, Given, Seeded, Forked, Remembering, Stacking, Largest, Listed, Shifted, Adding),
    *(Scripted, Uncounted, Deriving, Subclass, Mapped),
]
