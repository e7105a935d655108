"""Forward passes that end at a layer, and that go on from where the one before ended.

A network that is compressed layer after layer needs what each layer meets once those before it have
changed. A pass to the next layer runs the model's code from its beginning, which alone knows the
way. But what the model asks of torch is computed from that layer on where the pass before ended: up
to there it is given what it got then (`trail.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import torch

from wkmeans.importance.first.rules import RULES
from wkmeans.importance.first.tape import Tape, Use
from wkmeans.importance.matrices.layers import LayerInput, inputs_of
from wkmeans.importance.matrices.trail import ANEW, FORM, Calls, LostError, Trail
from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import FunctionalModel, Tensors

_log = logging.getLogger(__name__)

_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]


def weight_of(use: Use) -> str | None:
    """The parameter that a use multiplies its input by, where it uses it whole."""
    found = inputs_of(use)
    return None if found is None else _whole(found)


def input_at(
    name: str,
    model: FunctionalModel,
    leaves: Tensors,
    inputs: Inputs,
    awaited: Collection[str],
    trail: Trail | None,
) -> tuple[LayerInput | None, list[Trail]]:
    """What the layer of a weight multiplies where it is first used; None where it is not.

    Parameters
    ----------
    name : str
        Of the weight.
    model : FunctionalModel
    leaves : dict of str to tensor
        Its parameters.
    inputs : Inputs
    awaited : collection of str
        Weights that are yet to change, this one among them.
    trail : Trail, optional
        Of an earlier pass over the same inputs.

    Returns
    -------
    LayerInput or None
    list of Trail
        That a next pass may go on from: up to the first layer whose weight is awaited, and the
        one that was given.
    """
    if trail is not None:
        try:
            return _pass(name, model, leaves, inputs, awaited, trail)
        except (LostError, Exception) as error:
            _log.info("a pass from the beginning, as none could go on from a layer: %s", error)
    return _pass(name, model, leaves, inputs, awaited, None)


def _pass(
    name: str,
    model: FunctionalModel,
    leaves: Tensors,
    inputs: Inputs,
    awaited: Collection[str],
    trail: Trail | None,
) -> tuple[LayerInput | None, list[Trail]]:
    calls = Calls((*leaves.values(), *inputs.tensors), trail)
    stops = _Stops(name, leaves, awaited, calls)
    with suppress(_Ended), stops:
        model(leaves, inputs)
    if calls.are_known:
        raise LostError("the model ended before it came to where it had been")
    trails = (stops.trail, trail) if calls.can_note else ()
    return stops.met, [one for one in trails if one is not None and one.is_intact]


class _Ended(BaseException):
    """Unwinds a pass that nobody needs further; not for the model's own handlers."""


class _Stops(Tape):
    """Ends a pass at the layer of a weight; `trail` is that to the first that is awaited."""

    def __init__(self, name: str, leaves: Tensors, awaited: Collection[str], calls: Calls) -> None:
        super().__init__(leaves)
        self.met: LayerInput | None = None
        self.trail: Trail | None = None
        self._name, self._awaited, self._calls = name, awaited, calls

    def _call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is torch.Tensor.__iter__:  # an iterator can be used once
            return iter(self._call(torch.Tensor.unbind, args, {}))
        if func == _DATA:  # writing to that would not be counted
            return self._call(torch.Tensor.detach, args, {})
        if self._calls.are_known:
            result = self._calls.again(func, (args, kwargs))
            if result is not ANEW:
                return result
        arguments = self._calls.begin((args, kwargs))
        awaited = [one for one in arguments if self._names.get(id(one)) in self._awaited]
        for weight in awaited if func in RULES else ():
            self._stop_at(weight, func, args, kwargs)
        if awaited and func not in FORM:
            self._end_trail(func)  # what follows from a weight changes with it
        given = self._calls.given(arguments)
        result = func(*args, **kwargs)
        self._calls.note(func, arguments, given, result)
        return result

    def _stop_at(
        self,
        weight: torch.Tensor,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Record the call by what it leaves in a graph, which is then forgotten."""
        weight.requires_grad_()
        try:
            with torch.enable_grad():
                self._see(func, args, kwargs, func(*args, **kwargs))
        finally:
            weight.requires_grad_(False)
        found = inputs_of(self.uses.pop()) if self.uses else None
        if found is None or _whole(found) not in self._awaited:
            return
        self._end_trail(func)
        if _whole(found) == self._name:
            self.met = found
            raise _Ended

    def _end_trail(self, func: Callable[..., Any]) -> None:
        """Before this call, unless it has ended already."""
        self.trail = self.trail or self._calls.trail_to(func)


def _whole(found: LayerInput) -> str | None:
    return None if found.layer.slot.rows is not None else found.layer.slot.name
