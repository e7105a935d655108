"""Analytic per-example gradients: for each function that takes parameters, what one call adds.

A rule sees the call's arguments and the deltas at its output, and never the module: it serves
``nn.Linear``, a tied head ``functional.linear(x, embedding.weight)`` and the projections within
``nn.MultiheadAttention`` alike. What no rule covers, `_per_example` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from wkmeans.importance.first.contributions import Contribution, Rows, Values
from wkmeans.importance.first.convolution import Geometry, Windows, padded
from wkmeans.importance.first.products import Held, Products
from wkmeans.importance.first.recurrence import recurrence

Arguments = dict[str, Any]
Split = Callable[[torch.Tensor], torch.Tensor]
# Deltas are ``(seeds, examples, positions, *rest)``; ``split`` gives any tensor with the output's
# leading dimensions the same form, without the seeds.
Contribute = Callable[[Arguments, torch.Tensor, Split], dict[str, Contribution]]
Lead = Callable[[Arguments, torch.Tensor], int]


@dataclass(frozen=True)
class Rule:
    """How calls of a function are differentiated.

    ``lead(arguments, output)`` is the number of leading dimensions of the output among which the
    examples are; 0 where the rule does not cover the call. ``parameters`` names the arguments that
    ``contribute`` knows the gradients of. Where the function's deltas are those at an argument, not
    at the output, ``at`` names it. ``is_affine``: the output is, in the parameters.
    """

    arguments: tuple[str, ...]
    parameters: tuple[str, ...]
    lead: Lead
    contribute: Contribute
    at: str | None = None
    is_affine: bool = True


RULES: dict[Callable[..., Any], Rule] = {}


def _rule(
    *functions: Callable[..., Any],
    arguments: str,
    lead: Lead,
    parameters: str = "weight bias",
    at: str | None = None,
    is_affine: bool = True,
) -> Callable[[Contribute], Contribute]:
    def register(contribute: Contribute) -> Contribute:
        names, known = tuple(arguments.split()), tuple(parameters.split())
        rule = Rule(names, known, lead, contribute, at, is_affine)
        RULES.update(dict.fromkeys(functions, rule))
        return contribute

    return register


def _all_but_features(_: Arguments, output: torch.Tensor) -> int:
    return output.ndim - 1


def _one_if(condition: bool) -> int:
    return 1 if condition else 0


def _held(values: torch.Tensor) -> Held:
    """``(examples, positions, features)`` as a factor, for one seed or many."""
    values = values if values.ndim == 4 else values.unsqueeze(0)
    return Held(values.mT.unsqueeze(2))


def _over_positions(values: torch.Tensor) -> torch.Tensor:
    """``(seeds, examples, positions, *rest)`` summed over positions."""
    return values[:, :, 0] if values.shape[2] == 1 else values.sum(2)


@_rule(functional.linear, arguments="input weight bias", lead=_all_but_features)
def _linear(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    weight = Products(_held(delta), _held(split(call["input"])), tuple(call["weight"].shape))
    return {"weight": weight, "bias": Values(_over_positions(delta))}


@_rule(
    recurrence, arguments="gates hidden cell weight bias kind reverse", lead=_all_but_features,
    at="gates", is_affine=False,
)  # fmt: skip
def _recurrence(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    """Every step takes the state before it through the same weight."""
    steps = call["steps"]
    if steps.factor is not None:
        delta = delta * split(steps.factor.to(delta.dtype))
    previous = split(steps.previous.to(delta.dtype))
    weight = Products(_held(delta), _held(previous), tuple(call["weight"].shape))
    return {"weight": weight, "bias": Values(_over_positions(delta))}


def _matrix_product_lead(call: Arguments, output: torch.Tensor) -> int:
    is_plain = call["other"].ndim == 2 and not {"beta", "alpha"} & set(call)
    return output.ndim - 1 if is_plain else 0


@_rule(
    torch.Tensor.matmul, torch.matmul, torch.Tensor.mm, torch.mm,
    arguments="input other", lead=_matrix_product_lead, parameters="other",
)  # fmt: skip
def _matmul(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    shape = tuple(call["other"].shape)
    return {"other": Products(_held(split(call["input"])), _held(delta), shape, inputs="left")}


@_rule(
    torch.addmm, torch.Tensor.addmm,
    arguments="bias input other", lead=_matrix_product_lead, parameters="bias other",
)  # fmt: skip
def _addmm(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    contributions = _matmul(call, delta, split)
    if call["bias"].ndim == 1 and call["bias"].shape[0] == delta.shape[-1]:
        contributions["bias"] = Values(_over_positions(delta))
    return contributions


def _convolution_lead(call: Arguments, output: torch.Tensor) -> int:
    return _one_if(output.ndim == call["weight"].ndim)  # not for an input without a batch


@_rule(
    functional.conv1d, functional.conv2d, functional.conv3d,
    arguments="input weight bias stride padding dilation groups", lead=_convolution_lead,
)  # fmt: skip
def _convolution(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    weight = call["weight"]
    geometry = _geometry(call)
    around = geometry.padding_of(call.get("padding", 0))
    windows = Windows(
        padded(split(call["input"]), around).unsqueeze(0), geometry, tuple(delta.shape[4:])
    )
    return {
        "weight": Products(_channels(delta, geometry.groups), windows, tuple(weight.shape)),
        "bias": Values(_sum_positions(delta)),
    }


@_rule(
    functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d,
    arguments="input weight bias stride padding output_padding groups dilation",
    lead=_convolution_lead,
)  # fmt: skip
def _transposed(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    """Input and output change places: the windows are the deltas'."""
    weight, inputs = call["weight"], split(call["input"]).unsqueeze(0)
    geometry = _geometry(call)
    around = geometry.padding_of(call.get("padding", 0))
    windows = Windows(padded(delta, around), geometry, tuple(inputs.shape[4:]))
    return {
        "weight": Products(
            _channels(inputs, geometry.groups), windows, tuple(weight.shape), inputs=""
        ),
        "bias": Values(_sum_positions(delta)),
    }


