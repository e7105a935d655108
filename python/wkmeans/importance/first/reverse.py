"""Backward passes of many seeds at once through operations whose derivative is known.

autograd maps a backward pass over seeds operation by operation, by a loop where it knows no better,
and copies what each round gives. Most of a network's operations take seeds as more examples. Here
autograd's own graph is walked, with what it saved; where a node is not known, all is left to it,
unless there are recurrent layers, whose many steps gain more than one node's loop loses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.autograd.graph import GradientEdge

from wkmeans.importance.first.recurrence import pulled_back

# ``(node, deltas, which of its inputs, that input's shape) -> deltas there``, each with seeds in
# front; ``None`` for what the rule does not know.
NodeRule = Callable[[Any, torch.Tensor, int, tuple[int, ...]], torch.Tensor | None]
_NODE_RULES: dict[str, NodeRule] = {}
_aten = torch.ops.aten
_STEPS = "_RecurrenceBackward"


class UnknownOperationError(Exception):
    """A node without a rule lies between the outputs and the edges."""


def pull_back(
    outputs: torch.Tensor, edges: Sequence[GradientEdge], vectors: torch.Tensor
) -> list[torch.Tensor | None]:
    """Derivatives of ``vectors[s] . outputs`` at each edge, ``(seeds, *shape)``.

    ``None`` where the outputs do not depend on it. Raises ``UnknownOperationError``.
    """
    found: dict[tuple[Any, int], torch.Tensor] = {}
    wanted = {(edge.node, edge.output_nr) for edge in edges}
    root = torch.autograd.graph.get_gradient_edge(outputs)
    pending = {(root.node, root.output_nr): vectors}
    with torch.no_grad():
        nodes = list(_in_order(root.node, {node for node, _ in wanted}))
        has_steps = any(node.name() == _STEPS for node, _ in nodes)
        for node, inputs in nodes:
            arrived = {key: pending.pop(key) for key in list(pending) if key[0] is node}
            found |= {key: delta for key, delta in arrived.items() if key in wanted}
            for (key, _), delta in zip(
                inputs, _through(node, arrived, inputs, has_steps), strict=True
            ):
                pending[key] = pending[key] + delta if key in pending else delta
    return [found.get((edge.node, edge.output_nr)) for edge in edges]


def _in_order(root: Any, targets: set[Any]) -> Iterator[tuple[Any, list[tuple[Any, int]]]]:
    """Nodes on the way to the targets, each after all that depend on it, with what leads there.

    Of a node, ``((next node, its output), index of the input)`` for every input that leads to one.
    """
    leads: dict[Any, list[tuple[Any, int]]] = {}
    order, stack = [], [(root, False)]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            leads[node] = [
                (edge, index) for index, edge in enumerate(node.next_functions)
                if edge[0] is not None and (edge[0] in targets or leads.get(edge[0]))
            ]  # fmt: skip
            order.append(node)
        elif node not in leads:
            leads[node] = []
            stack.append((node, True))
            stack += [
                (n, False) for n, _ in node.next_functions if n is not None and n not in leads
            ]
    for node in reversed(order):
        if node in targets or leads[node]:
            yield node, leads[node]


def _through(
    node: Any,
    arrived: dict[tuple[Any, int], torch.Tensor],
    inputs: Sequence[tuple[tuple[Any, int], int]],
    has_steps: bool,
) -> list[torch.Tensor]:
    """Deltas at those of the node's inputs, in order."""
    try:
        return [_apply(node, arrived, index, key) for key, index in inputs]
    except UnknownOperationError:
        if not has_steps or not inputs:
            raise
        return _seed_by_seed(node, arrived, inputs)


def _seed_by_seed(
    node: Any,
    arrived: dict[tuple[Any, int], torch.Tensor],
    inputs: Sequence[tuple[tuple[Any, int], int]],
) -> list[torch.Tensor]:
    """What autograd's own node makes of each seed, summed over what it broadcast."""
    at = {output: delta for (_, output), delta in arrived.items()}
    each = []
    for seed in range(len(next(iter(at.values())))):
        given = [at[i][seed] if i in at else None for i in range(len(node._input_metadata))]
        found = node(*given)
        found = found if isinstance(found, tuple) else (found,)
        each.append([found[index] for _, index in inputs])
    if any(delta is None for one in each for delta in one):
        raise UnknownOperationError(node.name())
    shapes = [_shape_at(key) for key, _ in inputs]
    return [
        torch.stack([delta.sum_to_size(shape) for delta in deltas])
        for shape, deltas in zip(shapes, zip(*each, strict=True), strict=True)
    ]


