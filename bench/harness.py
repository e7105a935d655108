"""Timing, the memory floor, and the one table that comes out."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

PATIENCE = 3.0  # seconds spent on repeating one call
MOST_REPEATS = 40


@dataclass(frozen=True)
class Target:
    """`who` must not take longer than `at_most` times the call named `of`."""

    who: str
    of: str
    at_most: float


@dataclass
class Row:
    case: str
    who: str
    seconds: float | None = None
    remark: str = ""


def best_seconds(
    calls: Mapping[str, Callable[[], Any]],
    repeats: int = MOST_REPEATS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The best time of each call. They take turns, so that a busy moment hits more than one."""
    best = dict.fromkeys(calls, float("inf"))
    spent = dict.fromkeys(calls, 0.0)
    for _ in range(repeats):
        for name, call in calls.items():
            if spent[name] + (best[name] if spent[name] else 0.0) > PATIENCE:
                continue
            start = clock()
            call()
            elapsed = clock() - start
            best[name] = min(best[name], elapsed)
            spent[name] += elapsed
    return best


def read_all(*arrays: Any) -> Callable[[], None]:
    """One read of arrays on all cores: the floor that no call gets below."""
    words = [_words(array) for array in arrays]
    return lambda: [view.sum() for view in words] and None


def read_and_write(inputs: Any, outputs: Any) -> Callable[[], None]:
    """One read of `inputs` and one write of `outputs`."""
    words, target = _words(inputs), _words(outputs)

    def touch() -> None:
        words.sum()
        target.fill_(0.0)

    return touch


def _words(array: Any) -> torch.Tensor:
    tensor = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
    return tensor.reshape(-1).view(torch.float32)


def rows_of_case(
    case: str, seconds: Mapping[str, float], remarks: Mapping[str, str], targets: list[Target]
) -> list[Row]:
    """One row a call, in the order of `remarks`, with how its targets came out."""
    rows = []
    for who, remark in remarks.items():
        verdicts = [_verdict(target, seconds) for target in targets if target.who == who]
        rows.append(Row(case, who, seconds.get(who), "; ".join(filter(None, [remark, *verdicts]))))
    return rows


def _verdict(target: Target, seconds: Mapping[str, float]) -> str:
    if target.who not in seconds or target.of not in seconds:
        return f"target against {target.of} not measured"
    ratio = seconds[target.who] / seconds[target.of]
    met = "met" if ratio <= target.at_most else "MISSED"
    return f"{ratio:.2f} x {target.of}, target {target.at_most:.3g}: {met}"


def table(rows: list[Row]) -> str:
    """Markdown. Times in ms and over that of the first row of the same case, its floor."""
    floors = {row.case: row.seconds for row in reversed(rows)}
    cells = [("case", "call", "ms", "x floor", "remark")]
    previous = None
    for row in rows:
        floor_seconds = floors.get(row.case)
        ratio = row.seconds / floor_seconds if row.seconds and floor_seconds else None
        cells.append(
            (
                row.case if row.case != previous else "",
                row.who,
                _three_digits(row.seconds * 1e3 if row.seconds else None),
                _three_digits(ratio),
                row.remark,
            )
        )
        previous = row.case
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    lines = ["| " + " | ".join(_padded(line, widths)) + " |" for line in cells]
    rule = "|".join("-" * (w + 1) + (":" if c in (2, 3) else "-") for c, w in enumerate(widths))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _padded(line: tuple[str, ...], widths: list[int]) -> list[str]:
    return [
        text.rjust(width) if column in (2, 3) else text.ljust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    ]


def _three_digits(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> str:
    """The processor, the cores in use, and what is installed."""
    versions = (
        f"Python {platform.python_version()}, NumPy {np.__version__}, torch {torch.__version__}"
    )
    return f"{_processor()}, {n_cores()} cores, {platform.system()}; {versions}"


def n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
