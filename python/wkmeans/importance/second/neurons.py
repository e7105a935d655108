"""Hessian diagonals from the curvature of the loss in a layer's outputs.

The output ``z`` of a layer is affine in its parameters, so with ``J = dz/dw`` the diagonal of the
loss's Hessian is that of ``J' M J``, ``M`` the Hessian in ``z``: a product for each *output*, all
examples at once, gives it exactly, and one random product an unbiased estimate. It holds where a
parameter is used once: used again deeper down, the layer's input would depend on it too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch.nn import functional

from wkmeans.importance.first.contributions import Total, slices
from wkmeans.importance.first.engine import Recording, contributions_of, gradients
from wkmeans.importance.first.reductions import Reduction
from wkmeans.importance.first.rules import RULES
from wkmeans.importance.first.tape import Use
from wkmeans.importance.losses.losses import Probes
from wkmeans.importance.model.functional import Tensors
from wkmeans.importance.model.layout import Layout
from wkmeans.importance.second.paired import add_products

_BYTES_AT_ONCE = 8 * 2**20


def single_uses(recording: Recording, names: Collection[str]) -> list[tuple[Use, Layout]]:
    """The uses of those of ``names`` that are read once, whole, by a function affine in them."""
    uses_of: dict[str, int] = {}
    for use in recording.uses:
        for slot in use.slots.values():
            uses_of[slot.name] = uses_of.get(slot.name, 0) + 1
    return [
        (use, layout)
        for use, layout in zip(recording.uses, recording.plan.layouts, strict=True)
        if layout is not None and use.rule.arguments and use.rule.is_affine
        and all(slot.name in recording.plan.covered for slot in use.slots.values())
        and any(slot.name in names for slot in use.slots.values())
        and all(uses_of[slot.name] == 1 and not slot.rows for slot in use.slots.values())
    ]  # fmt: skip


def n_outputs(use: Use, layout: Layout, n: int) -> int | None:
    """Products that `exact` needs for a use; ``None`` where it is not for it."""
    if use.rule is not RULES[functional.linear]:
        return None
    positions = layout.split(torch.empty(use.lead, device="meta"), n, len(use.lead)).shape[1]
    return int(positions * len(use.arguments["weight"]))


def exact(
    recording: Recording, use: Use, layout: Layout, loss: torch.Tensor, reduction: Reduction,
    totals: Tensors,
) -> None:  # fmt: skip
    """Add ``h`` (``FIRST``) or ``h^2 / 4`` of a linear layer's weight and bias to ``totals``.

    ``loss`` is the sum over examples, with its graph. Costs `n_outputs` backward passes through the
    first one.
    """
    n, lead = len(recording), len(use.lead)
    inputs = layout.split(use.arguments["input"], n, lead)
    delta = _delta(loss, use)
    wide = torch.promote_types(inputs.dtype, torch.float32)
    inputs = inputs.to(wide)
    for rows in slices(len(use.arguments["weight"]), _rows_at_once(recording, use)):
        curvature = _block(delta, use, layout, n, rows).to(wide)  # (rows, examples, t, t)
        along = {"weight": ((curvature @ inputs) * inputs).sum(2), "bias": curvature.sum((2, 3))}
        for argument, slot in use.slots.items():
            if slot.name in totals:
                values = along[argument].transpose(0, 1)
                Total(slot.of(totals)[rows]).add(_power(values, reduction).sum(0))


def estimate(
    recording: Recording, use: Use, layout: Layout, loss: torch.Tensor, reduction: Reduction,
    probes: Probes, totals: Tensors, variances: Tensors,
) -> None:  # fmt: skip
    """Add unbiased estimates of ``h`` (``FIRST``) or ``h^2 / 4`` (``PAIRS``), and their variances.

    Hutchinson's, for the layer's outputs instead of its weights: ``(J' v) (J' M v)`` for signs
    ``v``. One pass through the first backward pass for each probe.
    """
    delta = _delta(loss, use)
    count = probes.count or 1
    signs = probes.signs((count, *delta.shape), delta).to(delta.dtype)
    products = [
        found if (found := gradients(delta, [use.edge], sign)[0]) is not None
        else torch.zeros_like(delta)
        for sign in (signs if delta.requires_grad else ())
    ]  # fmt: skip
    if not products:
        return
    n = len(recording)
    first = dict(contributions_of(use, layout, signs, n))
    second = dict(contributions_of(use, layout, torch.stack(products), n))
    for slot in first:
        if slot.name in totals:
            add_products(first[slot], second[slot], reduction, slot, totals, variances)


def _delta(loss: torch.Tensor, use: Use) -> torch.Tensor:
    """The derivative of the loss at the use's output, itself differentiable."""
    (delta,) = torch.autograd.grad(loss, [use.edge], create_graph=True)
    return delta


def _block(delta: torch.Tensor, use: Use, layout: Layout, n: int, rows: slice) -> torch.Tensor:
    """``d2 L_n / dz_to dz_uo`` for the outputs ``rows``: ``(rows, examples, t, u)``."""
    lead = len(use.lead)
    chosen = layout.split(delta, n, lead)[..., rows]
    _, n_positions, n_rows = chosen.shape
    if not delta.requires_grad:
        return chosen.new_zeros(n_rows, n, n_positions, n_positions)
    axes = torch.eye(n_positions * n_rows).reshape(-1, 1, n_positions, n_rows).to(chosen)
    found = _products(chosen, use, axes.expand(-1, n, -1, -1))
    if found is None:
        return chosen.new_zeros(n_rows, n, n_positions, n_positions)
    columns = layout.split(found, n, lead, batched=1)[..., rows]
    blocks = columns.reshape(n_positions, n_rows, n, n_positions, n_rows)
    return torch.einsum("tonuo->ontu", blocks)


def _products(chosen: torch.Tensor, use: Use, axes: torch.Tensor) -> torch.Tensor | None:
    try:
        return gradients(chosen, [use.edge], axes, is_grads_batched=True)[0]
    except RuntimeError:  # an operation that vmap refuses
        each = [gradients(chosen, [use.edge], axis)[0] for axis in axes]
        kept = [product for product in each if product is not None]
        return torch.stack(kept) if kept else None


def _rows_at_once(recording: Recording, use: Use) -> int:
    n_positions = use.output_bytes // (len(recording) * len(use.arguments["weight"]))
    return max(1, _BYTES_AT_ONCE // max(1, use.output_bytes * n_positions))


def _power(diagonals: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    return diagonals if reduction is Reduction.FIRST else diagonals.square() / 4


def slots_of(uses: Sequence[tuple[Use, Layout]]) -> dict[str, tuple[Use, Layout]]:
    """Which use reads each parameter."""
    return {slot.name: (use, layout) for use, layout in uses for slot in use.slots.values()}
