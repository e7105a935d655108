"""One layer of a recurrent network in one direction, and its derivatives for many seeds at once.

What the input adds to the gates comes from outside, a product over all steps together; here is what
each step does with it and with the state before. A backward pass goes through the steps once, with
all seeds and examples side by side: it gives the deltas at the gates, from which every parameter's
gradient follows, as every step uses the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function

# How many gates a cell has, each as wide as its state.
LSTM, GRU, TANH, RELU = "lstm", "gru", "tanh", "relu"
_GATES = {LSTM: 4, GRU: 3, TANH: 1, RELU: 1}


@dataclass(frozen=True)
class Steps:
    """What a pass leaves behind: tensors ``(steps, examples, ...)``, in the order of time.

    ``previous`` are the states before each step. The derivative at gate ``g`` is ``slopes[g]``
    times that at the state, or for an LSTM's first three that at the cell. ``carried`` is what
    the state (the cell, in an LSTM) hands on to itself past the gates, ``opening`` an LSTM's
    derivative of the state in the cell, ``factor`` a GRU's of the gates in what the state adds.
    """

    previous: torch.Tensor
    slopes: torch.Tensor
    carried: torch.Tensor | None = None
    opening: torch.Tensor | None = None
    factor: torch.Tensor | None = None


def recurrence(
    gates: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor | None, weight: torch.Tensor,
    bias: torch.Tensor | None, kind: str, reverse: bool,
) -> torch.Tensor:  # fmt: skip
    """States ``(steps, examples, width)`` of a layer, for an LSTM followed by its last cell.

    ``gates`` is ``(steps, examples, gates * width)``, what the input adds to them; ``hidden`` and
    ``cell`` are ``(examples, width)``; ``weight`` and ``bias`` take the state to the gates.
    ``reverse`` goes from the last step to the first. A function to torch's modes, and of any
    derivative.
    """
    tensors = (gates, hidden, cell, weight, bias)
    if has_torch_function(tensors):
        found: torch.Tensor = handle_torch_function(recurrence, tensors, *tensors, kind, reverse)
        return found
    states: torch.Tensor = _Recurrence.apply(*tensors, kind, reverse)  # type: ignore[no-untyped-call]
    return states


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gates: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor | None,
        weight: torch.Tensor, bias: torch.Tensor | None, kind: str, reverse: bool,
    ) -> torch.Tensor:  # fmt: skip
        """The states, and the steps for backward passes."""
        states, ctx.steps = _forward(gates, hidden, cell, weight, bias, kind, reverse)
        ctx.save_for_backward(gates, hidden, cell, weight, bias)
        ctx.kind, ctx.reverse = kind, reverse
        return states

    @staticmethod
    def backward(ctx: Any, delta: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """One seed's derivatives; where they are to be derived again, by torch's own operations."""
        if torch.is_grad_enabled():
            return *_derivable(ctx, delta), None, None
        steps: Steps = ctx.steps
        _, _, cell, weight, bias = ctx.saved_tensors
        at_gates, at_hidden, at_cell = (d[0] for d in pulled_back(ctx, delta.unsqueeze(0)))
        of_state = at_gates if steps.factor is None else at_gates * steps.factor
        at_weight = at_bias = None
        if ctx.needs_input_grad[3]:
            rows = of_state.reshape(-1, len(weight))
            at_weight = rows.T @ steps.previous.reshape(-1, weight.shape[1])
        if bias is not None and ctx.needs_input_grad[4]:
            at_bias = of_state.sum((0, 1))
        of_cell = None if cell is None else at_cell
        return at_gates, at_hidden, of_cell, at_weight, at_bias, None, None


def pulled_back(node: Any, delta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Derivatives at the gates, the first state and the first cell, each with seeds in front.

    ``node`` is the graph's of a recurrence, ``delta`` ``(seeds, *states)``.
    """
    steps: Steps = node.steps
    weight = node.saved_tensors[3].to(delta.dtype)
    n_steps, n, width = steps.previous.shape
    hidden = torch.zeros_like(delta[:, 0])
    cell = delta[:, n_steps] if node.kind == LSTM else hidden
    found: list[Any] = [None] * n_steps
    for t in _order(n_steps, not node.reverse):
        hidden = hidden + delta[:, t]
        if steps.opening is not None and steps.carried is not None:
            cell = cell + hidden * steps.opening[t]
            slopes = steps.slopes[t]
            inner = cell.unsqueeze(2) * slopes[:, :3]
            each = torch.cat([inner, hidden.unsqueeze(2) * slopes[:, 3:]], 2)
            cell = cell * steps.carried[t]
            past = None
        else:
            each = hidden.unsqueeze(2) * steps.slopes[t]
            past = None if steps.carried is None else hidden * steps.carried[t]
        found[t] = each.reshape(*each.shape[:2], -1)
        of_state = found[t] if steps.factor is None else found[t] * steps.factor[t]
        hidden = (of_state.reshape(-1, of_state.shape[2]) @ weight).reshape(-1, n, width)
        hidden = hidden if past is None else hidden + past
    return torch.stack(found, 1), hidden, cell


