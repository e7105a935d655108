"""What a CUDA device makes of it: correctness, then timings, then compute-sanitizer.

    python bench/cuda.py              all three, in this order; stops at the first that fails
    python bench/cuda.py --exercise   every kernel once on small inputs: what the sanitizer watches

Times are by events, medians over fresh random inputs; the unit is a device-to-device copy of the
same bytes. Needs a device, torch for CUDA, CMake, and wkmeans built with WKMEANS_CUDA=ON.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import wkmeans

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("memcheck", "racecheck", "initcheck")
TESTS = [f"tests/test_cuda{topic}.py" for topic in ("", "_backend", "_faults", "_large")]
REPEATS = 7


@dataclass(frozen=True)
class Case:
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    weighted: bool
    call: Callable[..., object]
    most_copies: float | None = None  # the target, in copies of the inputs
    most_ms: float | None = None  # the target, in milliseconds


def optimal(k: int, axis: int | None = None) -> Callable[..., object]:
    return lambda w, importance=None: wkmeans.wkmeans(w, k, importance=importance, axis=axis)


def pruned(w: torch.Tensor, importance: torch.Tensor | None = None) -> object:
    return wkmeans.prune(w, 0.3, importance=importance)


LARGE = (100_000_000,)
CASES = [
    Case("1e8 float32, k = 16", LARGE, torch.float32, False, optimal(16), most_copies=12),
    Case("1e8 float32, k = 16", LARGE, torch.float32, True, optimal(16), most_copies=12),
    Case("1e8 float32, k = 256", LARGE, torch.float32, True, optimal(256)),
    Case("1e8 bfloat16, k = 16", LARGE, torch.bfloat16, False, optimal(16), most_copies=3),
    Case("1e8 bfloat16, k = 16", LARGE, torch.bfloat16, True, optimal(16), most_copies=3),
    Case(
        "1e6 tiles of 512, k = 8", (1_000_000, 512), torch.float32, False, optimal(8, -1), None, 300
    ),
    Case("4096 rows of 4096, k = 16", (4096, 4096), torch.float32, True, optimal(16, -1), None, 50),
    Case("prune 1e8 float32", LARGE, torch.float32, False, pruned, most_copies=4),
    Case("prune 1e8 float32", LARGE, torch.float32, True, pruned, most_copies=4),
]


def inputs(case: Case, seed: int) -> list[torch.Tensor]:
    """Heavy-tailed weights, importances over some decades."""
    generator = torch.Generator("cuda").manual_seed(seed)
    w = torch.randn(case.shape, device="cuda", generator=generator)
    chi = torch.randn((5, *case.shape), device="cuda", generator=generator).square_().mean(0)
    tensors = [w.div_(chi.sqrt_()).mul_(0.02)]
    if case.weighted:
        normal = torch.randn(case.shape, device="cuda", generator=generator)
        tensors.append(normal.mul_(3).sub_(8).exp_())
    return [tensor.to(case.dtype) for tensor in tensors]


def milliseconds(call: Callable[..., object], tensors: Sequence[torch.Tensor]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call(*tensors)
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def copy(*tensors: torch.Tensor) -> None:
    for tensor in tensors:
        tensor.clone()


def measure(case: Case) -> tuple[float, float]:
    """Medians of the call and of copying its inputs."""
    times: list[tuple[float, float]] = []
    for seed in range(REPEATS + 1):
        tensors = inputs(case, seed)
        torch.cuda.synchronize()
        times.append((milliseconds(case.call, tensors), milliseconds(copy, tensors)))
    warm = times[1:]
    return statistics.median(t for t, _ in warm), statistics.median(c for _, c in warm)


def verdict(case: Case, ms: float, copies: float) -> str:
    if case.most_copies is not None:
        return f"{case.most_copies} x: {'met' if copies <= case.most_copies else 'MISSED'}"
    if case.most_ms is not None:
        return f"{case.most_ms} ms: {'met' if ms <= case.most_ms else 'MISSED'}"
    return ""


def write_table() -> None:
    print(
        f"\n{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, torch {torch.__version__}\n"
    )
    print("| case | importances | ms | copies of the inputs | target |")
    print("|---|---|---:|---:|---|")
    for case in CASES:
        ms, copy_ms = measure(case)
        given = "yes" if case.weighted else "none"
        target = verdict(case, ms, ms / copy_ms)
        print(f"| {case.name} | {given} | {ms:.3g} | {ms / copy_ms:.3g} | {target} |")


def exercise() -> None:
    """Every kernel, on inputs that the sanitizer gets through in minutes."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        w = torch.randn(100_000, device="cuda").to(dtype)
        importance = torch.rand(100_000, device="cuda").to(dtype)
        for options in ({}, {"importance": importance}, {"quartic_importance": importance}):
            wkmeans.wkmeans(w, 16, **options)
            wkmeans.wkmeans(w, 300, solver="lloyd", max_iter=3, **options)
            wkmeans.wkmeans(w.reshape(-1, 500), 8, axis=-1, include_zero=True, **_rows(options))
            wkmeans.prune(w, 0.3, **options)
            wkmeans.prune(w.reshape(-1, 500), 0.3, axis=-1, **_rows(options))
        wkmeans.wkmeans(w, 16, centroid_dtype="int8")
        wkmeans.cost_curve(w[:20_000], 4)
        wkmeans.prune(w, pattern=(2, 4))
        wkmeans.prune({"a": w.round(), "b": w[:7]}, 0.5)
    torch.cuda.synchronize()


def _rows(options: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.reshape(-1, 500) for name, tensor in options.items()}


def test() -> None:
    """The Python tests of a device, and those of C++."""
    run(sys.executable, "-m", "pytest", *TESTS)
    with tempfile.TemporaryDirectory() as build:
        options = ("-DWKMEANS_CUDA=ON", "-DWKMEANS_BUILD_TESTS=ON")
        run("cmake", "-S", ".", "-B", build, *options, "-DCMAKE_CUDA_ARCHITECTURES=native")
        run("cmake", "--build", build, "--parallel", "--target", "wkmeans_tests")
        run(f"{build}/tests/cpp/wkmeans_tests", "--test-case=a device*")


def run(*command: str) -> None:
    print("+", *command, flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exercise", action="store_true")
    if parser.parse_args().exercise:
        exercise()
        return
    test()
    write_table()
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        sys.exit("compute-sanitizer: not found; it comes with the CUDA toolkit")
    for tool in TOOLS:
        watched = (sys.executable, str(Path(__file__).resolve()), "--exercise")
        run(sanitizer, "--tool", tool, "--error-exitcode", "1", *watched)


if __name__ == "__main__":
    main()
