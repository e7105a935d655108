"""Memory that clustering takes beyond its inputs and outputs, each case in a process of its own.

python bench/memory.py             the table
python bench/memory.py --largest   and n = 1e8 float32, which takes some 6 GB in all
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from harness import machine

import wkmeans

BLOCK = 10**6


@dataclass(frozen=True)
class Case:
    n: int
    dtype: str
    k: int
    quartic: int
    most: float  # bytes a weight

    @property
    def name(self) -> str:
        objective = "quartic" if self.quartic else "quadratic"
        return f"n = {self.n:.0e}, {self.dtype}, k = {self.k}, {objective}".replace("e+0", "e")


def cases(largest: bool) -> list[Case]:
    single = [
        Case(n, "float32", k, quartic, 16)
        for n in (10**7, 3 * 10**7)
        for k in (16, 256)
        for quartic in (0, 1)
    ]
    halves = [Case(10**8, dtype, 16, 0, 1) for dtype in ("float16", "bfloat16")]
    return single + halves + [Case(10**8, "float32", 256, 1, 16)] * largest


def drawn(case: Case) -> list[torch.Tensor]:
    """Weights 0.02 t5, I = exp(N(-8, 3)), H = exp(N(-4, 3)), drawn in place block by block."""
    rng = np.random.default_rng(0)
    count = 1 + (case.dtype == "float32") + case.quartic
    dtype = getattr(torch, case.dtype)
    arrays = [torch.empty(case.n, dtype=dtype) for _ in range(count)]
    for begin in range(0, case.n, BLOCK):
        block = slice(begin, begin + BLOCK)
        draws = (
            0.02 * rng.standard_t(5, BLOCK),
            np.exp(rng.normal(-8, 3, BLOCK)),
            np.exp(rng.normal(-4, 3, BLOCK)),
        )
        for array, values in zip(arrays, draws, strict=False):
            array[block] = torch.from_numpy(values)
    return arrays


def measured(case: Case) -> float:
    """Bytes a weight by which the peak exceeds what inputs and outputs hold."""
    weights, *importances = drawn(case)
    names = ("importance", "quartic_importance")[: len(importances)]
    keywords = dict(zip(names, importances, strict=True))
    few = {name: values[:1000] for name, values in keywords.items()}
    wkmeans.wkmeans(weights[:1000], case.k, **few)  # what a first call loads is not the problem's
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident("VmRSS")
    found = wkmeans.wkmeans(weights, case.k, **keywords)
    peak = resident("VmHWM")
    assert found.cost >= found.lower_bound >= found.cost * (1 - 1e-7)
    return (peak - before - found.labels.nbytes) / case.n


def resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise KeyError(field)


def in_process_of_its_own(case: Case) -> float:
    arguments = [f"{name}={value}" for name, value in asdict(case).items()]
    command = [sys.executable, __file__, "--case", *arguments]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def case_of(arguments: list[str]) -> Case:
    values = dict(argument.split("=") for argument in arguments)
    numbers = {name: int(values[name]) for name in ("n", "k", "quartic")}
    return Case(dtype=values["dtype"], most=float(values["most"]), **numbers)


def table(largest: bool) -> str:
    lines = ["| case | bytes a weight | at most | |", "|---|---:|---:|---|"]
    for case in cases(largest):
        found = in_process_of_its_own(case)
        met = "met" if found <= case.most else "MISSED"
        lines.append(f"| {case.name} | {found:.2f} | {case.most:g} | {met} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--largest", action="store_true", help="n = 1e8 float32 as well")
    parser.add_argument("--case", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(measured(case_of(arguments.case)))
        return
    print(table(arguments.largest))
    print(machine())


if __name__ == "__main__":
    main()
