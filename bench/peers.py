"""wkmeans against its peers: whole calls through Python, answers asserted, one table.

python bench/peers.py              Lloyd's and the pruning targets
python bench/peers.py --optimal    and what the optimal solver promises
python bench/peers.py --write      and keeps the table in bench/README.md
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import (
    CLUSTERING,
    FLASH,
    OUR_LLOYD,
    OURS,
    Answer,
    Array,
    Contender,
    flash1dkmeans_rows,
)
from harness import (
    Row,
    Target,
    best_seconds,
    machine,
    n_cores,
    read_all,
    read_and_write,
    rows_of_case,
    table,
)

import wkmeans

FLOOR = "one read of the inputs"
LONGEST_CALL = 30.0  # seconds; peers that would need more sit a case out
LARGEST_EXACT = 10**5  # beyond, peers that promise the optimum lose it, to rounding or otherwise
SEED = 0

# n, k, and how many times faster than flash1dkmeans the optimum is to be.
LLOYD_CASES = ((10**5, 16, None), (10**5, 256, None), (10**6, 16, None), (10**6, 256, None))
OPTIMAL_CASES = (
    (10**5, 16, 4),
    (10**5, 256, 8),
    (10**6, 16, 20),
    (10**6, 256, 10),
    (10**7, 16, 30),
    (10**7, 256, 20),
)


@dataclass(frozen=True)
class Layer:
    weights: Array
    importance: Array
    quartic_importance: Array

    @classmethod
    def drawn(cls, *shape: int) -> Layer:
        """w = 0.02 t5, I = exp(N(-8, 3)), H = exp(N(-4, 3)), float32."""
        rng = np.random.default_rng(SEED)
        return cls(
            (0.02 * rng.standard_t(5, shape)).astype(np.float32),
            np.exp(rng.normal(-8, 3, shape)).astype(np.float32),
            np.exp(rng.normal(-4, 3, shape)).astype(np.float32),
        )


def short(n: int) -> str:
    return f"{n:.0e}".replace("e+0", "e")


def repeated(layer: Layer, times: int) -> Layer:
    return Layer(*(np.tile(array, (times, 1)) for array in vars(layer).values()))


def cost_of(weights: Array, importance: Array | None, answer: Answer) -> float:
    centroids, labels = answer
    distance = weights.astype(np.float64) - centroids.astype(np.float64)[labels]
    mass = 1.0 if importance is None else importance.astype(np.float64)
    return float(np.sum(mass * distance * distance))


def clustering_case(n: int, k: int, times_faster: float | None) -> list[Row]:
    layer = Layer.drawn(n)
    calls: dict[str, Callable[[], Any]] = {FLOOR: read_all(layer.weights, layer.importance)}
    remarks = {FLOOR: ""}
    best = {
        True: cost_of(
            layer.weights, layer.importance, OURS.solve(layer.weights, layer.importance, k)
        ),
        False: wkmeans.wkmeans(layer.weights, k).cost,
    }
    for contender in CLUSTERING:
        reason = reason_to_skip(contender, layer, k)
        remarks[contender.name] = reason or quality(contender, layer, k, best[contender.weighted])
        if not reason:
            calls[contender.name] = lambda contender=contender: contender.solve(
                layer.weights, layer.importance, k
            )
    targets = [Target(OUR_LLOYD.name, FLASH.name, 0.5)] if n == 10**6 else []
    if times_faster:
        targets.append(Target(OURS.name, FLASH.name, 1 / times_faster))
        remarks["wkmeans quartic"] = ""
        calls["wkmeans quartic"] = lambda: wkmeans.wkmeans(
            layer.weights,
            k,
            importance=layer.importance,
            quartic_importance=layer.quartic_importance,
        )
        targets.append(Target("wkmeans quartic", OURS.name, 2.5))
    return rows_of_case(f"n = {short(n)}, k = {k}", best_seconds(calls), remarks, targets)


def quality(contender: Contender, layer: Layer, k: int, optimum: float) -> str:
    """How far above the optimum the answer costs, having checked that it is none better."""
    importance = layer.importance if contender.weighted else None
    cost = cost_of(layer.weights, importance, contender.solve(layer.weights, layer.importance, k))
    excess = cost / optimum - 1
    assert excess >= -1e-9, f"{contender.name} beats the optimum by {-excess:.1e}"
    unweighted = "" if contender.weighted else " (importances ignored)"
    if contender.optimal and excess <= 1e-6:
        return "optimal" + unweighted
    assert not contender.optimal or len(layer.weights) > LARGEST_EXACT, (
        f"{contender.name} misses the optimum by {excess:.1e}"
    )
    above = f"{100 * excess:.1f} % above" if excess < 1 else f"{excess + 1:.3g} times"
    return f"{above} the optimum{unweighted}{', which it promises' if contender.optimal else ''}"


def reason_to_skip(contender: Contender, layer: Layer, k: int) -> str:
    n = len(layer.weights)
    if contender.keeps_a_table and 16 * n * k > available_bytes() / 2:
        return f"skipped: its tables need {16e-9 * n * k:.0f} GB"

    def solve_first(count: int) -> None:
        contender.solve(layer.weights[:count], layer.importance[:count], k)

    solve_first(1000)  # compiles
    return reason_not_to_wait(best_seconds({"": lambda: solve_first(n // 10)}, repeats=2)[""])


def reason_not_to_wait(seconds_for_a_tenth: float) -> str:
    if 10 * seconds_for_a_tenth <= LONGEST_CALL:
        return ""
    return f"skipped: {seconds_for_a_tenth:.1f} s for a tenth of it"


def available_bytes() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def pruning_case(n: int, density: float) -> list[Row]:
    layer = Layer.drawn(n)
    keep = round(density * n)
    score = exact_score(layer)
    single = score.astype(np.float32)  # what the peers are given, computed beforehand
    tensor = torch.from_numpy(single)
    kept = {
        "wkmeans.prune": lambda: np.flatnonzero(pruned(layer, density)),
        "torch.topk of the score": lambda: torch.topk(tensor, keep, sorted=False).indices.numpy(),
        "numpy.argpartition of the score": lambda: np.argpartition(single, n - keep)[n - keep :],
    }
    expected = np.sort(np.argsort(-score, kind="stable")[:keep])
    threshold = score[expected].min()
    remarks = {FLOOR: ""}
    for name, indices in kept.items():
        found = np.sort(indices())
        if name == "wkmeans.prune":
            assert np.array_equal(found, expected), f"{name} keeps another set than the sort"
            remarks[name] = "the sort's set, ties included"
        else:
            # Scores rounded to single precision tie where the exact ones do not.
            assert len(np.unique(found)) == keep
            assert score[found].min() >= threshold * (1 - 1e-6), f"{name} keeps a small score"
            wrong = keep - len(np.intersect1d(found, expected, assume_unique=True))
            remarks[name] = (
                f"{wrong} of {keep} kept otherwise, in single precision" if wrong else ""
            )
    calls: dict[str, Callable[[], Any]] = {
        FLOOR: read_all(layer.weights, layer.importance, layer.quartic_importance),
        "wkmeans.prune": lambda: pruned(layer, density),
        **{name: call for name, call in kept.items() if name != "wkmeans.prune"},
    }
    targets = [
        Target("wkmeans.prune", "torch.topk of the score", 0.5),
        Target("wkmeans.prune", FLOOR, 4),
    ]
    case = f"prune, n = {short(n)}, density {density}"
    return rows_of_case(case, best_seconds(calls), remarks, targets)


def exact_score(layer: Layer) -> Array:
    weights, importance, quartic = (array.astype(np.float64) for array in vars(layer).values())
    square = weights * weights
    score: Array = importance * square + quartic * (square * square)
    return score


def pruned(layer: Layer, density: float) -> Array:
    mask: Array = wkmeans.prune(
        layer.weights,
        density,
        importance=layer.importance,
        quartic_importance=layer.quartic_importance,
    )
    return mask


def rows_case(n_rows: int, n: int, k: int, times_faster: float) -> list[Row]:
    layer = Layer.drawn(n_rows, n)
    centroids = np.empty((n_rows, k))
    labels = np.empty((n_rows, n), np.int64)
    theirs = "flash1dkmeans' numba, rows in parallel"

    def peer() -> None:
        flash1dkmeans_rows(layer.weights, layer.importance, k, centroids, labels)

    peer()
    ours = wkmeans.wkmeans(layer.weights, k, importance=layer.importance, axis=-1)
    excess = check_rows(layer, (centroids, labels), ours.cost)
    calls = {
        FLOOR: read_all(layer.weights, layer.importance),
        OURS.name: lambda: wkmeans.wkmeans(layer.weights, k, importance=layer.importance, axis=-1),
        theirs: peer,
    }
    remarks = {FLOOR: "", OURS.name: "optimal", theirs: f"{100 * excess:.1f} % above the optimum"}
    targets = [Target(OURS.name, theirs, 1 / times_faster)]
    case = f"{n_rows} rows of {n}, k = {k}"
    return rows_of_case(case, best_seconds(calls), remarks, targets)


def check_rows(layer: Layer, answer: Answer, optimum: Array) -> float:
    """By how much the rows' costs exceed the optimum in all; no row may be below its own."""
    centroids, labels = answer
    distance = layer.weights - np.take_along_axis(centroids, labels, -1)
    costs = np.sum(layer.importance * distance * distance, -1, dtype=np.float64)
    assert (optimum <= costs * (1 + 1e-9)).all(), "a peer beats the optimum of a row"
    return float(costs.sum() / optimum.sum() - 1)


