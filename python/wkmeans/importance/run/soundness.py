"""Sums that are no numbers: found after the batch that brought them."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from wkmeans.importance.model.functional import Tensors

_FIRST = {
    "fisher": "Fisher information",
    "gradient": "squared gradient",
    "gradient+hessian": "squared gradient",
    "hessian": "second derivative",
}
_QUARTIC = "squared second derivative (the quartic importance)"
_ADVICE = (
    "; a function without one, as the square root has none at 0, makes it so: objective "
    '"gradient" or "fisher", or curvature="gauss-newton", does without'
)


def require_finite(
    objective: str, position: int, sums: Tensors, quartic_sums: Tensors,
    variance_sums: Tensors, quartic_variance_sums: Tensors,
) -> None:  # fmt: skip
    """Raise ``ValueError`` naming the batch, the quantity and the first parameter concerned."""
    first = _FIRST[objective]
    for totals, quantity in (
        (sums, first),
        (quartic_sums, _QUARTIC),
        (variance_sums, f"variance of the {first}"),
        (quartic_variance_sums, f"variance of the {_QUARTIC}"),
    ):
        require_finite_sums(position, quantity, totals)


def require_finite_sums(
    position: int, quantity: str, totals: Tensors, of: str = "derivatives"
) -> None:
    """The same for sums of one quantity."""
    name = first_unsound(totals)
    if name is not None:
        index, value = first_bad(totals[name])
        advice = _ADVICE if "second derivative" in quantity else ""
        raise ValueError(
            f"batches: expected finite {of}, got {value} in batch {position} as the "
            f"{quantity} of {name!r} at index {index}{advice}"
        )


def first_unsound(totals: Tensors) -> str | None:
    """The first name whose values are not all finite. One pass, and one answer from a device."""
    if not totals:
        return None
    together = _on_one_device(total.sum() for total in totals.values())
    if bool(together.isfinite().all()):
        return None
    # A sum of finite values may itself overflow.
    return next((n for n, total in totals.items() if not bool(total.isfinite().all())), None)


def first_bad(values: torch.Tensor) -> tuple[tuple[int, ...], float]:
    """Where the first value is that is not finite, and what it is."""
    index = tuple((~values.isfinite()).nonzero()[0].tolist())
    return index, float(values[index])


def _on_one_device(scalars: Iterable[torch.Tensor]) -> torch.Tensor:
    each = list(scalars)
    if len({scalar.device for scalar in each}) > 1:
        each = [scalar.cpu() for scalar in each]
    return torch.stack(each)
