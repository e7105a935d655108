"""Importances against BackPACK: batch after batch, answers asserted, ratios in one run.

python bench/importance.py                      times, and the targets met or missed
python bench/importance.py --memory OBJECTIVE   peak memory and time of a batch on a transformer of
                                                22 million parameters, "gradient" by default
python bench/importance.py --recurrent          the exact Fisher of an LSTM against a plain loop of
                                                autograd.grad, and a reader of text lines by probes
"""

from __future__ import annotations

import argparse
import copy
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from harness import Row, Target, best_seconds, machine, rows_of_case, table
from torch import nn
from torch.nn import functional

from wkmeans.importance import estimate
from wkmeans.importance.losses.cross_entropy import CrossEntropy
from wkmeans.importance.model.batches import read_batch
from wkmeans.importance.model.functional import FunctionalModel, differentiable_kernels
from wkmeans.importance.run.run import Run

FLOOR = "plain forward and backward"
Batch = tuple[torch.Tensor, torch.Tensor]
Sums = dict[str, torch.Tensor]


def perceptron() -> tuple[nn.Sequential, Batch]:
    net = nn.Sequential(
        nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    return net, (torch.randn(256, 784), torch.randint(0, 10, (256,)))


def convolutional() -> tuple[nn.Sequential, Batch]:
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1024, 10),
    )  # fmt: skip
    return net, (torch.randn(64, 3, 32, 32), torch.randint(0, 10, (64,)))


@dataclass(frozen=True)
class Started:
    """A run whose first batch has been added, and checked: what that gave, and took."""

    more: Callable[[], None]
    sums: Sums
    seconds: float

    @classmethod
    def of(cls, net: nn.Module, batch: Batch, objective: str) -> Started:
        run = Run(
            FunctionalModel.of(net, None), objective, CrossEntropy(1.0), "auto", None, 0, None
        )
        ready = read_batch(0, batch)
        with differentiable_kernels():
            seconds = processor_seconds(lambda: run.add(ready, 0))
        return cls(lambda: run.add(ready, 0), run.quartic_sums or run.sums, seconds)


def backpack(net: nn.Module, batch: Batch, objective: str) -> Callable[[], Sums]:
    """Its extension for each objective; its factors of 1 / n removed where answers are compared."""
    from backpack import backpack as context
    from backpack import extend
    from backpack.extensions import BatchDiagGGNExact, DiagGGNExact, SumGradSquared

    own = extend(copy.deepcopy(net))
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))
    inputs, targets = batch
    extension, read = {
        "gradient": (SumGradSquared(), lambda p: p.sum_grad_squared),
        "fisher": (DiagGGNExact(), lambda p: p.diag_ggn_exact),
        "gradient+hessian": (
            BatchDiagGGNExact(),
            lambda p: p.diag_ggn_exact_batch.square().sum(0) / 4,
        ),
    }[objective]

    def step() -> Sums:
        own.zero_grad()
        with context(extension):
            loss(own(inputs), targets).backward()
        return {name: read(p).detach() for name, p in own.named_parameters()}

    return step


def case(name: str, build: Callable[[], tuple[nn.Sequential, Batch]], faster: Any) -> list[Row]:
    torch.manual_seed(0)
    net, batch = build()
    calls: dict[str, Callable[[], Any]] = {FLOOR: lambda: plain(net, batch)}
    remarks, targets = {FLOOR: ""}, []
    for objective, times in faster.items():
        mine, theirs = Started.of(net, batch, objective), backpack(net, batch, objective)
        assert_same(mine.sums, theirs())
        calls |= {f"wkmeans {objective}": mine.more, f"BackPACK {objective}": theirs}
        first = f"its first batch, checks and all, {mine.seconds * 1e3:.3g} ms"
        remarks |= {f"wkmeans {objective}": first, f"BackPACK {objective}": ""}
        targets.append(Target(f"wkmeans {objective}", f"BackPACK {objective}", 1 / times))
        if name.startswith("MLP") and objective == "gradient":
            targets.append(Target(f"wkmeans {objective}", FLOOR, 1.5))
    with differentiable_kernels():  # as a run enters once
        seconds = best_seconds(calls, clock=time.process_time)  # of the one thread that there is
    return rows_of_case(name, seconds, remarks, targets)


def plain(net: nn.Module, batch: Batch) -> None:
    net.zero_grad()
    functional.cross_entropy(net(batch[0]), batch[1]).backward()


def assert_same(mine: Sums, theirs: Sums) -> None:
    for name, expected in theirs.items():
        torch.testing.assert_close(
            mine[name].float(), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max())
        )


