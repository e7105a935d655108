"""Which score made a kernel refuse to prune: kernels tell that there is one, wherever they run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from wkmeans._kernels.arrays import Operand, check_values
from wkmeans._kernels.checks import bad_value_message, first_index_where, overflow_message

_EXPECTED = "scores I w^2 + H w^4 below 1.8e308"


@contextmanager
def explained_scores(problems: Iterable[Mapping[str, Operand]]) -> Iterator[None]:
    """Turns the kernels' report of a score beyond float64 into a sentence that a caller can act on.

    `problems` are looked at only then: each one's weights and importances, by the name that errors
    use. A bad value of any comes first.
    """
    try:
        yield
    except OverflowError:
        looked_at = list(problems)
        for operands in looked_at:
            check_values(operands)
        for operands in looked_at:
            _check_scores(operands)
        raise ValueError(bad_value_message("weights", None, None)) from None


def _check_scores(operands: Mapping[str, Operand]) -> None:
    by_kind = {name.split("[")[0]: operand.values() for name, operand in operands.items()}
    weights = by_kind["weights"]
    with np.errstate(over="ignore"):
        square = weights * weights
        scores = _times(by_kind.get("importance", np.ones(())), square)
        if "quartic_importance" in by_kind:
            scores = scores + _times(by_kind["quartic_importance"], square * square)
    beyond = first_index_where(np.isinf(scores))
    if beyond is not None:
        name, value = next(iter(operands)), float(weights[beyond])
        raise OverflowError(overflow_message(name, _EXPECTED, beyond, value)) from None


def _times(
    importance: npt.NDArray[np.float64], power: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The product; an importance of zero takes an infinite power to zero."""
    return importance * np.where(importance > 0, power, 0)