def _apply(
    node: Any, arrived: dict[tuple[Any, int], torch.Tensor], index: int, key: tuple[Any, int]
) -> torch.Tensor:
    rule = _NODE_RULES.get(node.name())
    if rule is not None and [output for _, output in arrived] == [0]:
        (delta,) = arrived.values()
        found = rule(node, delta, index, _shape_at(key))
        if found is not None:
            return found
    raise UnknownOperationError(node.name())


def _shape_at(key: tuple[Any, int]) -> tuple[int, ...]:
    return tuple(key[0]._input_metadata[key[1]].shape)


def _node_rule(*names: str) -> Callable[[NodeRule], NodeRule]:
    def register(rule: NodeRule) -> NodeRule:
        _NODE_RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


@_node_rule(
    "ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "UnsqueezeBackward0",
    "SqueezeBackward0", "SqueezeBackward1", "SqueezeBackward2",
)  # fmt: skip
def _reshape(_: Any, delta: torch.Tensor, __: int, shape: tuple[int, ...]) -> torch.Tensor:
    return delta.reshape(-1, *shape)


@_node_rule("AddmmBackward0")
def _addmm(node: Any, delta: torch.Tensor, index: int, _: Any) -> torch.Tensor | None:
    return _times(delta, node._saved_mat2) if index == 1 and node._saved_alpha == 1 else None


@_node_rule("MmBackward0")
def _mm(node: Any, delta: torch.Tensor, index: int, _: Any) -> torch.Tensor | None:
    return _times(delta, node._saved_mat2) if index == 0 else None


