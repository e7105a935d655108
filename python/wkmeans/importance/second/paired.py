"""Sums over examples of products of two gradients, each product an estimate of a diagonal."""

from __future__ import annotations

from wkmeans.importance.first.contributions import Contribution, Rows, Total, slices
from wkmeans.importance.first.products import Products
from wkmeans.importance.first.reductions import Reduction, combined, multiplied
from wkmeans.importance.first.tape import Slot
from wkmeans.importance.model.functional import Tensors

_BYTES_AT_ONCE = 8 * 2**20


def add_products(
    first: Contribution,
    second: Contribution,
    reduction: Reduction,
    slot: Slot,
    totals: Tensors,
    variances: Tensors,
) -> None:
    """Add ``h`` (``FIRST``) or ``h^2 / 4`` (``PAIRS``), and the variance of the sum.

    Each probe's ``first`` times ``second``, of one use, is an estimate of an example's ``h``.
    """
    scale = 1.0 if reduction is Reduction.FIRST else 0.25
    wanted = [(reduction, Total(slot.of(totals), scale))]
    if first.n_seeds > 1:
        wanted.append((reduction.variance, Total(slot.of(variances), scale**2)))
    if isinstance(first, Rows) and isinstance(second, Rows):
        _add_rows(first, second, wanted)
    elif isinstance(first, Products) and isinstance(second, Products) and first.left.shape[-1] == 1:
        _add_factors(first, second, wanted)
    else:
        _add_dense(first, second, wanted)


def _add_rows(first: Rows, second: Rows, wanted: list[tuple[Reduction, Total]]) -> None:
    rows, _, gradients = first.gathered()
    estimates = gradients * second.gathered()[2] / first.n_seeds
    for reduction, total in wanted:
        total.add_rows(rows, combined(estimates, reduction))


def _add_factors(first: Products, second: Products, wanted: list[tuple[Reduction, Total]]) -> None:
    """Without positions estimates factorise, as squares do."""
    left, right = (
        (one * other)[..., 0] for one, other in zip(first.sides(), second.sides(), strict=True)
    )
    for reduction, total in wanted:
        total.add(multiplied(left / first.n_seeds, right, reduction).reshape(first.shape))


def _add_dense(
    first: Contribution, second: Contribution, wanted: list[tuple[Reduction, Total]]
) -> None:
    count = first.n_seeds
    at_once = max(1, _BYTES_AT_ONCE // (count * first.bytes_of_one))
    for examples in slices(first.n_examples, at_once):
        every = slice(0, count)
        estimates = first.dense(every, examples) * second.dense(every, examples)
        estimates /= count
        for reduction, total in wanted:
            total.add(combined(estimates, reduction).sum(0))
