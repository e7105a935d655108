"""Random problems of every kind, on a CUDA device and on the CPU, which must agree.

    python tests/cuda_campaign.py [PROBLEMS] [SEED]

On a host that plays the device with WKMEANS_CUDA_ON_HOST (see cuda_device.py). Prints what
differs, with all it takes to see it again, and ends with an error then.
"""

from __future__ import annotations

import collections
import math
import random
import sys

import cuda_device
import torch

from wkmeans import cost_curve, prune, wkmeans

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LEAST = {"float16": 2.0**-24, "bfloat16": 1e-40, "float32": 1e-45, "float64": 5e-324}
LARGEST = {"float16": 7e3, "bfloat16": 1e17, "float32": 1e17, "float64": 1e60}
MOST_ITEMS = 100_000
WEIGHTS = {
    "normal": lambda x, dtype: x,
    "uniform": lambda x, dtype: torch.special.ndtr(x),
    "few": lambda x, dtype: (2 * x).round(),
    "equal": lambda x, dtype: torch.full_like(x, float(x.flatten()[0])),
    "clumps": lambda x, dtype: (3 * x).round() + 1e-7 * x,
    "tiny": lambda x, dtype: (4 * x).round() * LEAST[dtype],
    "huge": lambda x, dtype: x.clamp(-8, 8) * LARGEST[dtype],
    "decades": lambda x, dtype: x.sign() * (x * (2 if dtype == "float16" else 12)).exp(),
    "half zero": lambda x, dtype: torch.where(x.abs() < 0.8, 0 * x, x),
    "sorted": lambda x, dtype: x.flatten().sort().values.reshape(x.shape),
    "two ends": lambda x, dtype: x.sign() + 1e-3 * x.round(),
}
IMPORTANCES = {
    "uniform": lambda u: u,
    "some zero": lambda u: torch.where(u < 0.3, 0 * u, u),
    "mostly zero": lambda u: torch.where(u < 0.97, 0 * u, u),
    "all zero": lambda u: 0 * u,
    "one": lambda u: torch.ones_like(u),
    "decades": lambda u: (60 * (u - 0.5)).exp(),
}