def _forward(
    gates: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor | None, weight: torch.Tensor,
    bias: torch.Tensor | None, kind: str, reverse: bool,
) -> tuple[torch.Tensor, Steps]:  # fmt: skip
    width = hidden.shape[1]
    each: list[Any] = [None] * len(gates)
    for t in _order(len(gates), reverse):
        added = functional.linear(hidden, weight, bias)
        step = _step(gates[t], added, hidden, cell, kind)
        each[t] = hidden, step
        hidden, cell = step[0], step[1]
    previous = torch.stack([before for before, _ in each])
    states = torch.stack([step[0] for _, step in each])
    inner = [torch.stack(parts) for parts in zip(*(step[2:] for _, step in each), strict=True)]
    if kind == LSTM and cell is not None:
        i, f, g, o, before, after = inner
        opened = after.tanh()
        parts = (g * i * (1 - i), before * f * (1 - f), i * (1 - g * g), opened * o * (1 - o))
        kept = Steps(previous, torch.stack(parts, 2), f, o * (1 - opened * opened))
        return torch.cat([states, cell.unsqueeze(0)]), kept
    if kind == GRU:
        r, z, g, added = inner
        inward = (1 - z) * (1 - g * g)
        triple = (inward * added * r * (1 - r), (previous - g) * z * (1 - z), inward)
        factor = torch.cat([torch.ones_like(r), torch.ones_like(r), r], 2)
        return states, Steps(previous, torch.stack(triple, 2), z, factor=factor)
    slope = 1 - states * states if kind == TANH else (states > 0).to(states.dtype)
    return states, Steps(previous, slope.reshape(len(states), -1, 1, width))


def _step(
    gates: torch.Tensor, added: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor | None,
    kind: str,
) -> tuple[Any, ...]:  # fmt: skip
    """The next state and cell, and what their derivatives need."""
    if kind == LSTM and cell is not None:
        i, f, g, o = (gates + added).chunk(4, 1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        after = f * cell + i * g
        return o * after.tanh(), after, i, f, g, o, cell, after
    if kind == GRU:
        (r, z, g), (of_r, of_z, of_g) = gates.chunk(3, 1), added.chunk(3, 1)
        r, z = (r + of_r).sigmoid(), (z + of_z).sigmoid()
        g = (g + r * of_g).tanh()
        return (1 - z) * g + z * hidden, None, r, z, g, of_g
    summed = gates + added
    return (summed.tanh() if kind == TANH else summed.relu()), None


def _derivable(ctx: Any, delta: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """The derivatives as functions of what they depend on: the steps are gone through again."""
    inputs: Any = ctx.saved_tensors
    wanted = [
        tensor for tensor, needed in zip(inputs, ctx.needs_input_grad, strict=False)
        if tensor is not None and needed
    ]  # fmt: skip
    with torch.enable_grad():
        gates, hidden, cell, weight, bias = inputs
        states, _ = _forward(gates, hidden, cell, weight, bias, ctx.kind, ctx.reverse)
        found = iter(
            torch.autograd.grad(states, wanted, delta, create_graph=True, allow_unused=True)
        )
    return tuple(
        next(found) if tensor is not None and needed else None
        for tensor, needed in zip(inputs, ctx.needs_input_grad, strict=False)
    )


def _order(n: int, reverse: bool) -> Iterator[int]:
    return reversed(range(n)) if reverse else iter(range(n))