def _times(delta: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return delta @ matrix.T


@_node_rule("AddBackward0")
def _add(node: Any, delta: torch.Tensor, index: int, shape: tuple[int, ...]) -> torch.Tensor | None:
    is_plain = delta.shape[1:] == shape and (index == 0 or node._saved_alpha == 1)
    return delta if is_plain else None


@_node_rule("ReluBackward0")
def _relu(node: Any, delta: torch.Tensor, _: int, __: Any) -> torch.Tensor:
    found: torch.Tensor = _aten.threshold_backward(delta, node._saved_result, 0)
    return found


@_node_rule("NativeBatchNormBackward0")
def _batch_norm(node: Any, delta: torch.Tensor, index: int, _: Any) -> torch.Tensor | None:
    if index != 0 or node._saved_training:
        return None
    scale: torch.Tensor = (node._saved_running_var + node._saved_eps).rsqrt()
    if node._saved_weight is not None:
        scale = scale * node._saved_weight
    return delta * scale.to(delta.dtype).reshape(-1, *[1] * (delta.ndim - 3))


@_node_rule("MaxPool2DWithIndicesBackward0")
def _max_pool(node: Any, delta: torch.Tensor, _: int, shape: tuple[int, ...]) -> torch.Tensor:
    found = delta.new_empty(len(delta), *shape)
    for one, out in zip(delta.contiguous(), found, strict=True):
        _aten.max_pool2d_with_indices_backward.grad_input(
            one, node._saved_self, node._saved_kernel_size, node._saved_stride,
            node._saved_padding, node._saved_dilation, node._saved_ceil_mode, node._saved_result1,
            grad_input=out,
        )  # fmt: skip
    return found


@_node_rule("AvgPool2DBackward0")
def _average_pool(
    node: Any, delta: torch.Tensor, _: int, shape: tuple[int, ...]
) -> torch.Tensor | None:
    if len(shape) != 4:
        return None
    found: torch.Tensor = _aten.avg_pool2d_backward(
        delta.flatten(0, 1), _repeated(node._saved_self, delta), node._saved_kernel_size,
        node._saved_stride, node._saved_padding, node._saved_ceil_mode,
        node._saved_count_include_pad, node._saved_divisor_override,
    )  # fmt: skip
    return found.reshape(-1, *shape)


@_node_rule("MeanBackward1")
def _mean(node: Any, delta: torch.Tensor, _: int, shape: tuple[int, ...]) -> torch.Tensor:
    kept = list(shape)
    for dimension in node._saved_dim:
        kept[dimension if dimension < len(shape) else dimension - 2**64] = 1
    count = torch.Size(shape).numel() // max(1, torch.Size(kept).numel())
    return (delta / count).reshape(-1, *kept).expand(-1, *shape)


@_node_rule("ConvolutionBackward0")
def _convolution(
    node: Any, delta: torch.Tensor, index: int, shape: tuple[int, ...]
) -> torch.Tensor | None:
    if index != 0 or len(shape) != node._saved_weight.ndim:
        return None
    found: torch.Tensor = _aten.convolution_backward(
        delta.flatten(0, 1), _repeated(node._saved_input, delta), node._saved_weight, None,
        node._saved_stride, node._saved_padding, node._saved_dilation, node._saved_transposed,
        node._saved_output_padding, node._saved_groups, [True, False, False],
    )[0]  # fmt: skip
    return found.reshape(-1, *shape)


@_node_rule("CloneBackward0")
def _clone(_: Any, delta: torch.Tensor, __: int, ___: Any) -> torch.Tensor:
    return delta


@_node_rule("TransposeBackward0")
def _transpose(node: Any, delta: torch.Tensor, _: int, shape: tuple[int, ...]) -> torch.Tensor:
    n = len(shape)
    return delta.transpose(_axis(node._saved_dim0, n), _axis(node._saved_dim1, n))


@_node_rule("PermuteBackward0")
def _permute(node: Any, delta: torch.Tensor, _: int, shape: tuple[int, ...]) -> torch.Tensor:
    found = delta
    order = [_axis(dimension, len(shape)) for dimension in node._saved_dims]
    return found.permute(0, *(1 + order.index(d) for d in range(1, len(shape) + 1)))


@_node_rule("SelectBackward0")
def _select(node: Any, delta: torch.Tensor, _: int, shape: tuple[int, ...]) -> torch.Tensor:
    found = delta.new_zeros(len(delta), *shape)
    axis = _axis(node._saved_dim, len(shape))
    found.select(axis, _signed(node._saved_index)).copy_(delta)
    return found


@_node_rule("SliceBackward0")
def _slice(node: Any, delta: torch.Tensor, _: int, shape: tuple[int, ...]) -> torch.Tensor:
    found = delta.new_zeros(len(delta), *shape)
    axis = _axis(node._saved_dim, len(shape))
    part = slice(_signed(node._saved_start), _signed(node._saved_end), node._saved_step)
    found[(slice(None),) * axis + (part,)] = delta
    return found


@_node_rule("CatBackward0")
def _cat(node: Any, delta: torch.Tensor, index: int, shape: tuple[int, ...]) -> torch.Tensor | None:
    axis = _axis(node._saved_dim, len(shape))
    before = 0
    for other, output in node.next_functions[:index]:
        if other is None:
            return None  # its size is not known
        before += other._input_metadata[output].shape[axis - 1]
    return delta.narrow(axis, before, shape[axis - 1])


@_node_rule("StackBackward0")
def _stack(node: Any, delta: torch.Tensor, index: int, shape: tuple[int, ...]) -> torch.Tensor:
    return delta.select(_axis(node._saved_dim, len(shape) + 1), index)


@_node_rule("TanhBackward0")
def _tanh(node: Any, delta: torch.Tensor, _: int, __: Any) -> torch.Tensor:
    result: torch.Tensor = node._saved_result.detach()
    return delta * (1 - result.square())


@_node_rule("SigmoidBackward0")
def _sigmoid(node: Any, delta: torch.Tensor, _: int, __: Any) -> torch.Tensor:
    result: torch.Tensor = node._saved_result.detach()
    return delta * (result * (1 - result))


@_node_rule(_STEPS)
def _recurrence(node: Any, delta: torch.Tensor, index: int, _: Any) -> torch.Tensor | None:
    return pulled_back(node, delta)[index] if index < 3 else None


def _axis(dimension: int, n: int) -> int:
    """A dimension as autograd saves it, where seeds are in front."""
    return _signed(dimension) % n + 1


def _signed(value: int) -> int:
    """Autograd saves numbers below zero without their sign."""
    return value - 2**64 if value >= 2**63 else value


def _repeated(values: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """As many examples as deltas, of which only the shape is read."""
    return values[:1].expand(delta.shape[0] * delta.shape[1], *values.shape[1:])
