"""Tables and plots from the rows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets import TASKS
from experiment import Laboratory, Row, cell_directory
from figures import save_codebook, save_figures
from plan import Plan
from tables import tables


def write_report(
    rows: Sequence[Row], task: str, plan: Plan, data_dir: Path | None, cache: Path, output: Path
) -> None:
    """``tables.md`` and a PNG for each figure, into ``output``."""
    (output / "tables.md").write_text(tables(rows, plan.networks))
    save_figures(rows, plan.networks, TASKS[task].n_classes > 10, output)
    network, seed = plan.networks[0], plan.seeds[0]
    cell = cell_directory(cache, plan, task, network, seed)
    estimates = Laboratory.of(task, plan, network, seed, data_dir, cell).estimates
    save_codebook(estimates.weights, estimates.objective("gradient"), output)
