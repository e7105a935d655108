"""`estimate`: a thin loop over batches, chunks of examples, and what the objective sums."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from wkmeans.importance._functional import (
    FunctionalModel,
    ParameterFilter,
    Tensors,
    differentiable_kernels,
    require_independent_examples,
)
from wkmeans.importance._hessian import hessian_diagonals
from wkmeans.importance._importances import OBJECTIVES, Importances
from wkmeans.importance._losses import Loss, LossFunction, resolve_loss
from wkmeans.importance._per_example import PerExampleEngine, engine_for

# Per-example values of one chunk (a gradient and two doubles for each weight) stay under this. A
# larger chunk is not faster: it leaves the caches.
_CHUNK_BYTES = 32 * 2**20


def estimate(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, Any]],
    *,
    objective: str = "gradient+hessian",
    loss: str | LossFunction = "cross_entropy",
    temperature: float = 1.0,
    mu: float = 0.0,
    parameters: ParameterFilter | None = None,
    chunk_size: int | None = None,
) -> Importances:
    """Importances of a model's weights, exact and per example (Gao et al. 2019, 5.1, 6.1, 6.2).

    With ``L`` one example's loss, ``f`` its output (its softmax, for a classifier) and ``E`` the
    mean over examples, the objectives are:

    ====================  ====================================  ======================
    objective             importance                            quartic importance
    ====================  ====================================  ======================
    ``"baseline"``        1
    ``"fisher"``          ``E sum_c (df_c/dw)^2 / f_c`` (Eq. 6)
                          ``E ||df/dw||^2`` (Eq. 5, ``"mse"``)
    ``"gradient"``        ``E (dL/dw)^2``
    ``"hessian"``         ``max(E d2L/dw2, 0) + mu``
    ``"gradient+hessian"``  ``E (dL/dw)^2``                     ``E (d2L/dw2)^2 / 4``
    ====================  ====================================  ======================

    The quartic importance is the coefficient of ``(w - c)^4``, its 1/4 included. Derivatives are in
    the model's dtype; squares and sums over examples are float64.

    Parameters
    ----------
    model : torch.nn.Module
        Called as ``model(input)`` on a batch; returns a tensor with one row for each example. It is
        left exactly as it was: parameters, ``.grad``, buffers, mode, hooks. Examples must not
        depend on one another: BatchNorm or dropout in training mode are refused, not switched off.
    batches : iterable of (input, target)
        Tensors whose first dimension is the example, on the model's device. ``"fisher"`` ignores
        the target, ``"baseline"`` the batches.
    objective : str
        One of the five above.
    loss : str or function
        ``"cross_entropy"`` (logits and class indices), ``"mse"`` (mean over one example's outputs)
        or a function ``(output, target) -> per-example losses``.
    temperature : float
        Divides the logits (C.3.1).
    mu : float
        Added to the Hessian (C.3.2); only ``"hessian"`` has it.
    parameters : iterable of names, or predicate (name, parameter) -> bool, optional
        Which parameters; by default every floating-point one that requires a gradient. A tensor
        used under several names is one parameter, its derivatives summed before they are squared,
        under the first name that ``model.named_parameters()`` gives.
    chunk_size : int, optional
        Examples differentiated together; by default as many as keep the per-example values under
        32 MiB. It bounds memory, and changes the result by rounding alone.

    Returns
    -------
    Importances
        A mapping from parameter name to ``(importance, quartic_importance)``.

    Raises
    ------
    ValueError
        For arguments outside the above, a batch that does not fit the loss, a non-finite output,
        and a model whose examples are not independent.
    TypeError
        Where an input or the model's output is no tensor.

    Warns
    -----
    UserWarning
        Where entries of the mean Hessian are negative: the mapping holds zero there
        (``Importances.clamped`` counts them).

    Notes
    -----
    Cost, in backward passes for each example: 1 for the gradient, one for each class or output for
    Fisher. The Hessian costs as much as Fisher for the tensors in which the model is piecewise
    linear, which is checked on every chunk, and for all other tensors one Hessian-vector product
    *for each weight*.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}; got {objective!r}")
    resolved = resolve_loss(loss, temperature)
    _check_numbers(objective, mu, chunk_size)
    functional = FunctionalModel.of(model, parameters)
    if objective == "baseline":
        ones = {
            n: torch.ones_like(p, dtype=torch.float64) for n, p in functional.parameters.items()
        }
        return Importances(objective, resolved.name, temperature, mu, 1, ones)
    require_independent_examples(model)
    with differentiable_kernels():
        count, sums, quartic_sums = _summed(
            functional, _chunks(functional, batches, chunk_size), objective, resolved
        )
    importances = Importances(
        objective, resolved.name, temperature, mu, count, sums, quartic_sums or None
    )
    _warn_of_clamped(importances)
    return importances