class Encoder(nn.Module):
    """The sizes of MiniLM-L6: 22.6 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30522, 384)
        layer = nn.TransformerEncoderLayer(
            384, 12, 1536, dropout=0.0, activation="gelu", batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(384, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.embedding(tokens)).mean(1))


# glibc keeps what is freed in pieces under 32 MB; with these it goes back, and the resident size is
# what is in use.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def report_memory(objective: str) -> None:
    """Growth of the peak resident size, over the parameters' own bytes, and processor time."""
    if not GIVE_BACK.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **GIVE_BACK})
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = Encoder().eval()
    own = sum(p.nbytes for p in net.parameters())
    batch = torch.randint(0, 30522, (8, 64)), torch.randint(0, 10, (8,))
    before = peak()
    kept = net(batch[0])
    activations = peak() - before
    del kept
    before = peak()
    run = Started.of(net, batch, objective)
    with differentiable_kernels():
        seconds = processor_seconds(run.more)
    growth = peak() - before
    plain(net, batch)
    floor = min(processor_seconds(lambda: plain(net, batch)) for _ in range(3))
    print(
        f"{objective}: parameters {own / 1e6:.0f} MB, activations of a batch "
        f"{activations / 1e6:.0f} MB, estimate {growth / 1e6:.0f} MB more = {growth / own:.2f} x "
        f"the parameters, or {(growth - activations) / own:.2f} x without the activations; a batch "
        f"after the first takes {seconds:.2f} s = {seconds / floor:.1f} x {FLOOR}"
    )


class Voice(nn.Module):
    """Three layers of LSTM over 160 frames, and 256 outputs: a seed for each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.head = nn.Linear(256, 256)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(frames)[1][0][-1])


class Reader(nn.Module):
    """Convolutions over images of text lines, then LSTMs in both directions: 32 x 97 outputs."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, pool in ((1, 32, 2), (32, 64, 2), (64, 128, (2, 1)), (128, 256, (2, 1))):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(pool)]
        self.features = nn.Sequential(*layers)
        self.lstm = nn.LSTM(256, 256, 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(512, 97)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.features(images).mean(2).transpose(1, 2))[0])


def report_recurrent() -> None:
    """Processor time, in one process; and time on the clock, on the cores that there are."""
    torch.manual_seed(0)
    voice, clips = Voice().eval(), torch.randn(4, 160, 40)
    estimate(voice, [clips[:1, :2]], objective="fisher", loss="mse", probes=1)  # imports
    found: list[Any] = []
    exact = {"objective": "fisher", "loss": "mse"}
    seconds = {
        "loop of autograd.grad": processor_seconds(lambda: found.append(looped(voice, clips))),
        "wkmeans": processor_seconds(lambda: found.append(estimate(voice, [clips], **exact))),
        "wkmeans, 4 probes": processor_seconds(lambda: estimate(voice, [clips], probes=4, **exact)),
    }
    assert_same({name: pair[0] for name, pair in found[1].items()}, found[0])
    targets = [
        Target("wkmeans", "loop of autograd.grad", 1.0),
        Target("wkmeans, 4 probes", "loop of autograd.grad", 0.1),
    ]
    case = "3-layer LSTM, 256 outputs, 4 clips of 160 frames, exact Fisher"
    print(table(rows_of_case(case, seconds, dict.fromkeys(seconds, ""), targets)))
    images = torch.randn(48, 1, 32, 128).split(1)
    start, clock = time.process_time(), time.perf_counter()
    estimate(Reader().eval(), images, objective="fisher", probes=4, progress=False)
    taken = time.perf_counter() - clock
    print(
        f"\nconv + BiLSTM reader, 48 images in batches of one, 4 probes: {taken:.1f} s, "
        f"{time.process_time() - start:.1f} s of processors; target 60 s on two cores: "
        f"{'met' if taken <= 60 else 'MISSED'}"
    )
    print(machine())


def looped(net: nn.Module, inputs: torch.Tensor) -> Sums:
    """The mean over examples of squared derivatives, summed over outputs, one after another."""
    parameters = dict(net.named_parameters())
    sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    for example in inputs.split(1):
        for output in net(example)[0]:
            found = torch.autograd.grad(output, list(parameters.values()), retain_graph=True)
            for total, gradient in zip(sums.values(), found, strict=True):
                total += gradient.square() / len(inputs)
    return {name: total.float() for name, total in sums.items()}


def processor_seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--memory", metavar="OBJECTIVE", nargs="?", const="gradient")
    parser.add_argument("--recurrent", action="store_true")
    arguments = parser.parse_args()
    if arguments.memory:
        report_memory(arguments.memory)
        return
    if arguments.recurrent:
        report_recurrent()
        return
    torch.set_num_threads(1)  # the matrices are small
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    faster = {"gradient": 1.4, "fisher": 1.4, "gradient+hessian": 20}
    rows = case("MLP 784-300-100-10, 256 examples", perceptron, faster)
    rows += case("3 convolutions, 32 x 32, 64 examples", convolutional, dict.fromkeys(faster, 2))
    print(table(rows))
    print(machine())


if __name__ == "__main__":
    main()
