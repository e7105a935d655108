"""The paper's two knobs, found on validation data: temperature (C.3.1) and mu (C.3.2)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from wkmeans.importance.losses.alignment import Alignment
from wkmeans.importance.losses.cross_entropy import IGNORED, CrossEntropy
from wkmeans.importance.model.batches import Batch, check_iterable, read_batch
from wkmeans.importance.model.functional import (
    Forward,
    FunctionalModel,
    require_independent_examples,
    whole,
)
from wkmeans.importance.model.lease import lend

_HALVINGS = 60


class SearchResult(NamedTuple):
    """The value of highest score, its score, and every ``(value, score)`` that was tried."""

    best: float
    score: float
    tried: list[tuple[float, float]]


def calibrate_temperature(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    forward: Forward | None = None,
    bounds: tuple[float, float] = (0.05, 20.0),
) -> float:
    """The softmax temperature of lowest cross-entropy on held-out examples (Guo et al. 2017).

    Cross-entropy is convex in ``1 / T``, so the minimum is bracketed and bisected, to rounding.

    Parameters
    ----------
    model, batches, forward
        As for ``estimate``; every batch needs targets, class indices. Logits are
        ``(examples, classes)`` or ``(examples, positions, classes)``; the latter's targets of -100
        do not count.
    bounds : (float, float)
        The least and the largest temperature. Where the minimum lies outside, as for a model that
        is right everywhere, the nearer bound is returned.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For bounds that are no interval of positive numbers, batches without a target, and outputs
        that are not finite.
    TypeError
        For a batch without targets.

    Warns
    -----
    UserWarning
        Where a bound is returned.

    Notes
    -----
    One forward pass; the logits of all examples are kept.
    """
    low, high = bounds
    if not 0 < low < high < math.inf:
        raise ValueError(f"bounds: expected 0 < low < high, finite, got {bounds}")
    logits, labels = _collect(model, batches, forward)

    def slope(log_inverse: float) -> float:
        """The derivative of the cross-entropy in ``1 / T``."""
        probabilities = (logits * math.exp(log_inverse)).softmax(1)
        expected = (probabilities * logits).sum(1)
        return float((expected - logits.gather(1, labels[:, None])[:, 0]).mean())

    left, right = -math.log(high), -math.log(low)
    for end, temperature, is_outside in (
        (left, high, slope(left) >= 0),
        (right, low, slope(right) <= 0),
    ):
        if is_outside:
            warnings.warn(
                f"the cross-entropy falls until the temperature is {math.exp(-end):g}, a bound of "
                "the search",
                stacklevel=2,
            )
            return temperature
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        left, right = (middle, right) if slope(middle) < 0 else (left, middle)
    return math.exp(-(left + right) / 2)


def search_temperature(
    score: Callable[[float], float], temperatures: Sequence[float] = tuple(range(1, 10))
) -> SearchResult:
    """The paper's choice: the temperature in {1, ..., 9} of highest score (C.3.1).

    Parameters
    ----------
    score : function
        Of a temperature: estimate with it, compress, and return the accuracy on held-out examples,
        or any other number that should be high. Called once for each temperature.
    temperatures : sequence of float
        Those to try. Of equal scores the first wins.

    Returns
    -------
    SearchResult
    """
    if not temperatures:
        raise ValueError("temperatures: expected at least one, got none")
    for temperature in temperatures:
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperatures: expected positive, finite numbers, got {temperature}")
    tried = [(float(t), _scored(score, float(t), "temperature")) for t in temperatures]
    return _best(tried)


def search_mu(
    score: Callable[[float], float], *, low: float, high: float, n_steps: int = 8
) -> SearchResult:
    """The Hessian's regulariser by binary search (C.3.2): its score rises, then falls.

    Parameters
    ----------
    score : function
        Of ``mu``: ``importances.with_mu(mu)`` needs no new estimate; compress with it and return
        the accuracy on held-out examples.
    low, high : float
        Positive ends of the search, which halves the interval of ``log mu``.
    n_steps : int
        Halvings; each scores two new values at most.

    Returns
    -------
    SearchResult
        ``mu = 0`` is tried too: where nothing beats it, it is the best.
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"low, high: expected 0 < low < high, finite, got {low} and {high}")
    if n_steps < 1:
        raise ValueError(f"n_steps: expected at least 1, got {n_steps}")
    tried = {0.0: _scored(score, 0.0, "mu")}

    def at(exponent: float) -> float:
        mu = math.exp(exponent)
        if mu not in tried:
            tried[mu] = _scored(score, mu, "mu")
        return tried[mu]

    left, right = math.log(low), math.log(high)
    for _ in range(n_steps):
        middle, step = (left + right) / 2, (right - left) / 16
        rising = at(middle + step) > at(middle - step)
        left, right = (middle, right) if rising else (left, middle)
    at((left + right) / 2)
    return _best(sorted(tried.items()))


def _best(tried: list[tuple[float, float]]) -> SearchResult:
    value, highest = max(tried, key=lambda pair: pair[1])
    return SearchResult(value, highest, tried)


def _scored(score: Callable[[float], float], value: float, name: str) -> float:
    result = float(score(value))
    if math.isnan(result):
        raise ValueError(f"score: expected a number, got NaN for {name} {value:g}")
    return result


@torch.no_grad()
def _collect(
    model: nn.Module, batches: Iterable[Any], forward: Forward | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``(n, classes)``, float64, and labels of everything that has one."""
    check_iterable("batches", batches)
    model = whole(model)
    require_independent_examples(model)
    loss = CrossEntropy(1.0)
    functional = lend(
        model, lambda: FunctionalModel.of(model, lambda _, p: p.is_floating_point(), forward)
    )
    alignment = Alignment(functional, loss, loss)

    def outputs_and_targets(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        batch = alignment.completed(batch)
        outputs = functional(functional.parameters, batch.inputs)
        return outputs, alignment.aligned(batch, outputs, needs_targets=True).labelled

    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    for position, raw in enumerate(batches):
        batch = read_batch(position, raw)
        outputs, targets = lend(model, partial(outputs_and_targets, batch))
        loss.check(outputs, targets)
        counted = targets != IGNORED
        logits = outputs[counted].double()
        if not bool(logits.isfinite().all()):
            raise ValueError(
                f"model: expected finite outputs, got one that is not finite in batch {position}"
            )
        kept.append((logits, targets[counted].long()))
    if not sum(len(labels) for _, labels in kept):
        raise ValueError("batches: expected at least one example, got none")
    return torch.cat([logits for logits, _ in kept]), torch.cat([labels for _, labels in kept])
