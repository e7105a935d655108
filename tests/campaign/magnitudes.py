"""Random problems of hostile magnitudes, each with a time limit: weights x importances x formats.

    python tests/campaign/magnitudes.py --problems 3000 --seconds 100   # the first ones
    python tests/campaign/magnitudes.py --problem 1234                  # that one again

A problem is its number, and all limits but that of `--seconds` are of processor time: what fails
does not depend on what else the machine does. One fails that takes more of it than the limit,
raises, gives a bound above its cost, a cost that is not that of its labels, a label that is not the
nearest, or, where the oracle can tell, more than the optimum. Exits with 1 where any fails.
"""

from __future__ import annotations

import argparse
import collections
import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import oracle

import wkmeans

Rng = np.random.Generator
Draw = Callable[[Rng, int], np.ndarray]


def decades(low: float, high: float) -> Draw:
    return lambda rng, n: 10.0 ** rng.uniform(low, high, n)


def signed(draw: Draw) -> Draw:
    return lambda rng, n: draw(rng, n) * rng.choice([-1.0, 1.0], n)


WEIGHTS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "0.02 t(3)": lambda rng, n: 0.02 * rng.standard_t(3, n),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
    "7500 N": lambda rng, n: 7500 * rng.standard_normal(n),
    "1e6 N": lambda rng, n: 1e6 * rng.standard_normal(n),
    "1e-8 N": lambda rng, n: 1e-8 * rng.standard_normal(n),
    "exp(12 N)": signed(lambda rng, n: np.exp(12 * rng.standard_normal(n))),
    "exp(U(-690, 690))": signed(lambda rng, n: np.exp(rng.uniform(-690, 690, n))),
    "60 decades": signed(decades(-30, 30)),
    "1e200 N": lambda rng, n: 1e200 * rng.standard_normal(n),
    "1e-200 N": lambda rng, n: 1e-200 * rng.standard_normal(n),
    "denormal": lambda rng, n: np.ldexp(rng.integers(-(1 << 30), 1 << 30, n).astype(float), -1074),
    "up to the largest": lambda rng, n: rng.uniform(-1, 1, n) * np.finfo(float).max,
    "1e4 + 1e-3 N": lambda rng, n: 1e4 + 1e-3 * rng.standard_normal(n),
    "clumps": lambda rng, n: rng.integers(-3, 4, n) + 1e-9 * rng.standard_normal(n),
    "a grid": lambda rng, n: rng.integers(-50, 51, n) / 4.0,
    "squares": lambda rng, n: np.arange(n, dtype=float) ** 2,
    "one far away": lambda rng, n: np.append(rng.standard_normal(n - 1), 1e30),
}

IMPORTANCES: dict[str, Draw] = {
    "one": lambda rng, n: np.ones(n),
    "uniform": lambda rng, n: rng.uniform(0, 1, n),
    "exp(3 N - 8)": lambda rng, n: np.exp(3 * rng.standard_normal(n) - 8),
    "exp(12 N)": lambda rng, n: np.exp(12 * rng.standard_normal(n)),
    "exp(U(-690, 690))": lambda rng, n: np.exp(rng.uniform(-690, 690, n)),
    "40 decades": decades(-20, 20),
    "1e248": lambda rng, n: np.full(n, 1e248),
    "1e300 U": lambda rng, n: 1e300 * rng.uniform(0, 1, n),
    "1e-300 U": lambda rng, n: 1e-300 * rng.uniform(0, 1, n),
    "few": lambda rng, n: rng.uniform(0, 1, n) * (rng.uniform(0, 1, n) < 0.01),
    "zero": lambda rng, n: np.zeros(n),
}

FORMATS = (
    None,
    None,
    None,
    "float64",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "int8",
)
SIZES = (3, 7, 12, 60, 268, 1474, 4096, 8000, 20_000, 40_000)
CLUSTERS = (1, 2, 3, 4, 8, 16, 19, 49, 64, 100, 256, 1000)
MANY_CLUSTERS = (1500, 2500, 5000, 10_000, 20_000)  # of many weights
MOST_FOR_THE_ORACLE = 12
CERTIFIED = 1e-9


