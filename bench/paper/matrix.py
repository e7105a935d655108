"""Pruning and quantisation under whole importance matrices, by `wkmeans.compress`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from compression import Compressed, ratio_of_codebooks
from experiment import Laboratory, Row

import wkmeans

WHOLE = "whole matrix"
OWN_BIASES = "whole matrix, own biases"

# Of a pruned tensor, zero among them: `compress` has no pruning without codebooks. Already 32, and
# no pruning, leave the networks' cross-entropy as it is to a hundredth.
_CENTROIDS = 256


def study(lab: Laboratory, method: str, settings: Sequence[float]) -> Iterator[Row]:
    """Rows of Figures 2 to 5: as `compress` answers, and with the biases that the network had."""
    for setting in settings:
        result, candidate = compressed(lab, method, setting)
        weights = {name: result.weights[name] for name in lab.estimates.weights}
        for objective, scored in (
            (WHOLE, result),
            (OWN_BIASES, Compressed(weights, result.ratio, result.cost)),
        ):
            yield lab.row(
                "objectives", objective, scored, method=method, solver=candidate, setting=setting
            )


def compressed(lab: Laboratory, method: str, setting: float) -> tuple[Compressed, str]:
    """The network at a density or k, biases included, and which candidate it is."""
    sizes = {"density": setting, "k": _CENTROIDS} if method == "prune" else {"k": int(setting)}
    model = wkmeans.compress(lab.net, calibration=lab.estimates.inputs, method="matrix", **sizes)
    weights = model.state_dict("torch")
    names = list(lab.estimates.weights)
    if method == "prune":
        kept = sum(int(weights[name].count_nonzero()) for name in names)
        ratio = kept / sum(weights[name].numel() for name in names)
    else:
        ratio = ratio_of_codebooks([_counts(weights[name].numpy(), int(setting)) for name in names])
    tried = model.findings.tried
    candidate = min(tried, key=tried.__getitem__)
    return Compressed(weights, ratio, model.report().cost), candidate


def _counts(weights: np.ndarray, k: int) -> np.ndarray:
    """Labels by centroid; unused centroids are stored, too."""
    counts = np.unique(weights, return_counts=True)[1]
    return np.pad(counts, (0, k - len(counts)))
