"""What a forward pass leaves for the analytic rules: each use of a parameter, and where it was.

A use keeps the call's arguments and the *gradient edge* of its output. The edge names a place in
the graph, not a tensor: an in-place activation that overwrites the output changes nothing.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from wkmeans.importance.first.contributions import Contribution, Values
from wkmeans.importance.first.recurrent import in_parts
from wkmeans.importance.first.rules import RULES, Arguments, Rule, Split

# ``(module, inputs, delta) -> {parameter: per-example gradients}``; see `register_rule`.
ModuleRule = Callable[[Any, tuple[Any, ...], torch.Tensor], dict[str, torch.Tensor]]
_MODULE_RULES: dict[type[nn.Module], ModuleRule] = {}


def register_rule(*modules: type[nn.Module]) -> Callable[[ModuleRule], ModuleRule]:
    """Decorate a function with what it knows about a layer: its per-example gradients.

    The function is called as ``rule(module, inputs, delta)`` after a backward pass, with the
    positional arguments that the module was called with and the derivative ``delta`` at its output,
    whose first dimension is the example. It returns a dict from the names of the module's own
    parameters to gradients of shape ``(examples, *parameter)``, summed over everything but the
    examples, in the parameter's layout. Parameters it leaves out, and those of the module's
    children, are found as without it. The first batch checks that the gradients sum to autograd's.

    Parameters
    ----------
    *modules : type
        Subclasses of ``torch.nn.Module``; later rules replace earlier ones.

    Examples
    --------
    >>> @wkmeans.importance.register_rule(Scale)
    ... def scale_gradients(module, inputs, delta):
    ...     return {"weight": (delta * inputs[0]).flatten(2).sum(2)}
    """
    for module in modules:
        if not (isinstance(module, type) and issubclass(module, nn.Module)):
            raise TypeError(f"modules: expected subclasses of torch.nn.Module, got {module!r}")

    def register(rule: ModuleRule) -> ModuleRule:
        _MODULE_RULES.update(dict.fromkeys(modules, rule))
        return rule

    return register


@dataclass(frozen=True)
class Slot:
    """The parameter, or the rows of it, that an argument is."""

    name: str
    rows: tuple[int, int] | None = None

    def of(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """A view of what the slot names."""
        return tensors[self.name][slice(*self.rows)] if self.rows else tensors[self.name]


@dataclass(frozen=True)
class Use:
    """One call that read parameters. ``slots`` maps its arguments to them."""

    rule: Rule
    arguments: Arguments
    slots: dict[str, Slot]
    edge: GradientEdge
    lead: tuple[int, ...]
    output_bytes: int
    output_shape: tuple[int, ...] = ()

    @property
    def signature(self) -> tuple[Any, ...]:
        """What stays the same from batch to batch."""
        return self.rule.arguments, tuple(self.slots.items()), len(self.lead)

    def contributions(
        self, delta: torch.Tensor, split: Split
    ) -> Iterator[tuple[Slot, Contribution]]:
        """The gradients of its parameters; ``delta`` is ``(seeds, examples, positions, *rest)``.

        In the delta's dtype: half precision would not hold the products.
        """
        arguments = {
            name: value.to(delta.dtype)
            if isinstance(value, torch.Tensor) and value.is_floating_point()
            else value
            for name, value in self.arguments.items()
        }
        found = self.rule.contribute(arguments, delta, split)
        for argument, slot in self.slots.items():
            if argument in found:
                yield slot, found[argument]


_ADDITIONS = frozenset({torch.add, torch.Tensor.add, torch.Tensor.add_, torch.Tensor.__iadd__})


class Tape(TorchFunctionMode):
    """Records every call of a function with a rule that reads one of ``leaves``.

    Parameters in other places (no rule, an operand that the rule does not differentiate) leave no
    use: that the uses are complete is for the caller to check.
    """

    # Its hooks are on the user's modules for as long as these run.
    hooks_are_lent = True

    def __init__(self, leaves: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self._thread = threading.get_ident()
        self._names = {id(leaf): name for name, leaf in leaves.items()}
        self._by_module: set[str] = set()
        self._tables: dict[int, tuple[torch.Tensor, Use]] = {}

    def __torch_function__(
        self, func: Any, _: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.multi_head_attention_forward:
            with self:
                return _transparent_attention(*args, **kwargs)
        parts = in_parts(func, args) if not kwargs else None
        if parts is not None:
            with self:
                return parts()
        output = self._call(func, args, kwargs)
        self._see(func, args, kwargs, output)
        if func in _ADDITIONS and self._tables:
            self._spread(args, output)
        return output

    def _call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)

    def _see(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
    ) -> None:
        rule = RULES.get(func)
        if rule is not None and isinstance(output, torch.Tensor) and output.requires_grad:
            arguments = dict(zip(rule.arguments, args, strict=False)) | kwargs
            self._record(rule, arguments, output)

    def __exit__(self, *error: Any) -> None:
        """Where torch was interrupted while it had the tape off, there is nothing to take off."""
        if _get_current_function_mode() is self:  # type: ignore[no-untyped-call]
            super().__exit__(*error)  # type: ignore[no-untyped-call]

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Record also the calls of modules with a rule of the user's; hooks go when it ends."""
        handles = [
            child.register_forward_hook(self._record_module)
            for child in (module.modules() if _MODULE_RULES else ())
            if type(child) in _MODULE_RULES
        ]
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()
        if self._by_module:
            self.uses = [use for use in self.uses if not self._is_within_module(use)]

    def _record(self, rule: Rule, arguments: Arguments, output: torch.Tensor) -> None:
        slots = {
            argument: slot
            for argument in rule.parameters
            if (slot := self._slot(arguments.get(argument))) is not None
        }
        if not slots or not all(a in arguments for a in rule.arguments[:2]):
            return
        place = output
        if rule.at is not None:
            place, node = arguments[rule.at], output.grad_fn
            arguments = arguments | {"steps": node.steps}  # type: ignore[union-attr]
        lead = rule.lead(arguments, place)
        if lead > 0:
            self._append(rule, arguments, slots, place, lead)
            if rule is RULES[functional.embedding]:
                self._tables[id(output)] = output, self.uses[-1]

    def _spread(self, terms: tuple[Any, ...], output: torch.Tensor) -> None:
        """Rows of a table read once for all examples, added to what each example has of its own.

        As position embeddings are. The sum is where an example's own part of their gradient is.
        """
        for term in terms:
            rows, use = self._tables.get(id(term), (None, None))
            if rows is None or use is None or rows.numel() == output.numel():
                continue
            shape = (1,) * (output.ndim - rows.ndim) + tuple(rows.shape)
            split = next((i for i, n in enumerate(shape) if n != 1), len(shape) - 1)
            if shape[split:] == output.shape[split:]:
                self.uses = [other for other in self.uses if other is not use]
                lead = tuple(output.shape[:-1])
                arguments = use.arguments | {"input": use.arguments["input"].expand(lead)}
                edge = get_gradient_edge(output)
                self.uses.append(
                    Use(
                        use.rule,
                        arguments,
                        use.slots,
                        edge,
                        lead,
                        output.nbytes,
                        tuple(output.shape),
                    )
                )

    def _append(
        self, rule: Rule, arguments: Arguments, slots: dict[str, Slot], output: torch.Tensor,
        lead: int,
    ) -> None:  # fmt: skip
        kept = {k: v.detach() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
        edge = get_gradient_edge(output)
        shape = tuple(output.shape[:lead])
        size = output.nbytes if rule.at is None else 0  # the same deltas as the argument's own
        self.uses.append(Use(rule, kept, slots, edge, shape, size, tuple(output.shape)))

    def _slot(self, argument: Any) -> Slot | None:
        if not isinstance(argument, torch.Tensor):
            return None
        if id(argument) in self._names:
            return Slot(self._names[id(argument)])
        base = argument._base
        if base is None or id(base) not in self._names or not _is_block_of_rows(argument, base):
            return None
        first = argument.storage_offset() // base.stride(0)
        return Slot(self._names[id(base)], (first, first + len(argument)))

    def _record_module(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if threading.get_ident() != self._thread:
            return  # somebody else runs the model meanwhile
        own = {name: p for name, p in module._parameters.items() if p is not None}
        slots = {name: slot for name, p in own.items() if (slot := self._slot(p)) is not None}
        if not slots or not isinstance(output, torch.Tensor) or not output.requires_grad:
            return
        contribute = _contribute_of(module, inputs, _MODULE_RULES[type(module)])
        rule = Rule((), tuple(slots), lambda *_: 1, contribute)
        self._by_module |= {slot.name for slot in slots.values()}
        self._append(rule, {}, slots, output, 1)

    def _is_within_module(self, use: Use) -> bool:
        return bool(use.rule.arguments) and any(
            slot.name in self._by_module for slot in use.slots.values()
        )


def _contribute_of(module: nn.Module, inputs: tuple[Any, ...], rule: ModuleRule) -> Any:
    kept = tuple(v.detach() if isinstance(v, torch.Tensor) else v for v in inputs)

    def contribute(_: Arguments, delta: torch.Tensor, __: Split) -> dict[str, Contribution]:
        each = [rule(module, kept, seed.flatten(0, 1)) for seed in delta]
        return {name: Values(torch.stack([one[name] for one in each])) for name in each[0]}

    return contribute


def _is_block_of_rows(view: torch.Tensor, base: torch.Tensor) -> bool:
    return (
        view.ndim == base.ndim > 0
        and view.shape[1:] == base.shape[1:]
        and view.stride() == base.stride()
        and base.is_contiguous()
        and view.storage_offset() % base.stride(0) == 0
    )


def _shown_to_modes(function: Any) -> types.FunctionType:
    """The same function, whose own calls a ``TorchFunctionMode`` sees.

    It would otherwise hand itself over to the mode again before it calls anything.
    """
    body = types.FunctionType(
        function.__code__,
        {**function.__globals__, "has_torch_function": lambda _: False},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    body.__kwdefaults__ = function.__kwdefaults__
    return body


_transparent_attention = _shown_to_modes(functional.multi_head_attention_forward)


def parameters_of(uses: Iterable[Use]) -> set[str]:
    """Every parameter that the uses read."""
    return {slot.name for use in uses for slot in use.slots.values()}
