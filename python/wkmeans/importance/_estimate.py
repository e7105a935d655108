"""`estimate`: its arguments, checked, and the loop over batches."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from wkmeans.importance._batches import read_batch
from wkmeans.importance._cross_entropy import CrossEntropy
from wkmeans.importance._curvature import CURVATURES
from wkmeans.importance._functional import (
    Forward,
    FunctionalModel,
    ParameterFilter,
    differentiable_kernels,
    require_independent_examples,
)
from wkmeans.importance._importances import OBJECTIVES, Importances
from wkmeans.importance._losses import Loss, LossFunction, SquaredError
from wkmeans.importance._run import Run


def estimate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    objective: str = "gradient+hessian",
    loss: str | LossFunction = "cross_entropy",
    temperature: float = 1.0,
    mu: float = 0.0,
    parameters: ParameterFilter | None = None,
    chunk_size: int | None = None,
    forward: Forward | None = None,
    per: str = "example",
    probes: int | None = None,
    curvature: str = "auto",
    seed: int = 0,
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
    resolved = resolve_loss(loss, temperature, per)
    _check_numbers(objective, mu, chunk_size, probes)
    if curvature not in CURVATURES:
        raise ValueError(f"curvature must be one of {', '.join(CURVATURES)}; got {curvature!r}")
    functional = FunctionalModel.of(model, parameters, forward)
    if objective == "baseline":
        ones = {
            n: torch.ones_like(p, dtype=torch.float64) for n, p in functional.parameters.items()
        }
        return Importances(objective, resolved.name, temperature, mu, 1, ones)
    require_independent_examples(model)
    run = Run(functional, objective, resolved, curvature, probes, seed, chunk_size)
    with differentiable_kernels():
        for position, batch in enumerate(batches):
            run.add(read_batch(position, batch), position)
    if run.count == 0:
        raise ValueError("batches gave no example")
    importances = Importances(
        objective, resolved.name, temperature, mu, run.count, run.sums, run.quartic_sums or None,
        run.methods,
    )
    _warn_of_clamped(importances)
    return importances


def resolve_loss(loss: str | LossFunction, temperature: float, per: str) -> Loss:
    """The ``Loss`` of ``estimate``'s arguments."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be positive and finite; got {temperature}")
    if per not in ("example", "token"):
        raise ValueError(f'per must be "example" or "token"; got {per!r}')
    if per == "token" and loss != "cross_entropy":
        raise ValueError(f'per="token" needs loss="cross_entropy"; got {loss!r}')
    if callable(loss):
        return Loss(loss, temperature)
    if loss == "cross_entropy":
        return CrossEntropy(temperature, per_token=per == "token")
    if loss == "mse":
        if temperature != 1:
            raise ValueError(
                f'temperature divides logits, and loss "mse" has none: it must be 1; got '
                f"{temperature}"
            )
        return SquaredError()
    raise ValueError(
        f'loss must be "cross_entropy", "mse" or a function (output, target) -> per-example '
        f"losses; got {loss!r}"
    )


def _check_numbers(objective: str, mu: float, chunk_size: int | None, probes: int | None) -> None:
    if not (math.isfinite(mu) and mu >= 0):
        raise ValueError(f"mu must be finite and not negative; got {mu}")
    if mu and objective != "hessian":
        raise ValueError(
            f'mu is added by objective "hessian" alone; got mu={mu} with {objective!r}'
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1; got {chunk_size}")
    fewest = 2 if objective == "gradient+hessian" else 1
    if probes is not None and probes < fewest:
        raise ValueError(f"probes must be at least {fewest} for {objective!r}; got {probes}")


def _warn_of_clamped(importances: Importances) -> None:
    if importances.objective == "hessian" and any(importances.clamped.values()):
        worst = max(importances.clamped, key=importances.clamped.__getitem__)
        warnings.warn(
            f"{sum(importances.clamped.values())} entries of the mean Hessian are negative and "
            f"count as zero; most are in {worst!r} ({importances.clamped[worst]}). mu > 0 keeps "
            "such weights from being free to move",
            stacklevel=3,
        )
