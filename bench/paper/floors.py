"""What `compress`'s floor changes of the paper's objective: `python bench/paper/floors.py`.

The paper's experiments (`run.py`) hand importances as they are to `wkmeans.wkmeans` and
`wkmeans.prune`: the raw objective. Here the same networks are quantised under Fisher's importances
by `wkmeans.compress`, raw (`floor=0`) and with floors. Networks and importances that `run.py` left
in its cache serve here too. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

from compression import Compressed
from experiment import Laboratory, cell_directory
from networks import Score
from plan import FULL

import wkmeans

FLOORS = (0.0, 0.1, 1.0)
KS = (2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=FULL.seeds)
    parser.add_argument("--cache", type=Path, default=Path("build/paper"), help="as run.py's")
    parser.add_argument("--networks", nargs="+", default=FULL.networks, choices=FULL.networks)
    arguments = parser.parse_args()
    columns = ["unweighted", *(f"floor {floor:g}" for floor in FLOORS)]
    print(f"| network | k | {' | '.join(columns)} |\n|---|---:|{'---:|' * len(columns)}")
    for network in arguments.networks:
        labs = [_laboratory(network, seed, arguments.cache) for seed in arguments.seeds]
        for k in KS:
            cells = [_cell([_score(lab, k, floor) for lab in labs]) for floor in (None, *FLOORS)]
            print(f"| {network} | {k} | {' | '.join(cells)} |", flush=True)


def _laboratory(network: str, seed: int, cache: Path) -> Laboratory:
    task = "fashion-mnist"
    cell = cell_directory(cache, FULL, task, network, seed)
    cell.mkdir(parents=True, exist_ok=True)
    return Laboratory.of(task, FULL, network, seed, None, cell)


def _score(lab: Laboratory, k: int, floor: float | None) -> Score:
    """Of the network with k centroids a tensor; no floor: every weight counts 1."""
    weights = dict(lab.estimates.weights)
    importances = None if floor is None else lab.estimates.objective("fisher")
    model = wkmeans.compress(weights, k=k, importances=importances, floor=floor)
    return lab.score(Compressed(model.state_dict(), 0.0, 0.0), lab.test)


def _cell(scores: list[Score]) -> str:
    accuracy = 100 * fmean(score.accuracy for score in scores)
    return f"{accuracy:.1f} %, {fmean(score.cross_entropy for score in scores):.3f}"


if __name__ == "__main__":
    main()
