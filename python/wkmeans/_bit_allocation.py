"""`wkmeans.allocate_bits`: one price of a bit for all tensors, found for a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from wkmeans._arrays import ArrayLike
from wkmeans._entropy_constrained import EntropyConstrained, EntropySolver
from wkmeans._ranks import map_over_ranks

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Result = TypeVar("Result")

_TOLERANCE = 0.005  # of the budget may be left unused
# Of multipliers, as exponents of 2: where sizes jump nothing lies between two this near.
_NARROWEST = 1e-6
_LARGEST_EXPONENT = 900.0


@dataclass(frozen=True, eq=False)
class BitAllocation:
    """Codebooks of several tensors at one price of a bit.

    Attributes
    ----------
    tensors : dict of EntropyConstrained
        In the order of the weights.
    multiplier : float
        What one bit is worth, in the unit of the cost: no tensor could save as much cost with a bit
        more as another would lose with a bit less.
    cost : float
        Sum of the tensors' costs.
    bits : float
        Sum of their label entropies and of `centroid_bits` for each centroid: at most the budget.
    """

    tensors: dict[str, EntropyConstrained]
    multiplier: float
    cost: float
    bits: float


def allocate_bits(
    weights: Mapping[str, ArrayLike],
    bits: float,
    *,
    k: int,
    importance: Mapping[str, ArrayLike | None] | None = None,
    quartic_importance: Mapping[str, ArrayLike | None] | None = None,
    centroid_bits: float = 32.0,
    include_zero: bool = False,
    max_iter: int = 50,
    group: ProcessGroup | None = None,
    n_threads: int | None = None,
) -> BitAllocation:
    """Entropy-constrained codebooks of all tensors within one budget of bits.

    Parameters
    ----------
    weights : mapping of array_like
        As for `wkmeans.wkmeans`.
    bits : float
        The budget: entropy of all labels and `centroid_bits` for each centroid.
    k : int
        Most codewords of a tensor.
    importance, quartic_importance : mapping of array_like or None, optional
        In one unit for all tensors, with an entry (maybe None) for each of them.
    centroid_bits : float
        What storing a centroid takes.
    include_zero, max_iter, n_threads
        As for `entropy_constrained`.
    group : torch.distributed.ProcessGroup, optional
        Splits the tensors over its ranks, each of which gets the whole answer, the same to the last
        bit as without a group.

    Returns
    -------
    BitAllocation
        Its bits are at most the budget, and mostly within 0.5 % of it; less where another codeword
        in a tensor would go beyond it, or where more bits would save nothing.

    Raises
    ------
    ValueError
        As `entropy_constrained`, and where one codeword a tensor takes more than the budget.

    Notes
    -----
    About ten times `entropy_constrained` of everything, the optimal solver once.
    """
    names = list(weights)
    if not names:
        raise ValueError("weights: expected at least one array, got an empty mapping")

    def entry(mapping: Mapping[str, Any] | None, argument: str, name: str) -> Any:
        if mapping is not None and name not in mapping:
            raise ValueError(f"{argument}: expected an entry for each weight, none for {name!r}")
        return None if mapping is None else mapping[name]

    solvers = {
        name: EntropySolver(
            weights[name],
            entry(importance, "importance", name),
            entry(quartic_importance, "quartic_importance", name),
            k=k,
            include_zero=include_zero,
            n_threads=n_threads,
            entry=f"[{name!r}]",
        )
        for name in names
    }
    sizes = {name: solver.n_items for name, solver in solvers.items()}
    spread = partial(map_over_ranks, items=solvers, sizes=sizes, group=group)
    starts = spread(lambda name, solver: solver.optimal_starts())

    def solve(multiplier: float) -> Callable[[str, EntropySolver], EntropyConstrained]:
        return lambda name, solver: solver.best_of(starts[name], multiplier, max_iter)

    def sized(multiplier: float) -> BitAllocation:
        """Without labels, which need not travel between ranks until the multiplier is known."""
        solved = solve(multiplier)
        tensors = spread(lambda name, solver: replace(solved(name, solver), labels=None))
        return BitAllocation(
            tensors=tensors,
            multiplier=multiplier,
            cost=math.fsum(tensor.cost for tensor in tensors.values()),
            bits=math.fsum(t.bits + centroid_bits * len(t.centroids) for t in tensors.values()),
        )

    best = sized(0.0)
    if best.bits > bits:
        n_weights = sum(sizes.values())
        first = 2 * math.log(2) * best.cost / n_weights or 1.0  # right at high resolution
        best = within_budget(sized, lambda found: found.bits, bits, n_weights, first)
    return replace(best, tensors=spread(solve(best.multiplier)))


def within_budget(
    at: Callable[[float], Result],
    size_of: Callable[[Result], float],
    budget: float,
    n_weights: int,
    first: float,
) -> Result:
    """The result at the least multiplier found at which the size, in bits, is within the budget.

    Sizes fall, in steps, as the multiplier grows. At high resolution four times the multiplier save
    a bit a weight: steps by that rule from the first one lead to a bracket, inside which
    interpolation and bisection take turns.
    """
    search = _Bracket()
    exponent = math.log2(first)
    stride = 0.0
    best: Result | None = None
    while search.is_wide and abs(exponent) <= _LARGEST_EXPONENT:
        result = at(2.0**exponent)
        size = size_of(result)
        search.add(exponent, size - budget)
        if size <= budget:
            best = result
            if size >= (1 - _TOLERANCE) * budget:
                break
        if search.is_closed:
            exponent = search.next_exponent()
        else:
            stride = max(2 * abs(size - budget) / n_weights, 2 * stride, 0.25)
            exponent += math.copysign(stride, size - budget)
    if best is None:
        raise ValueError(
            f"bits: expected at least {size:.6g}, what one codeword a tensor takes, "
            f"got {budget:.6g}"
        )
    return best


class _Bracket:
    """Between the largest exponent known to be too small and the least known to be large enough."""

    def __init__(self) -> None:
        self._low, self._excess_at_low = -math.inf, 0.0
        self._high, self._excess_at_high = math.inf, 0.0
        self._bisects = True

    @property
    def is_closed(self) -> bool:
        return math.isfinite(self._high - self._low)

    @property
    def is_wide(self) -> bool:
        return self._high - self._low > _NARROWEST

    def add(self, exponent: float, excess: float) -> None:
        if excess > 0:
            self._low, self._excess_at_low = exponent, excess
        else:
            self._high, self._excess_at_high = exponent, excess

    def next_exponent(self) -> float:
        self._bisects = not self._bisects
        share = self._excess_at_low / (self._excess_at_low - self._excess_at_high)
        share = 0.5 if self._bisects else min(max(share, 0.05), 0.95)
        return self._low + share * (self._high - self._low)
