"""Reproduce the paper's experiments: `python bench/paper/run.py`. README.md reads the results."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from queue import Empty, Queue

os.environ.setdefault("WKMEANS_NUM_THREADS", "1")  # cells run side by side, one core each

from datasets import TASKS
from experiment import STUDIES, Row, run_cell, write_rows
from plan import FULL, QUICK, Plan
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

HERE = Path(__file__).parent


def main() -> int:
    """Run what the command line asks for; 1 where an ordering of the full run does not hold."""
    arguments = _parser().parse_args()
    plan = QUICK if arguments.quick else FULL
    if arguments.seeds is not None:
        plan = replace(plan, seeds=tuple(range(arguments.seeds)))
    try:
        rows = run_cells(arguments.data, plan, arguments.data_dir, arguments.cache, arguments.jobs)
    except (OSError, ValueError) as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        return 1
    if arguments.quick:
        from orderings import failures

        broken = failures(rows)
        print("\n".join(broken) or "Every ordering that the full run established holds.")
        return 1 if broken else 0
    from report import write_report

    output = arguments.output or HERE / "results" / arguments.data
    output.mkdir(parents=True, exist_ok=True)
    write_rows(output / "results.csv", rows)
    write_report(rows, arguments.data, plan, arguments.data_dir, arguments.cache, output)
    print(f"Tables and plots: {output}")
    return 0


def run_cells(task: str, plan: Plan, data_dir: Path | None, cache: Path, jobs: int) -> list[Row]:
    """Every network and seed, ``jobs`` at a time; what an interrupted run finished is kept."""
    cells = [(network, seed) for seed in plan.seeds for network in plan.networks]
    context = get_context("spawn")
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )  # fmt: skip
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(jobs, context) as pool,
        Progress(*columns) as bar,
    ):
        finished: Queue[str] = manager.Queue()
        progress = bar.add_task("studies", total=len(cells) * len(STUDIES))
        futures = [
            pool.submit(_run_cell, task, plan, network, seed, data_dir, cache, finished)
            for network, seed in cells
        ]
        pending: set[Future[list[Row]]] = set(futures)
        while pending:
            _, pending = wait(pending, timeout=1)
            _raise_first_failure(futures)
            for description in _drained(finished):
                bar.update(progress, advance=1, description=description)
        return [row for future in futures for row in future.result()]


def _run_cell(
    task: str,
    plan: Plan,
    network: str,
    seed: int,
    data_dir: Path | None,
    cache: Path,
    finished: Queue[str],
) -> list[Row]:
    def on_study(study: str) -> None:
        finished.put(f"{network}, seed {seed}: {study}")

    return run_cell(task, plan, network, seed, data_dir, cache, on_study)


def _raise_first_failure(futures: list[Future[list[Row]]]) -> None:
    for future in futures:
        if future.done() and future.exception() is not None:
            for other in futures:
                other.cancel()
            future.result()


def _drained(queue: Queue[str]) -> list[str]:
    items = []
    while True:
        try:
            items.append(queue.get_nowait())
        except Empty:
            return items


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", choices=TASKS, default="fashion-mnist", help="what to learn")
    parser.add_argument("--data-dir", type=Path, help="directory of the data set's standard files")
    parser.add_argument("--quick", action="store_true", help="small; assert the orderings")
    parser.add_argument("--seeds", type=int, help="how many networks of each kind to train")
    parser.add_argument("--jobs", type=int, default=2, help="networks side by side, a core each")
    parser.add_argument("--cache", type=Path, default=Path("build/paper"), help="what to resume")
    parser.add_argument("--output", type=Path, help="where to write tables and plots")
    return parser


if __name__ == "__main__":
    sys.exit(main())
