"""Forward passes that stop at layers: the weights there may change before they are used.

A network that is compressed layer after layer needs what each layer meets once those before it have
changed. A walk is one pass for all of them: it waits at a layer until somebody has changed its
weights, and goes on with these. It has a thread, for whose stack the pass is held, but runs only
while it is waited for, by a thread that has the model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import torch
from torch.overrides import _get_current_function_mode_stack, _push_mode

from wkmeans._model_lock import act_for_holder
from wkmeans.importance.first.rules import RULES
from wkmeans.importance.first.tape import Tape, Use
from wkmeans.importance.matrices.layers import LayerInput, inputs_of
from wkmeans.importance.model.batches import Inputs
from wkmeans.importance.model.functional import FunctionalModel, Tensors


def weight_of(use: Use) -> str | None:
    """The parameter that a use multiplies its input by, where it uses it whole."""
    found = inputs_of(use)
    return None if found is None else _whole(found)


def input_at(
    model: FunctionalModel, leaves: Tensors, inputs: Inputs, name: str
) -> LayerInput | None:
    """What the layer of this weight multiplies where it is first used; None where it is not.

    A forward pass that ends there. ``leaves`` are the model's parameters.
    """
    met: list[LayerInput] = []

    def meet(found: LayerInput) -> None:
        met.append(found)
        raise _Ended

    with suppress(_Ended):
        _pass(model, leaves, inputs, {name}, meet)
    return met[0] if met else None


class Walk:
    """One forward pass over a batch, from layer to layer.

    Parameters
    ----------
    model : FunctionalModel
        Whose module nobody else runs meanwhile.
    leaves : dict of str to tensor
        Its parameters. Those of a layer may be written to while the walk waits at it.
    inputs : Inputs
    awaited : collection of str
        Weights to stop at. Those that are taken out of it are passed by.
    """

    def __init__(
        self, model: FunctionalModel, leaves: Tensors, inputs: Inputs, awaited: Collection[str]
    ) -> None:
        self._go_on: SimpleQueue[None] = SimpleQueue()
        self._met: SimpleQueue[LayerInput | BaseException | None] = SimpleQueue()
        self._at: LayerInput | None = None
        self._closed = False
        self._over = False
        circumstances = _Circumstances()

        def run() -> None:
            end: BaseException | None = None
            try:
                self._wait()
                act_for_holder()
                circumstances.take_over()
                _pass(model, leaves, inputs, awaited, self._meet, self._check)
            except _Ended:
                pass
            except BaseException as error:  # handed on to who waits
                end = error
            self._met.put(end)

        self._thread = threading.Thread(target=run, name="wkmeans-walk", daemon=True)
        self._awaited = awaited
        self._thread.start()

    def to(self, name: str) -> LayerInput | None:
        """What the layer of this weight multiplies; None where another comes before it, or none."""
        if self._at is not None and _whole(self._at) not in self._awaited:
            self._at = None
        if self._at is None and not self._over:
            self._go_on.put(None)
            found = self._met.get()
            if isinstance(found, LayerInput):
                self._at = found
            else:
                self._over = True
                if found is not None:
                    raise found
        return self._at if self._at is not None and _whole(self._at) == name else None

    def close(self) -> None:
        """End the pass where it is."""
        self._closed = True
        self._go_on.put(None)
        self._thread.join()
        self._at = None

    def _meet(self, found: LayerInput) -> None:
        self._met.put(found)
        del found  # the walk's own frame would hold it after it has gone on
        self._wait()

    def _wait(self) -> None:
        self._go_on.get()
        self._check()

    def _check(self) -> None:
        if self._closed:
            raise _Ended


class _Ended(BaseException):
    """Unwinds a pass that nobody needs further; not for the model's own handlers."""


class _Stops(Tape):
    """Shows each layer that is awaited before it is computed with what its weights are then."""

    def __init__(
        self,
        leaves: Tensors,
        awaited: Collection[str],
        meet: Callable[[LayerInput], None],
        check: Callable[[], None],
    ) -> None:
        super().__init__(leaves)
        self._awaited, self._meet, self._check = awaited, meet, check

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self._check()
        if func in RULES:
            for argument in (*args, *(kwargs or {}).values()):
                if self._names.get(id(argument)) in self._awaited:
                    self._stop_at(argument, func, args, kwargs or {})
        return super().__torch_function__(func, types, args, kwargs)

    def _stop_at(
        self, weight: torch.Tensor, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Record the call by what it leaves in a graph, which is then forgotten."""
        weight.requires_grad_()
        try:
            with torch.enable_grad():
                super().__torch_function__(func, (), args, kwargs)
        finally:
            weight.requires_grad_(False)
        found = inputs_of(self.uses.pop()) if self.uses else None
        if found is not None and _whole(found) in self._awaited:
            self._meet(found)


class _Circumstances:
    """What torch keeps for each thread, as it is in the one that makes this."""

    def __init__(self) -> None:
        self._modes = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        self._autocast = [
            (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
            for kind in ("cpu", "cuda")
        ]
        on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self._stream = torch.cuda.current_stream() if on_gpu else None

    def take_over(self) -> None:
        """In another thread, for as long as that lives."""
        for kind, dtype, enabled in self._autocast:
            torch.set_autocast_dtype(kind, dtype)
            torch.set_autocast_enabled(kind, enabled)
        if self._stream is not None:
            torch.cuda.set_stream(self._stream)
        for mode in self._modes:
            _push_mode(mode)  # type: ignore[no-untyped-call]


def _pass(
    model: FunctionalModel,
    leaves: Tensors,
    inputs: Inputs,
    awaited: Collection[str],
    meet: Callable[[LayerInput], None],
    check: Callable[[], None] = lambda: None,
) -> None:
    with _Stops(leaves, awaited, meet, check):
        model(leaves, inputs)


def _whole(found: LayerInput) -> str | None:
    return None if found.layer.slot.rows is not None else found.layer.slot.name
