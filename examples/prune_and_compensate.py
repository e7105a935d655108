"""Prune a layer 2:4, and let the weights that are left make up for the others.

pip install wkmeans && python examples/prune_and_compensate.py
"""

from __future__ import annotations

import numpy as np

import wkmeans


def main() -> None:
    rng = np.random.default_rng(0)
    weights = 0.05 * rng.normal(0, 1, (32, 128))
    inputs = rng.normal(0, 1, (1024, 128)) @ rng.normal(0, 0.2, (128, 128))
    matrix = inputs.T @ inputs / len(inputs)

    def error(candidate: np.ndarray) -> float:
        missed = np.square(inputs @ (candidate - weights).T).sum()
        return float(missed / np.square(inputs @ weights.T).sum())

    by_size = wkmeans.prune(weights, pattern=(2, 4))
    by_matrix = wkmeans.prune(weights, pattern=(2, 4), importance_matrix=matrix)
    print(f"the largest two of four:       {error(weights * by_size):.3f}")
    print(
        f"compensated:                   "
        f"{error(wkmeans.compensate(weights, by_size, importance_matrix=matrix)):.3f}"
    )
    print(
        f"chosen by the matrix as well:  "
        f"{error(wkmeans.compensate(weights, by_matrix, importance_matrix=matrix)):.3f}"
    )


if __name__ == "__main__":
    main()
