"""The calls of a forward pass that bend, where a loss gets its curvature from.

Between a tensor and a loss the Hessian is ``sum_i J_i' M_i J_i``, a sum over calls: ``J_i`` is the
Jacobian of the call's inputs and ``M_i = sum_q g_q y_q''`` the second derivative of its outputs
``y`` under the loss's gradient ``g`` there. A call is any function of torch's, whole and unread:
``M_i v`` comes from running it again by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

Function = Callable[..., Any]


class ChangedCallsError(RuntimeError):
    """The model does not call what it called before."""


@dataclass(frozen=True)
class Step:
    """What is known of a call before it is made.

    ``bends`` are the positions, among its flattened arguments, of the inputs that belong to single
    examples and that it is not affine in; ``copied``: its inputs are overwritten.
    """

    function: Function
    copied: bool = False
    bends: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Call:
    """A call that was made: its arguments, flattened, and where in the graph it lies."""

    step: Step
    values: list[Any]
    structure: TreeSpec
    inputs: dict[int, GradientEdge]
    outputs: dict[int, GradientEdge]
    versions: dict[int, int]

    @property
    def is_overwritten(self) -> bool:
        """Whether an input has changed since."""
        return any(self.values[i]._version != version for i, version in self.versions.items())

    def curvature(
        self, positions: Sequence[int], gradients: Sequence[torch.Tensor | None]
    ) -> LocalCurvature | None:
        """``M`` in the inputs at ``positions``; ``None`` where the call is affine in them."""
        if self.is_overwritten:
            raise RuntimeError("an input of a call has been overwritten")
        inputs = [self.values[i].detach().requires_grad_() for i in positions]
        with torch.enable_grad():
            values = list(self.values)
            for i, tensor in zip(positions, inputs, strict=True):
                values[i] = tensor.clone() if self.step.copied else tensor  # in-place calls
            args, kwargs = tree_unflatten(values, self.structure)
            found = tree_leaves(self.step.function(*args, **kwargs))
            seen = [
                (found[i], gradient)
                for i, gradient in zip(self.outputs, gradients, strict=True)
                if gradient is not None and found[i].requires_grad
            ]
            if not seen:
                return None
            outputs, seeds = zip(*seen, strict=True)
            slopes = torch.autograd.grad(
                outputs, inputs, seeds, create_graph=True, allow_unused=True
            )
        bent = [i for i, slope in enumerate(slopes) if slope is not None and slope.requires_grad]
        return LocalCurvature(inputs, [slopes[i] for i in bent], bent) if bent else None


@dataclass(frozen=True)
class LocalCurvature:
    """``M`` of one call as a product: the derivative of its slopes ``J' g``."""

    inputs: list[torch.Tensor]
    slopes: list[torch.Tensor]
    bent: list[int]

    def product(self, vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """``M v`` for many ``v``, each of ``vectors`` one input's, ``(many, *input)``."""
        found = pulled_back(self.slopes, self.inputs, [vectors[i] for i in self.bent])
        return [
            torch.zeros_like(vector) if one is None else one
            for one, vector in zip(found, vectors, strict=True)
        ]


class Calls(TorchFunctionMode):
    """Records the calls through which gradients flow: all, or of known ``steps`` those that bend.

    `ChangedCallsError` where they are not those of ``steps``.
    """

    def __init__(self, steps: Sequence[Step] | None = None) -> None:
        super().__init__()
        self.made: list[Call] = []
        self._steps = steps
        self._count = 0

    def __torch_function__(
        self, func: Any, _: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        values, structure = tree_flatten((args, kwargs))
        flowing = [
            i for i, v in enumerate(values) if isinstance(v, torch.Tensor) and v.requires_grad
        ]
        if not flowing or func.__name__ == "__get__":  # attributes are affine: .T, .mT, .real
            return func(*args, **kwargs)
        step = self._step_of(func)
        edges = {i: get_gradient_edge(values[i]) for i in flowing if not values[i].is_leaf}
        kept = [v.detach() if isinstance(v, torch.Tensor) else v for v in values]
        versions = {i: v._version for i, v in enumerate(kept) if isinstance(v, torch.Tensor)}
        if step.copied:
            for i in versions:
                kept[i] = kept[i].clone()
            versions = {}
        output = func(*args, **kwargs)
        leads = {
            i: get_gradient_edge(v)
            for i, v in enumerate(tree_leaves(output))
            if isinstance(v, torch.Tensor) and v.requires_grad
        }
        if leads:
            if self._steps is not None and step is not self._expected:
                raise ChangedCallsError("the model's calls change from batch to batch")
            self._count += 1
            if step.bends is None or step.bends:
                self.made.append(Call(step, kept, structure, edges, leads, versions))
        return output

    @property
    def _expected(self) -> Step | None:
        if self._steps is None or self._count >= len(self._steps):
            return None
        return self._steps[self._count]

    def _step_of(self, function: Function) -> Step:
        expected = self._expected
        known = expected is not None and expected.function is function
        return expected if known and expected is not None else Step(function)


def pulled_back(
    outputs: Sequence[Any], inputs: Sequence[Any], vectors: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    """``sum_i J_i' v_i`` at ``inputs``, over ``outputs`` or their edges, for many ``v`` at once."""

    def pull(vectors: Sequence[torch.Tensor], batched: bool) -> tuple[torch.Tensor | None, ...]:
        return torch.autograd.grad(
            outputs, inputs, vectors, retain_graph=True, allow_unused=True,
            is_grads_batched=batched,
        )  # fmt: skip

    try:
        return list(pull(vectors, True))
    except RuntimeError:  # an operation that vmap refuses
        each = [pull([vector[k] for vector in vectors], False) for k in range(len(vectors[0]))]
        return [
            None if one[0] is None else torch.stack([g for g in one if g is not None])
            for one in zip(*each, strict=True)
        ]
