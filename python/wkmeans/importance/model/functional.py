"""A model as a pure function of the parameters whose importances are asked for."""

from __future__ import annotations

import inspect
import mmap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from wkmeans._wrappers import plain_names, unwrapped
from wkmeans.importance.model.batches import Inputs, differentiable

Forward = Callable[[nn.Module, Any], Any]
ParameterFilter = Iterable[str] | Callable[[str, nn.Parameter], bool]
Tensors = dict[str, torch.Tensor]

_LARGE = 2**22
_HAS_PRIVATE_PAGES = hasattr(mmap, "MAP_PRIVATE") and hasattr(mmap, "MAP_ANONYMOUS")


class FunctionalModel:
    """``module`` as ``(parameters, inputs) -> outputs``; the module itself is only read.

    ``parameters`` are those differentiated, detached; every other parameter and a copy of every
    buffer are constants, so neither ``.grad`` nor a running statistic is ever written. ``forward``
    replaces ``module(input)`` where the user gave it. Names are those without wrappers within the
    module; ``wrapped`` says what the module calls those that differ.
    """

    def __init__(
        self, module: nn.Module, parameters: Tensors, constants: Tensors, forward: Forward | None,
        wrapped: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.module = module
        self._wrapped = wrapped
        self.parameters = parameters
        self._constants = constants
        self._forward = forward
        self._has_ties = _has_ties(module)

    @classmethod
    def of(
        cls, module: nn.Module, wanted: ParameterFilter | None, forward: Forward | None = None
    ) -> FunctionalModel:
        """Differentiate the ``wanted`` parameters of ``module``; see ``select_parameters``."""
        plain = _plain(module)
        parameters = module.named_parameters()
        everything = {plain[name]: differentiable(p).detach() for name, p in parameters}
        names = select_parameters(module, wanted)
        constants = {name: p for name, p in everything.items() if name not in names}
        constants |= {plain[name]: b.detach().clone() for name, b in module.named_buffers()}
        wrapped = {name: own for own, name in plain.items() if own != name}
        return cls(module, {name: everything[name] for name in names}, constants, forward, wrapped)

    def restricted_to(self, names: Iterable[str]) -> FunctionalModel:
        """The same model, differentiated with respect to fewer parameters."""
        kept = {name: self.parameters[name] for name in names}
        return self._with(kept, self._constants | self.parameters)

    def with_parameters(self, tensors: Tensors) -> FunctionalModel:
        """The same model with other values of some parameters."""
        return self._with(self.parameters | tensors, self._constants)

    def _with(self, parameters: Tensors, constants: Tensors) -> FunctionalModel:
        return FunctionalModel(self.module, parameters, constants, self._forward, self._wrapped)

    def leaves(self) -> Tensors:
        """The parameters as leaves of a new graph."""
        return {name: p.detach().requires_grad_() for name, p in self.parameters.items()}

    def __call__(self, parameters: Tensors, inputs: Inputs) -> torch.Tensor:
        """Outputs with one row for each example."""
        outputs = self._outputs(self._constants | parameters, inputs)
        if not isinstance(outputs, torch.Tensor) and hasattr(outputs, "logits"):
            outputs = outputs.logits
        elif isinstance(outputs, Mapping):
            outputs = outputs.get("logits", outputs)
        if not isinstance(outputs, torch.Tensor):
            raise TypeError(
                f"model: expected a tensor, or an object or dict with a tensor as its logits, as "
                f"its output, got {type(outputs).__name__}; pass forward= to say what is its output"
            )
        if outputs.ndim == 0 or len(outputs) != len(inputs):
            raise ValueError(
                f"model: expected one output for each of the {len(inputs)} examples, got shape "
                f"{tuple(outputs.shape)}"
            )
        return outputs

    def own_loss(
        self, inputs: Inputs, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The loss and the logits that the module gives for ``labels``, ``None`` where none."""
        value = inputs.value()
        if not isinstance(value, Mapping) or not _takes_labels(self.module):
            return None
        tensors = self._named_as_within(self._constants | self.parameters)
        try:
            with torch.no_grad(), _unchanged_config(self.module):
                found = torch.func.functional_call(
                    self.module, tensors, (), {**value, "labels": labels},
                    tie_weights=self._has_ties,
                )  # fmt: skip
        except (TypeError, ValueError, RuntimeError, IndexError):  # labels of another kind
            return None
        loss, logits = getattr(found, "loss", None), getattr(found, "logits", None)
        if not isinstance(loss, torch.Tensor) or not isinstance(logits, torch.Tensor):
            return None
        return (loss, logits) if loss.ndim == 0 else None

    @contextmanager
    def no_randomness(self) -> Iterator[None]:
        """Raise ``ValueError`` where what runs inside draws random numbers; they are put back."""
        devices = {p.device for p in self.parameters.values() if p.device.type == "cuda"}
        before = [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in devices)]
        with _Draws() as draws:  # type: ignore[no-untyped-call]
            yield
        after = [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in devices)]
        # Other threads draw too; and operations that may draw need not.
        if not draws.any or all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
            return
        torch.set_rng_state(before[0])
        for device, state in zip(devices, before[1:], strict=True):
            torch.cuda.set_rng_state(state, device)
        raise ValueError(
            "model: draws random numbers, so no per-example gradient is defined; call model.eval() "
            "first"
        )

    def _named_as_within(self, tensors: Tensors) -> Tensors:
        return {self._wrapped.get(name, name): tensor for name, tensor in tensors.items()}

    def _outputs(self, tensors: Tensors, inputs: Inputs) -> Any:
        tensors = self._named_as_within(tensors)
        if self._forward is None:

            def call(*args: Any, **kwargs: Any) -> Any:
                return torch.func.functional_call(
                    self.module, tensors, args, kwargs, tie_weights=self._has_ties
                )

            return inputs.call(call)
        wrapped = _Forward(self.module, self._forward)
        prefixed = {f"module.{name}": tensor for name, tensor in tensors.items()}
        return torch.func.functional_call(wrapped, prefixed, (inputs.value(),), strict=False)


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Whether this thread has called an operation that draws random numbers."""

    any = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Else the first call imports the whole compiler, which takes seconds."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.any |= torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


def _has_ties(module: nn.Module) -> bool:
    """Whether a parameter or buffer goes by several names."""
    return any(
        len(list(tensors())) < len(list(tensors(remove_duplicate=False)))
        for tensors in (module.named_parameters, module.named_buffers)
    )


def _plain(module: nn.Module) -> dict[str, str]:
    """The names of all parameters and buffers, aliases included, without wrappers within."""
    names = [
        name
        for tensors in (module.named_parameters, module.named_buffers)
        for name, _ in tensors(remove_duplicate=False)
    ]
    return {name: plain or name for name, plain in plain_names(module, names).items()}


def whole(module: nn.Module) -> nn.Module:
    """The model inside its wrappers; ``ValueError`` for one in shards.

    No rank of that has the parameters that its layers multiply by.
    """
    for name, child in module.named_modules():
        if any(
            kind.__module__.startswith("torch.distributed.fsdp") for kind in type(child).__mro__
        ):
            raise ValueError(
                f"model: expected whole parameters, got those of {name or 'the model'} "
                f"({type(child).__name__}) in shards over ranks; estimate before sharding, each "
                "rank over its own examples, and merge by Importances.all_reduce"
            )
    found: nn.Module = unwrapped(module)
    return found


def _takes_labels(module: nn.Module) -> bool:
    parameters = inspect.signature(module.forward).parameters.values()
    return any(p.name == "labels" or p.kind is p.VAR_KEYWORD for p in parameters)


@contextmanager
def _unchanged_config(module: nn.Module) -> Iterator[None]:
    """Some models note in it what kind of labels came."""
    config = getattr(module, "config", None)
    before = dict(vars(config)) if hasattr(config, "__dict__") else {}
    try:
        yield
    finally:
        if before:
            vars(config).clear()
            vars(config).update(before)


class _Forward(nn.Module):
    """The user's way of calling the model, as a module whose parameters can be replaced."""

    def __init__(self, module: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.module = module
        self._call = forward

    def forward(self, value: Any) -> Any:
        return self._call(self.module, value)


def zeros_like(tensor: torch.Tensor) -> torch.Tensor:
    """A float64 sum to start. On the CPU large ones take memory only where they are written.

    Of a table of embeddings that are few rows of many; huge pages would hold them all.
    """
    size = 8 * tensor.numel()
    if tensor.device.type != "cpu" or size < _LARGE:
        return torch.zeros_like(tensor, dtype=torch.float64)
    # Private pages, as reading those that nothing wrote to takes no memory either.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if _HAS_PRIVATE_PAGES else {}
    pages = mmap.mmap(-1, size, **private)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.float64).view(tensor.shape)


def select_parameters(module: nn.Module, wanted: ParameterFilter | None) -> list[str]:
    """Names of the parameters to estimate, in the model's order.

    ``None`` takes every floating-point parameter that requires a gradient; a predicate
    ``(name, parameter) -> bool`` or names take exactly what they say. A parameter that is used
    under several names (tied) is one parameter, under its first name.
    """
    plain = _plain(module)
    canonical = {plain[name]: p for name, p in module.named_parameters()}
    if wanted is None:
        chosen = {n for n, p in canonical.items() if p.requires_grad and p.is_floating_point()}
    elif callable(wanted):
        chosen = {n for n, p in canonical.items() if wanted(n, p)}
    else:
        chosen = _canonical_names(module, [wanted] if isinstance(wanted, str) else wanted)
    if not chosen:
        raise ValueError("parameters: expected at least one of the model's, got none")
    for name in chosen:
        if not canonical[name].is_floating_point():
            raise ValueError(
                f"parameters: expected a floating-point dtype, got {canonical[name].dtype} for "
                f"{name!r}"
            )
    return [name for name in canonical if name in chosen]


def _canonical_names(module: nn.Module, names: Iterable[str]) -> set[str]:
    plain = _plain(module)
    first_name = {id(p): plain[name] for name, p in module.named_parameters()}
    everything = module.named_parameters(remove_duplicate=False)
    aliases = {plain[name]: first_name[id(p)] for name, p in everything}
    chosen = set()
    for name in names:
        if name not in aliases:
            raise ValueError(
                f"parameters: expected names among {', '.join(aliases) or 'none'}, got {name!r}"
            )
        chosen.add(aliases[name])
    return chosen


def require_independent_examples(module: nn.Module) -> None:
    """Raise ``ValueError`` where training mode makes an example depend on others or on chance."""
    for name, child in module.named_modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            couples = child.training or child.running_mean is None
            problem = "normalises each example by the others of its batch" if couples else ""
        else:
            dropout = child.p if isinstance(child, nn.modules.dropout._DropoutNd) else 0.0
            if isinstance(child, (nn.RNNBase, nn.MultiheadAttention)):
                dropout = child.dropout
            problem = "drops activations at random" if child.training and dropout > 0 else ""
        if problem:
            raise ValueError(
                f"model: {name or 'the model'} ({type(child).__name__}) {problem}, so no "
                "per-example gradient is defined; call model.eval() first"
            )


@contextmanager
def differentiable_kernels() -> Iterator[None]:
    """Keep attention on kernels that have forward-mode and batched derivatives.

    Quiets what torch says of its own: that its forward mode uses a deprecated part of it, and that
    one operation or another is mapped over examples by a loop.
    """
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.")
            warnings.filterwarnings("ignore", message="There is a performance drop")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Without oneDNN, whose recurrent layers have no forward and no second derivative."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.backends")
        with torch.backends.mkldnn.flags(enabled=False):
            yield
