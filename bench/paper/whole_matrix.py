"""Figures 2 to 5 under whole importance matrices: `python bench/paper/whole_matrix.py`.

Beside the diagonal objectives of `run.py`, whose cache serves here too: networks, importances and
rows that it left there are not made again. Five of the plan's densities and of its k, as each
network under whole matrices takes seconds.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("WKMEANS_NUM_THREADS", "1")  # as in run.py

from experiment import STUDIES, Row, Study, run_cell, write_rows
from matrix import WHOLE, study
from plan import FULL, QUICK, Plan

TASK = "fashion-mnist"
OUTPUT = Path(__file__).parent / "results" / TASK / "whole-matrix"
SETTINGS: Mapping[str, Sequence[float]] = {
    "prune": (0.05, 0.1, 0.2, 0.3, 0.4),
    "quantise": (2, 3, 4, 8, 16),
}


def main() -> int:
    """Run what the command line asks for; 1 where an ordering of the full run does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small; assert the orderings")
    parser.add_argument("--seeds", type=int, nargs="+", help="which networks of each kind")
    parser.add_argument("--cache", type=Path, default=Path("build/paper"), help="as run.py's")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where to write")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    settings = {m: plan.choosing(m) for m in SETTINGS} if arguments.quick else SETTINGS
    rows = _rows(plan, arguments.seeds or plan.seeds, arguments.cache, settings)
    if arguments.quick:
        from orderings import failures_of_matrices

        broken = failures_of_matrices(rows)
        print("\n".join(broken) or "Every ordering that the full run established holds.")
        return 1 if broken else 0
    from figures import save_trade_offs
    from tables import tables_of_matrices

    arguments.output.mkdir(parents=True, exist_ok=True)
    write_rows(arguments.output / "results.csv", rows)
    (arguments.output / "tables.md").write_text(tables_of_matrices(rows, plan.networks))
    save_trade_offs(rows, plan.networks, False, arguments.output, WHOLE)
    print(f"Tables and plots: {arguments.output}")
    return 0


def _rows(
    plan: Plan, seeds: Sequence[int], cache: Path, settings: Mapping[str, Sequence[float]]
) -> list[Row]:
    """Of the settings asked for; `run.py` has others."""
    studies: dict[str, Study] = {name: STUDIES[name] for name in ("uncompressed", "objectives")}
    for method, own in settings.items():
        studies[f"matrix-{method}"] = partial(study, method=method, settings=own)
    rows: list[Row] = []
    for seed in seeds:
        for network in plan.networks:
            said = partial(print, f"{network}, seed {seed}:", flush=True)
            rows += run_cell(TASK, plan, network, seed, None, cache, said, studies)
    return [row for row in rows if not row.method or row.setting in settings[row.method]]


if __name__ == "__main__":
    sys.exit(main())