def _summed(
    model: FunctionalModel,
    chunks: Iterator[tuple[torch.Tensor, Any]],
    objective: str,
    loss: Loss,
) -> tuple[int, Tensors, Tensors]:
    """The number of examples, and the sums over them of the two importances."""
    count, engine = 0, None
    sums: Tensors = {}
    quartic_sums: Tensors = {}
    for inputs, targets in chunks:
        outputs = _checked_outputs(model, inputs, first_example=count)
        if objective != "fisher":
            _check_targets(inputs, targets)
            loss.check(outputs, targets)
        if engine is None:
            engine = engine_for(model, inputs)
        importance, quartic = _per_example(engine, model, objective, loss, inputs, targets, outputs)
        _accumulate(sums, importance)
        _accumulate(quartic_sums, quartic)
        count += len(inputs)
    if count == 0:
        raise ValueError("batches gave no example")
    return count, sums, quartic_sums


def _per_example(
    engine: PerExampleEngine,
    model: FunctionalModel,
    objective: str,
    loss: Loss,
    inputs: torch.Tensor,
    targets: Any,
    outputs: torch.Tensor,
) -> tuple[Tensors, Tensors]:
    """The summands of both importances, ``(examples, *parameter)`` for each parameter."""
    if objective == "fisher":
        return engine.weighted_squares(model, inputs, loss.fisher_seeds(outputs)), {}
    if objective == "hessian":
        return hessian_diagonals(engine, model, loss, inputs, targets, outputs), {}
    squares = engine.weighted_squares(model, inputs, loss.gradient_seeds(outputs, targets))
    if objective == "gradient":
        return squares, {}
    curvature = hessian_diagonals(engine, model, loss, inputs, targets, outputs)
    return squares, {name: h.square() / 4 for name, h in curvature.items()}


def _accumulate(sums: Tensors, per_example: Tensors) -> None:
    for name, values in per_example.items():
        total = values.sum(0)
        sums[name] = sums[name].add_(total) if name in sums else total


def _chunks(
    model: FunctionalModel, batches: Iterable[tuple[torch.Tensor, Any]], chunk_size: int | None
) -> Iterator[tuple[torch.Tensor, Any]]:
    """Batches, checked and cut into chunks of at most ``chunk_size`` examples."""
    if chunk_size is None:
        weights = sum(p.numel() for p in model.parameters.values())
        chunk_size = max(1, _CHUNK_BYTES // (20 * max(weights, 1)))
    for position, batch in enumerate(batches):
        inputs, targets = _checked_batch(position, batch)
        for start in range(0, len(inputs), chunk_size):
            part = slice(start, start + chunk_size)
            yield inputs[part], targets[part] if isinstance(targets, torch.Tensor) else None


def _checked_batch(position: int, batch: Any) -> tuple[torch.Tensor, Any]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(
            f"batches must yield pairs (input, target); batch {position} is {type(batch).__name__}"
        )
    inputs, targets = batch
    if not isinstance(inputs, torch.Tensor) or inputs.ndim == 0:
        raise TypeError(
            f"batches: the input of batch {position} must be a tensor with examples along its "
            f"first dimension; got {type(inputs).__name__}"
        )
    if isinstance(targets, torch.Tensor) and targets.shape[:1] != inputs.shape[:1]:
        raise ValueError(
            f"batches: batch {position} has {len(inputs)} inputs and targets of shape "
            f"{tuple(targets.shape)}"
        )
    return inputs, targets


def _check_targets(inputs: torch.Tensor, targets: Any) -> None:
    if not isinstance(targets, torch.Tensor):
        raise TypeError("batches: this objective needs targets as tensors; only fisher does not")


def _checked_outputs(
    model: FunctionalModel, inputs: torch.Tensor, first_example: int
) -> torch.Tensor:
    """Outputs of a chunk, finite and, on the first chunk, independent of its other examples."""
    with torch.no_grad():
        outputs = model(model.parameters, inputs)
        alone = model(model.parameters, inputs[:1]) if first_example == 0 else outputs[:1]
    finite = outputs.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        bad = first_example + int((~finite).nonzero()[0])
        raise ValueError(f"model: the output of example {bad} is not finite")
    tolerance = math.sqrt(torch.finfo(outputs.dtype).eps) * float(outputs.abs().max())
    if bool(((alone - outputs[:1]).abs() > tolerance).any()):
        raise ValueError(
            "model: the output of example 0 changes with the other examples of its batch, so no "
            "per-example gradient is defined; call model.eval() first, or normalise each example "
            "by itself"
        )
    return outputs


def _check_numbers(objective: str, mu: float, chunk_size: int | None) -> None:
    if not (math.isfinite(mu) and mu >= 0):
        raise ValueError(f"mu must be finite and not negative; got {mu}")
    if mu and objective != "hessian":
        raise ValueError(
            f'mu is added by objective "hessian" alone; got mu={mu} with {objective!r}'
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1; got {chunk_size}")


def _warn_of_clamped(importances: Importances) -> None:
    if importances.objective == "hessian" and any(importances.clamped.values()):
        worst = max(importances.clamped, key=importances.clamped.__getitem__)
        warnings.warn(
            f"{sum(importances.clamped.values())} entries of the mean Hessian are negative and "
            f"count as zero; most are in {worst!r} ({importances.clamped[worst]}). mu > 0 keeps "
            "such weights from being free to move",
            stacklevel=3,
        )
