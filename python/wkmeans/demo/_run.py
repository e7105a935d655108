"""The demo from data to table and plot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from wkmeans.demo import _plot, _table
from wkmeans.demo._data import Dataset, load_digits, load_fashion_mnist
from wkmeans.demo._experiment import Outcome, Setting, compare_objectives
from wkmeans.demo._network import Score, evaluate, train
from wkmeans.demo._plan import Plan
from wkmeans.demo._results import Results, verdict


def run(
    data: str, plan: Plan, *, output: Path, console: Console, data_dir: Path | None = None
) -> Results:
    """Train, estimate, compress and measure; print the table and the verdict, save the plot.

    Raises ``FileNotFoundError`` saying how to get missing data, and ``ValueError`` where an
    argument or a file is not what it should be.
    """
    _plot.check_output(output)
    originals: list[Score] = []
    outcomes: list[dict[tuple[str, Setting], Outcome]] = []
    with _progress(console, len(plan.seeds) * plan.steps_per_seed) as (bar, task), _one_thread():
        for position, seed in enumerate(plan.seeds, start=1):
            label = f"network {position} of {len(plan.seeds)}"
            dataset = _load(data, seed, data_dir)
            original, outcome = _run_seed(dataset, plan, seed, bar, task, label)
            originals.append(original)
            outcomes.append(outcome)
    architecture = "-".join(map(str, plan.widths))
    results = Results(dataset.name, f"network {architecture}", originals, outcomes)
    console.print(_table.render(results))
    for line in verdict(results):
        console.print(line, highlight=False)
    _plot.save(results, output)
    console.print(f"Plot: {output}", highlight=False)
    return results


def _run_seed(
    dataset: Dataset, plan: Plan, seed: int, bar: Progress, task: TaskID, label: str
) -> tuple[Score, dict[tuple[str, Setting], Outcome]]:
    def on_epoch() -> None:
        bar.update(task, advance=1, description=f"{label}: training")

    def on_step(objective: str) -> None:
        bar.update(task, advance=1, description=f"{label}: {objective}")

    net = train(
        plan.widths, dataset.training, **plan.training._asdict(), seed=seed, on_epoch=on_epoch
    )
    outcome = compare_objectives(
        net,
        dataset,
        objectives=plan.objectives,
        settings=plan.settings,
        temperatures=plan.temperatures,
        n_examples=plan.n_examples,
        on_step=on_step,
    )
    return evaluate(net, dataset.test), outcome


def _load(data: str, seed: int, data_dir: Path | None) -> Dataset:
    return load_digits(seed) if data == "digits" else load_fashion_mnist(seed, data_dir)


@contextmanager
def _progress(console: Console, total: int) -> Iterator[tuple[Progress, TaskID]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield bar, bar.add_task("loading", total=total)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The matrices are small: torch's threads would wait for one another longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
