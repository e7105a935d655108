"""Recurrent layers and cells in parts that the rules know: products over all steps, and steps.

torch's own functions take a whole stack of layers at once and say nothing of their inside. These do
the same work, layer after layer; what they do not cover is left to torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from wkmeans.importance.first.recurrence import GRU, LSTM, RELU, TANH, recurrence

Function = Callable[..., Any]


def in_parts(function: Function, args: tuple[Any, ...]) -> Function | None:
    """What to call instead of ``function(*args)``; ``None`` where it is not for these."""
    if not torch.is_grad_enabled():
        return None
    if function in _LAYERS and _is_padded(args):
        return partial(_layers, _LAYERS[function], *args)
    if function in _CELLS and args[0].ndim == 2:
        return partial(_cell, _CELLS[function], *args)
    return None


def _layers(kind: str, inputs: torch.Tensor, state: Any, weights: Any, *rest: Any) -> Any:
    """``torch.lstm`` and its kind: ``(output, last states[, last cells])``."""
    has_biases, n_layers, _dropout, _training, is_bidirectional, batch_first = rest
    hidden, cell = state if kind == LSTM else (state, None)
    n_directions = 2 if is_bidirectional else 1
    each = 4 if has_biases else 2
    values = (inputs.transpose(0, 1) if batch_first else inputs).contiguous()
    last: list[torch.Tensor] = []
    last_cells: list[torch.Tensor] = []
    for layer in range(n_layers):
        outputs = []
        for direction in range(n_directions):
            k = layer * n_directions + direction
            states = _direction(
                values, hidden[k], None if cell is None else cell[k],
                weights[k * each : (k + 1) * each], kind, reverse=direction == 1,
            )  # fmt: skip
            outputs.append(states[: len(values)])
            last.append(states[0 if direction else len(values) - 1])
            last_cells += [states[len(values)]] if kind == LSTM else []
        values = outputs[0] if n_directions == 1 else torch.cat(outputs, -1)
    values = values.transpose(0, 1) if batch_first else values
    found = [torch.stack(tensors) for tensors in (last, last_cells) if tensors]
    return values, *found


def _cell(
    kind: str, inputs: torch.Tensor, state: Any, w_ih: Any, w_hh: Any,
    b_ih: Any = None, b_hh: Any = None,
) -> Any:  # fmt: skip
    """``torch.lstm_cell`` and its kind: one step."""
    hidden, cell = state if kind == LSTM else (state, None)
    weights = [w_ih, w_hh, *(b for b in (b_ih, b_hh) if b is not None)]
    states = _direction(inputs.unsqueeze(0), hidden, cell, weights, kind, reverse=False)
    return (states[0], states[1]) if kind == LSTM else states[0]


def _direction(
    values: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor | None,
    weights: Sequence[torch.Tensor], kind: str, *, reverse: bool,
) -> torch.Tensor:  # fmt: skip
    w_ih, w_hh, *biases = weights
    b_ih, b_hh = biases or (None, None)
    gates = functional.linear(values, w_ih, b_ih)
    wanted = any(p is not None and p.requires_grad for p in (w_hh, b_hh))
    if wanted and not gates.requires_grad:  # a place in the graph, for the state's own parameters
        gates = gates.detach().requires_grad_().clone()
    return recurrence(gates, hidden, cell, w_hh, b_hh, kind, reverse)


def _is_padded(args: tuple[Any, ...]) -> bool:
    """Whether these are the arguments of a padded batch: packed ones come in another order."""
    if len(args) != 9 or not isinstance(args[2], (list, tuple)):
        return False
    inputs, state, weights, has_biases, n_layers, dropout, training, is_bidirectional, _ = args
    n_directions = 2 if is_bidirectional else 1
    is_whole = len(weights) == n_layers * n_directions * (4 if has_biases else 2)  # no projection
    hidden = state[0] if isinstance(state, (tuple, list)) else state
    is_filled = inputs.ndim == 3 and inputs.numel() > 0 and hidden.ndim == 3
    return is_whole and is_filled and not (training and dropout > 0)


_LAYERS: dict[Function, str] = {
    torch.lstm: LSTM, torch.gru: GRU, torch.rnn_tanh: TANH, torch.rnn_relu: RELU,
}  # fmt: skip
_CELLS: dict[Function, str] = {
    torch.lstm_cell: LSTM, torch.gru_cell: GRU,
    torch.rnn_tanh_cell: TANH, torch.rnn_relu_cell: RELU,
}  # fmt: skip