def _geometry(call: Arguments) -> Geometry:
    return Geometry.of(
        call["weight"].shape[2:], call.get("stride", 1), call.get("dilation", 1),
        call.get("groups", 1),
    )  # fmt: skip


def _channels(values: torch.Tensor, groups: int) -> Held:
    """``(seeds, examples, frames, channels, *space)`` as a factor."""
    rows = values.flatten(4).movedim(2, 3).flatten(3)  # frames are positions
    return Held(rows.reshape(*rows.shape[:2], groups, -1, rows.shape[3]))


def _sum_positions(values: torch.Tensor) -> torch.Tensor:
    """``(seeds, examples, frames, channels, *space)`` summed to channels."""
    return values.flatten(4).sum((2, 4)) if values.ndim > 4 else _over_positions(values)


def _embedding_lead(call: Arguments, output: torch.Tensor) -> int:
    # Both of these change what the gradient is.
    odd = call.get("scale_grad_by_freq") or call.get("max_norm") is not None
    return 0 if odd else output.ndim - 1


@_rule(
    functional.embedding,
    arguments="input weight padding_idx max_norm norm_type scale_grad_by_freq sparse",
    lead=_embedding_lead,
    parameters="weight",
)
def _embedding(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    shape = tuple(call["weight"].shape)
    indices = _without_padding(split(call["input"]), call.get("padding_idx"), shape[0])
    return {"weight": Rows(delta, indices, shape)}


def _bag_lead(call: Arguments, output: torch.Tensor) -> int:
    is_plain = call["input"].ndim == 2 and call.get("mode", "mean") in ("sum", "mean")
    return _one_if(is_plain and _embedding_lead(call, output) > 0)


@_rule(
    functional.embedding_bag,
    arguments="input weight offsets max_norm norm_type scale_grad_by_freq mode sparse "
    "per_sample_weights include_last_offset padding_idx",
    lead=_bag_lead,
    parameters="weight",
)
def _embedding_bag(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    shape = tuple(call["weight"].shape)
    indices = _without_padding(split(call["input"]), call.get("padding_idx"), shape[0])
    used = (indices >= 0).to(delta.dtype)
    if call.get("per_sample_weights") is not None:
        used = used * split(call["per_sample_weights"])
    elif call.get("mode", "mean") == "mean":
        used = used / used.sum(-1, keepdim=True).clamp(min=1)
    values = delta.unsqueeze(3) * used.unsqueeze(-1)
    return {"weight": Rows(values.flatten(2, 3), indices.flatten(1), shape)}


def _without_padding(indices: torch.Tensor, padding_idx: int | None, n_rows: int) -> torch.Tensor:
    if padding_idx is None:
        return indices
    return torch.where(indices == padding_idx % n_rows, -1, indices)


def _layer_norm_lead(call: Arguments, output: torch.Tensor) -> int:
    return output.ndim - len(call["normalized_shape"])


def _scale_and_shift(delta: torch.Tensor, normalised: torch.Tensor) -> dict[str, Contribution]:
    return {"weight": Values((delta * normalised).sum(2)), "bias": Values(_over_positions(delta))}


def _scale_and_shift_channels(
    delta: torch.Tensor, normalised: torch.Tensor
) -> dict[str, Contribution]:
    scale = _sum_positions(delta * normalised)
    return {"weight": Values(scale), "bias": Values(_sum_positions(delta))}


@_rule(
    functional.layer_norm, arguments="input normalized_shape weight bias eps", lead=_layer_norm_lead
)
def _layer_norm(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    shape = call["normalized_shape"]
    normalised = functional.layer_norm(call["input"], shape, eps=call.get("eps", 1e-5))
    return _scale_and_shift(delta, split(normalised))


@_rule(functional.rms_norm, arguments="input normalized_shape weight eps", lead=_layer_norm_lead)
def _rms_norm(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    shape = call["normalized_shape"]
    normalised = functional.rms_norm(call["input"], shape, eps=call.get("eps"))
    return _scale_and_shift(delta, split(normalised))


def _first_dimension(_: Arguments, output: torch.Tensor) -> int:
    return _one_if(output.ndim > 1)


@_rule(functional.group_norm, arguments="input num_groups weight bias eps", lead=_first_dimension)
def _group_norm(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    normalised = functional.group_norm(call["input"], call["num_groups"], eps=call.get("eps", 1e-5))
    return _scale_and_shift_channels(delta, split(normalised))


def _batch_norm_lead(call: Arguments, output: torch.Tensor) -> int:
    return _one_if(output.ndim > 1 and not call.get("training", False))


@_rule(
    functional.batch_norm,
    arguments="input running_mean running_var weight bias training momentum eps",
    lead=_batch_norm_lead,
)
def _batch_norm(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    normalised = functional.batch_norm(
        call["input"], call["running_mean"], call["running_var"], eps=call.get("eps", 1e-5)
    )
    return _scale_and_shift_channels(delta, split(normalised))


def _instance_norm_lead(call: Arguments, output: torch.Tensor) -> int:
    return _one_if(output.ndim > 2)


@_rule(
    functional.instance_norm,
    arguments="input running_mean running_var weight bias use_input_stats momentum eps",
    lead=_instance_norm_lead,
)
def _instance_norm(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    by_itself = call.get("use_input_stats", True)
    normalised = functional.instance_norm(
        call["input"],
        None if by_itself else call["running_mean"],
        None if by_itself else call["running_var"],
        use_input_stats=by_itself,
        eps=call.get("eps", 1e-5),
    )
    return _scale_and_shift_channels(delta, split(normalised))


@_rule(torch.prelu, arguments="input weight", lead=_first_dimension, parameters="weight")
def _prelu(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    slopes = _sum_positions(delta * split(call["input"]).clamp(max=0))
    return {"weight": Values(slopes if call["weight"].numel() > 1 else slopes.sum(2, True))}


def _elementwise_lead(call: Arguments, output: torch.Tensor) -> int:
    """Covered where one operand spans the examples and the other does not."""
    if "alpha" in call or not all(isinstance(call[a], torch.Tensor) for a in ("input", "other")):
        return 0
    small, large = _by_size(call)
    if call[small].ndim < output.ndim:
        return output.ndim - int(call[small].ndim)
    # It broadcasts along the examples' dimension, or this is arithmetic on parameters alone.
    return _one_if(output.ndim > 0 and len(call[small]) < len(call[large]))


def _by_size(call: Arguments) -> list[str]:
    """The operand that may be a parameter, and the other."""
    return sorted(("input", "other"), key=lambda name: (call[name].ndim, call[name].numel()))


@_rule(
    torch.Tensor.mul, torch.mul,
    arguments="input other", lead=_elementwise_lead, parameters="input other",
)  # fmt: skip
def _multiply(call: Arguments, delta: torch.Tensor, split: Split) -> dict[str, Contribution]:
    small, large = _by_size(call)
    other = call[large] + torch.zeros_like(call[small])  # of the output's shape
    return {small: _summed_like(call[small], delta * split(other))}


@_rule(
    torch.Tensor.add, torch.add,
    arguments="input other", lead=_elementwise_lead, parameters="input other",
)  # fmt: skip
def _add(call: Arguments, delta: torch.Tensor, _: Split) -> dict[str, Contribution]:
    small, _large = _by_size(call)
    return {small: _summed_like(call[small], delta)}


@_rule(
    torch.Tensor.sub, torch.sub,
    arguments="input other", lead=_elementwise_lead, parameters="input other",
)  # fmt: skip
def _subtract(call: Arguments, delta: torch.Tensor, _: Split) -> dict[str, Contribution]:
    small, _large = _by_size(call)
    return {small: _summed_like(call[small], -delta if small == "other" else delta)}


def _summed_like(operand: torch.Tensor, values: torch.Tensor) -> Values:
    """``(seeds, examples, positions, *rest)`` summed over what ``operand`` broadcasts along."""
    values = values.sum(2)
    rest = values.ndim - 2
    aligned = ((1,) * rest + tuple(operand.shape))[-rest:] if rest else ()
    broadcast = [d + 2 for d, size in enumerate(aligned) if size == 1 and values.shape[d + 2] > 1]
    if broadcast:
        values = values.sum(broadcast, keepdim=True)
    return Values(values.reshape(*values.shape[:2], *operand.shape))