@dataclass
class Problem:
    name: str
    weights: np.ndarray
    k: int
    options: dict[str, Any]


def problem_of(number: int) -> Problem:
    rng = np.random.default_rng(number)

    def pick(choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    n, k = int(pick(SIZES)), int(pick(CLUSTERS))
    kind, dtype = pick(list(WEIGHTS)), pick((np.float16, np.float32, np.float64, np.float64))
    with np.errstate(over="ignore", under="ignore"):
        most = float(np.finfo(dtype).max)
        weights = np.clip(WEIGHTS[kind](rng, n), -most, most).astype(dtype)
    named = {"importance": pick([None, *IMPORTANCES]), "quartic": pick([None, None, *IMPORTANCES])}
    solver = pick(("optimal", "optimal", "optimal", "lloyd"))
    options: dict[str, Any] = {
        "importance": named["importance"] and IMPORTANCES[named["importance"]](rng, n),
        "quartic_importance": named["quartic"] and IMPORTANCES[named["quartic"]](rng, n),
        "centroid_dtype": pick(FORMATS),
        "include_zero": bool(rng.integers(4) == 0),
        "solver": solver,
    }
    if solver == "lloyd":
        options |= {"init": pick(("quantile", "linear", "kmeans++")), "certify": True}
    if n > MANY_CLUSTERS[-1] and rng.integers(8) == 0:
        k = int(pick(MANY_CLUSTERS))
    shown = [f"{n} x {kind} {np.dtype(dtype)}", f"k={k}", f"I={named['importance']}"]
    shown += [f"H={named['quartic']}", f"{options['centroid_dtype']}", solver]
    shown += ["zero"] if options["include_zero"] else []
    return Problem(", ".join(shown), weights, k, options)


def faults_of(problem: Problem, rng: Rng) -> tuple[list[str], float]:
    """What is wrong with the answer, and the processor time that it took."""
    start = time.process_time()
    found = wkmeans.wkmeans(problem.weights, problem.k, n_threads=1, **problem.options)
    seconds = time.process_time() - start
    w = problem.weights.astype(np.float64)
    scale = 1.0 if found.scale is None else float(found.scale)
    centroids = np.asarray(found.centroids).astype(np.float64) * scale
    faults = []
    if not np.all(np.isfinite(centroids)) or np.any(centroids[1:] < centroids[:-1]):
        return [f"centroids {centroids}"], seconds
    if problem.options["include_zero"] and not np.any(centroids == 0.0):
        faults.append("no centroid is zero")
    cost, bound = found.cost, found.lower_bound
    if not bound <= cost:
        faults.append(f"the bound {bound!r} is above the cost {cost!r}")
    faults += label_faults(w, centroids, found.labels, rng)
    faults += cost_faults(problem, w, centroids, found.labels, cost)
    if w.size <= MOST_FOR_THE_ORACLE:
        faults += oracle_faults(problem, w, cost, bound)
    return faults, seconds


def label_faults(w: np.ndarray, centroids: np.ndarray, labels: np.ndarray, rng: Rng) -> list[str]:
    some = rng.permutation(w.size)[:100]
    exact = [Fraction(c) for c in centroids.tolist()]
    for i in some.tolist():
        at = int(np.searchsorted(centroids, w[i]))
        near = range(max(0, at - 2), min(len(exact), at + 2))
        distance = min(abs(Fraction(w[i]) - exact[j]) for j in near)
        if abs(Fraction(w[i]) - exact[labels[i]]) != distance:
            return [f"label {labels[i]} of weight {w[i]!r} at {i} is not the nearest"]
    return []


def cost_faults(
    problem: Problem, w: np.ndarray, centroids: np.ndarray, labels: np.ndarray, cost: float
) -> list[str]:
    """Against the sum in long doubles, whose exponents hold every cost."""
    I, H = oracle.importances(
        w, problem.options["importance"], problem.options["quartic_importance"]
    )
    distance = w.astype(np.longdouble) - centroids[labels]
    square = distance * distance
    expected = np.sum(square * (I + H * square))
    tiny = np.longdouble(1e-290)
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float64(expected)):
            return [] if cost == np.inf else [f"cost {cost!r} instead of infinity"]
    if abs(cost - expected) <= 1e-9 * expected + tiny * (1 + np.max(I) + np.max(H)) * w.size:
        return []
    return [f"cost {cost!r} instead of {expected}"]