class Draw:
    """One problem's random choices."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.torch = torch.Generator().manual_seed(seed)
        self.notes = [f"seed {seed}"]

    def choice(self, *options):
        return self.random.choice(options)

    def note(self, **facts):
        self.notes += [f"{name} {value}" for name, value in facts.items()]

    def size(self, most):
        return int(math.exp(self.random.uniform(0, math.log(most))))

    def weights(self, shape):
        dtype, kind = self.choice(*DTYPES), self.choice("normal", *WEIGHTS)
        self.note(weights=f"{kind} {dtype} {tuple(shape)}")
        x = torch.randn(shape, generator=self.torch, dtype=torch.float64)
        return WEIGHTS[kind](x, str(dtype).removeprefix("torch.")).to(dtype).nan_to_num(0, 0, 0)

    def importances(self, shape):
        dtype, kind = self.choice(*DTYPES), self.choice(*IMPORTANCES)
        self.note(importances=f"{kind} {dtype} {tuple(shape)}")
        u = torch.rand(shape, generator=self.torch, dtype=torch.float64)
        return IMPORTANCES[kind](u).to(dtype).nan_to_num(0, 0, 0)

    def laid_out(self, tensor):
        """The same values at other strides and offsets."""
        how = self.choice("as it is", "every other", "transposed", "offset")
        if how == "every other":
            wide = tensor.new_zeros(*tensor.shape[:-1], 2 * tensor.shape[-1])
            wide[..., ::2] = tensor
            return wide[..., ::2]
        if how == "transposed":
            return tensor.mT.contiguous().mT if tensor.dim() == 2 else tensor
        if how == "offset":
            return torch.cat([tensor.new_zeros(3), tensor.flatten()])[3:].reshape(tensor.shape)
        return tensor

    def spoil(self, tensors):
        """Values that nobody can take, here and there."""
        name = self.choice(*tensors)
        self.note(spoiled=name)
        bad = [math.nan, math.inf, -math.inf] + ([-1.0] if name != "weights" else [])
        for _ in range(self.choice(1, 2)):
            flat = tensors[name].view(-1)
            flat[self.random.randrange(flat.numel())] = self.choice(*bad)

    def operands(self):
        """Weights with importances, and an axis."""
        n_rows = self.choice(1, 1, 1, 2, 3, 7, 40)
        n = self.size(MOST_ITEMS // n_rows)
        shape = (n_rows, n) if n_rows > 1 or self.random.random() < 0.3 else (n,)
        axes = [None, -1] if len(shape) == 1 or n > 2000 else [None, 0, 1, -1]
        tensors = {"weights": self.weights(shape)}
        of_importances = [shape, shape, shape[-1:], (1,)]
        if self.random.random() < 0.6:
            tensors["importance"] = self.importances(self.choice(*of_importances))
        if self.random.random() < 0.3:
            tensors["quartic_importance"] = self.importances(self.choice(*of_importances))
        if self.random.random() < 0.1:
            self.spoil(tensors)
        axis = self.choice(*axes)
        self.note(axis=axis)
        return {name: self.laid_out(tensor) for name, tensor in tensors.items()}, axis

    def format(self):
        formats = ["float16", "bfloat16", "float32", "float8_e4m3fn", "int8"]
        return {} if self.random.random() < 0.4 else {"centroid_dtype": self.choice(*formats)}


def attempt(function, *arguments, **keywords):
    try:
        return function(*arguments, **keywords)
    except (ValueError, TypeError, OverflowError) as error:
        return error


def on_both(function, tensors, *arguments, **keywords):
    """(The CPU's answer or error, the device's.)"""
    answers = []
    for move in (lambda tensor: tensor, cuda_device.on_device):
        moved = {name: move(tensor) for name, tensor in tensors.items()}
        weights = moved.pop("weights")
        answers.append(attempt(function, weights, *arguments, **moved, **keywords))
    return answers


def floor_of(tensors):
    """Costs below it are made of what a double cannot hold, or not beside the weights."""
    largest = {name: float(t.double().abs().nan_to_num(0).max()) for name, t in tensors.items()}
    w, n = largest["weights"], tensors["weights"].numel()
    importance = max(largest.get("importance", 1.0), 1e-300)
    most = n * (importance * w**2 + largest.get("quartic_importance", 0.0) * w**4)
    return 1e-300 + 1e-25 * (most if math.isfinite(most) else 0.0)


def as_float64(value):
    return torch.as_tensor(value, dtype=torch.float64).cpu().flatten()


def check_costs(cpu, device, floor):
    assert device.shape == cpu.shape
    assert not bool(device.isnan().any()), f"costs {device}"
    close = (cpu == device) | ((cpu - device).abs() <= 1e-9 * cpu + floor)
    assert bool(close.all()), f"costs {cpu[~close][:4].tolist()}, {device[~close][:4].tolist()}"


def check_nearest(result, weights):
    """Each label's centroid is a nearest one of its problem."""
    k = result.centroids.shape[-1]
    if result.axis is None:
        rows, labels = weights.reshape(1, -1), result.labels.cpu().reshape(1, -1)
    else:
        n = weights.shape[result.axis]
        rows = weights.movedim(result.axis, -1).reshape(-1, n)
        labels = result.labels.cpu().movedim(result.axis, -1).reshape(-1, n)
    centroids = result.centroids.cpu().double().reshape(-1, k)
    if result.scale is not None:
        centroids = centroids * result.scale.cpu().double().reshape(-1, 1)
    for row, label, own in zip(rows[:3].double(), labels[:3].long(), centroids[:3], strict=True):
        row, label = row[:: 1 + len(row) // 500], label[:: 1 + len(row) // 500]
        given = (row - own[label]).abs()
        least = (row.unsqueeze(-1) - own).abs().min(-1).values
        assert bool((given <= least * (1 + 1e-12)).all()), "labels are not nearest"


def check_clusterings(cpu, device, tensors, solver):
    assert device.labels.dtype == cpu.labels.dtype
    assert device.labels.shape == cpu.labels.shape
    assert device.centroids.dtype == cpu.centroids.dtype
    assert device.centroids.shape == cpu.centroids.shape
    floor = floor_of(tensors)
    cost, of_cpu = as_float64(device.cost), as_float64(cpu.cost)
    check_costs(of_cpu, cost, floor)
    assert (device.lower_bound is None) == (cpu.lower_bound is None)
    if device.lower_bound is not None:
        bound = as_float64(device.lower_bound)
        assert bool((bound <= cost).all()), f"bounds {bound}, costs {cost}"
        if solver == "optimal":
            assert bool((bound <= of_cpu * (1 + 1e-9) + floor).all()), f"bounds {bound}"
    if solver == "lloyd":
        assert torch.equal(as_float64(device.n_iter), as_float64(cpu.n_iter)), "rounds"
    check_nearest(device, tensors["weights"])


def both_refuse(cpu, device, tensors):
    """Whether either is an error, which then the other is too."""
    if not isinstance(device, Exception) and not isinstance(cpu, Exception):
        return False
    if "draws from at most" in str(device):
        assert tensors["weights"].unique().numel() > 16384, "kmeans++ is refused"
    else:
        assert (type(device), str(device)) == (type(cpu), str(cpu)), f"{cpu!r}, {device!r}"
    return True


def check_cluster(draw):
    tensors, axis = draw.operands()
    n = tensors["weights"].shape[-1]
    k = draw.choice(1, 2, 3, 4, 8, 16, 33, 64, *([128, 256, 300] if n < 4000 else []))
    options = {"include_zero": draw.random.random() < 0.25, **draw.format()}
    solver = draw.choice("optimal", "optimal", "optimal", "lloyd")
    if solver == "lloyd":
        options["init"] = draw.choice("quantile", "linear", "kmeans++")
        options["max_iter"] = draw.choice(0, 1, 20)
        options["certify"] = draw.random.random() < 0.3
    draw.note(k=k, solver=solver, **options)
    cpu, device = on_both(wkmeans, tensors, k, axis=axis, solver=solver, **options)
    if not both_refuse(cpu, device, tensors):
        check_clusterings(cpu, device, tensors, solver)
        if options["include_zero"]:
            assert bool((device.centroids.cpu().double() == 0).any(-1).all()), "no centroid is zero"


def check_curve(draw):
    tensors, axis = draw.operands()
    k = draw.choice(1, 2, 5, 12) if tensors["weights"].numel() > 5000 else draw.choice(1, 3, 30)
    options = {"include_zero": draw.random.random() < 0.3, **draw.format()}
    draw.note(k_max=k, **options)
    cpu, device = on_both(cost_curve, tensors, k, axis=axis, **options)
    if not both_refuse(cpu, device, tensors):
        check_costs(as_float64(cpu), as_float64(device), floor_of(tensors))


def check_prune(draw):
    tensors, axis = draw.operands()
    density = draw.choice(0.0, 1.0, 0.5, 1e-4, draw.random.random())
    draw.note(density=density)
    cpu, device = on_both(prune, tensors, density, axis=axis)
    if not both_refuse(cpu, device, tensors):
        assert torch.equal(device.cpu(), cpu), "masks"


def check_pattern(draw):
    tensors, _ = draw.operands()
    n = tensors["weights"].shape[-1]
    group = draw.choice(*(d for d in range(1, min(n, 200) + 1) if n % d == 0))
    pattern = (draw.random.randint(0, group), group)
    draw.note(pattern=pattern)
    cpu, device = on_both(prune, tensors, pattern=pattern)
    if not both_refuse(cpu, device, tensors):
        assert torch.equal(device.cpu(), cpu), "masks"


def check_together(draw):
    tensors = {
        str(i): draw.weights((draw.size(MOST_ITEMS // 4),)) for i in range(draw.choice(1, 2, 4))
    }
    weighted = draw.random.random() < 0.5
    importances = {name: draw.importances(t.shape) for name, t in tensors.items()}
    if draw.random.random() < 0.15:
        tensors["0"][-1] = math.nan
    density = draw.random.random()
    draw.note(density=density)
    answers = []
    for move in (lambda tensor: tensor, cuda_device.on_device):
        moved = {name: move(tensor) for name, tensor in tensors.items()}
        own = {name: move(tensor) for name, tensor in importances.items()} if weighted else None
        answers.append(attempt(prune, moved, density, importance=own))
    cpu, device = answers
    if not both_refuse(cpu, device, {"weights": tensors["0"]}):
        assert all(torch.equal(device[name].cpu(), cpu[name]) for name in cpu), "masks"


KINDS = {
    "cluster": check_cluster,
    "curve": check_curve,
    "prune": check_prune,
    "pattern": check_pattern,
    "together": check_together,
}


def main() -> int:
    n_problems = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    done = collections.Counter()
    n_bad = 0
    for seed in range(first, first + n_problems):
        draw = Draw(seed)
        kind = draw.choice("cluster", "cluster", *KINDS)
        done[kind] += 1
        try:
            KINDS[kind](draw)
            cuda_device.check()
        except AssertionError as difference:
            n_bad += 1
            print(f"{kind}: {difference}\n  {', '.join(draw.notes)}", flush=True)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(done.items()))
    print(f"{n_problems} problems ({counts}): {n_bad} differ between the device and the CPU")
    return 1 if n_bad else 0


if __name__ == "__main__":
    sys.exit(main())