def tiles_case(n_tiles: int, n: int, k: int) -> list[Row]:
    case = f"{short(n_tiles)} tiles of {n}, k = {k}"
    distinct = Layer.drawn(10**4, n)
    layer = repeated(distinct, n_tiles // 10**4)
    calls = {FLOOR: read_all(layer.weights, layer.importance)}
    tenth = distinct.weights[: len(distinct.weights) // 10]
    remark = reason_not_to_wait(
        best_seconds({"": lambda: wkmeans.wkmeans(tenth, k, axis=-1)}, repeats=1)[""]
        * (n_tiles / 10 / len(tenth))
    )
    if not remark:
        calls[OURS.name] = lambda: wkmeans.wkmeans(
            layer.weights, k, importance=layer.importance, axis=-1
        )
    seconds = best_seconds(calls)
    if OURS.name in seconds:
        microseconds = 1e6 * seconds[OURS.name] * n_cores() / n_tiles
        met = "met" if microseconds <= 10 else "MISSED"
        remark = f"{microseconds:.1f} us of one core a tile, target 10: {met}"
    return rows_of_case(case, seconds, {FLOOR: "", OURS.name: remark}, [])


def bfloat16_case(n: int, k: int) -> list[Row]:
    drawn = torch.from_numpy(Layer.drawn(10**6).weights).bfloat16()
    weights = drawn.repeat(n // len(drawn))
    labels = torch.empty(n, dtype=torch.uint8)
    floor = "one read of the weights, one write of the labels"
    calls = {
        floor: read_and_write(weights, labels),
        OURS.name: lambda: wkmeans.wkmeans(weights, k),
    }
    case = f"n = {short(n)} bfloat16, k = {k}, unweighted"
    remarks = {floor: "", OURS.name: "optimal"}
    return rows_of_case(case, best_seconds(calls), remarks, [Target(OURS.name, floor, 4)])


def measured(optimal: bool) -> list[Row]:
    rows: list[Row] = []
    for n, k, times_faster in OPTIMAL_CASES if optimal else LLOYD_CASES:
        rows += clustering_case(n, k, times_faster)
    rows += pruning_case(10**7, 0.1)
    rows += pruning_case(10**7, 0.5)
    if optimal:
        rows += rows_case(4096, 4096, 16, 3)
        rows += rows_case(4096, 4096, 256, 5)
        rows += tiles_case(10**6, 512, 8)
        rows += bfloat16_case(10**8, 16)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--optimal", action="store_true", help="the optimal solver's cases as well")
    parser.add_argument("--write", action="store_true", help="keep the table in bench/README.md")
    arguments = parser.parse_args()
    text = table(measured(arguments.optimal))
    print(text)
    print(machine())
    if arguments.write:
        write(text)


def write(text: str) -> None:
    """Replaces what stands before the README's first further heading."""
    path = Path(__file__).with_name("README.md")
    _, heading, others = path.read_text("utf-8").partition("\n## ")
    path.write_text(f"""# Benchmarks

`python bench/peers.py --optimal --write` made this table on {machine()}.

Whole calls through Python on float32 arrays, compiled and warm, the best of many taken in turn; all
cores. Weights 0.02 t5, importances exp(N(-8, 3)), quartic importances exp(N(-4, 3)). Lloyd runs at
most 100 rounds, from quantiles where no other start is named. Every answer is checked: no peer's
cost is below the optimum, the peers that promise the optimum reach it to 1e-6 up to n = 1e5, and
pruning keeps the set that a stable sort keeps.

{text}

`wkmeans_bench` (C++, `-DWKMEANS_BUILD_BENCH=ON`) times the kernels alone: bytes per second, and as
`x_plain_read` the time over that of a plain read of the same bytes in the same run.
{heading}{others}""")


if __name__ == "__main__":
    main()