def oracle_faults(problem: Problem, w: np.ndarray, cost: float, bound: float) -> list[str]:
    options = problem.options
    if options["include_zero"] or not np.isfinite(cost):
        return []
    I, H = options["importance"], options["quartic_importance"]
    optimum = float(oracle.optimal(w, I, H, problem.k).cost)
    weight = 1.0 + max(np.max(x) for x in oracle.importances(w, I, H))
    floor = 1e-300 * weight * w.size
    faults = []
    if options["centroid_dtype"] is None and bound > optimum * (1 + 1e-12) + floor:
        faults.append(f"the bound {bound!r} is above the optimum {optimum!r}")
    is_free = options["solver"] == "optimal" and options["centroid_dtype"] in (None, "float64")
    if is_free and problem.weights.dtype == np.float64 and cost > optimum * (1 + CERTIFIED) + floor:
        faults.append(f"the cost {cost!r} is above the optimum {optimum!r}")
    return faults


def solve_all(pipe: Any, first: int, end: int | None, patience: float) -> None:
    """Tells of each problem before it begins and after it has ended.

    The system ends this process where one takes all the processor time that it may.
    """
    number = first
    while end is None or number < end:
        pipe.send((number, None, 0.0))
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + patience), most))
        problem = problem_of(number)
        try:
            faults, seconds = faults_of(problem, np.random.default_rng(number))
        except Exception as error:  # whatever it is, it is this problem's
            faults, seconds = [f"{type(error).__name__}: {error}"], 0.0
        pipe.send((number, faults, seconds))
        number += 1


def run(first: int, n_problems: int | None, seconds: float, limit: float) -> int:
    """Solves problems in a process of their own, which ends with what has no answer in time."""
    context = multiprocessing.get_context("spawn")
    patience = 2 * limit + 5
    deadline = time.monotonic() + seconds
    end = None if n_problems is None else first + n_problems
    number, n_solved, slowest = first, 0, collections.Counter[int]()
    failed: dict[int, list[str]] = {}

    def fail(number: int, faults: list[str]) -> None:
        failed[number] = faults
        print(f"{number}: {problem_of(number).name}: {'; '.join(faults)}", flush=True)

    while time.monotonic() < deadline and (end is None or number < end):
        ours, theirs = context.Pipe()
        arguments = (theirs, number, end, patience)
        process = context.Process(target=solve_all, args=arguments, daemon=True)
        process.start()
        theirs.close()
        try:
            while ours.poll(max(0.0, deadline - time.monotonic())):
                number, faults, took = ours.recv()
                if faults is None:
                    continue
                n_solved += 1
                slowest[number] = took
                if took > limit:
                    faults.append(f"{took:.1f} s of processor time")
                if faults:
                    fail(number, faults)
        except EOFError:  # it has solved them all, or was ended in the midst of one
            if number not in slowest:
                fail(number, [f"no answer in {patience:.0f} s of processor time"])
            number += 1
        process.kill()
        process.join()
    for slow, took in slowest.most_common(5):
        print(f"slow: {took:.2f} s, {slow}: {problem_of(slow).name}")
    if end is not None and number < end:
        print(f"the time ended before problem {number}")
    print(f"{n_solved} problems solved, {len(failed)} failed")
    return 1 if failed or n_solved == 0 else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=100.0, help="for all problems together")
    parser.add_argument("--problems", type=int, help="so many at most")
    parser.add_argument("--first", type=int, default=0, help="number of the first problem")
    parser.add_argument(
        "--limit", type=float, default=5.0, help="seconds of processor time for one"
    )
    parser.add_argument("--problem", type=int, help="solve this one alone")
    arguments = parser.parse_args()
    if arguments.problem is None:
        return run(arguments.first, arguments.problems, arguments.seconds, arguments.limit)
    problem = problem_of(arguments.problem)
    faults, seconds = faults_of(problem, np.random.default_rng(arguments.problem))
    print(f"{problem.name}: {seconds:.2f} s; {'; '.join(faults) or 'right'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
