"""`estimate`: its arguments, checked, and the loop over batches."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sized
from functools import partial
from os import PathLike
from typing import Any

import torch
from torch import nn

from wkmeans.importance._importances import Importances
from wkmeans.importance.losses.cross_entropy import CrossEntropy
from wkmeans.importance.losses.losses import Loss, LossFunction, SquaredError
from wkmeans.importance.model.batches import check_iterable, read_batch
from wkmeans.importance.model.functional import (
    Forward,
    FunctionalModel,
    ParameterFilter,
    require_independent_examples,
    whole,
)
from wkmeans.importance.model.lease import lend
from wkmeans.importance.run.checkpoint import Checkpoint
from wkmeans.importance.run.progress import ProgressFunction, reporting
from wkmeans.importance.run.run import Run
from wkmeans.importance.run.state import OBJECTIVES
from wkmeans.importance.second.curvature import CURVATURES


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
    progress: bool | ProgressFunction | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int = 100,
) -> Importances:
    """Importances of a model's weights, exact and per example (Gao et al. 2019, 5.1, 6.1, 6.2).

    With ``L`` one example's loss, ``f`` its output (its softmax, for a classifier) and ``E`` the
    mean over examples, the objectives are:

    ======================  =====================================  =======================
    objective               importance                             quartic importance
    ======================  =====================================  =======================
    ``"baseline"``          1
    ``"fisher"``            ``E sum_c (df_c/dw)^2 / f_c`` (Eq. 6)
                            ``E ||df/dw||^2`` (Eq. 5, ``"mse"``)
    ``"gradient"``          ``E (dL/dw)^2``
    ``"hessian"``           ``max(E d2L/dw2, 0) + mu``
    ``"gradient+hessian"``  ``E (dL/dw)^2``                        ``E (d2L/dw2)^2 / 4``
    ======================  =====================================  =======================

    The quartic importance is the coefficient of ``(w - c)^4``, its 1/4 included. Derivatives and
    their squares are in the model's dtype, or single precision if that is half; sums over batches
    are float64. On a piecewise linear network (ReLU) with softmax cross-entropy ``"fisher"`` and
    ``"hessian"`` are the same by theorem: they are not independent evidence.

    Parameters
    ----------
    model : torch.nn.Module
        Returns a tensor with one row for each example, or an object or a dict with such a tensor as
        its ``logits``. It is
        left exactly as it was: parameters, ``.grad``, buffers, mode, hooks. Threads that estimate
        at once wait for one another, batch by batch. Examples must not depend on one another:
        BatchNorm or dropout in training mode are refused, not switched off. A model in a wrapper
        (``torch.compile``, ``DataParallel``, ``AveragedModel``, ...) is taken out of it: names are
        the plain model's.
    batches : iterable
        Pairs ``(input, target)`` of tensors whose first dimension is the example, on the model's
        device. An input may be a tuple or a dict of tensors, and is then passed as ``*input`` or
        ``**input``; a dict alone is an input with the target under ``"labels"``, which there means
        what the model takes it for: a causal language model's own tokens, each the target of the
        position before, as its own loss of the first examples shows. Positions that an input's
        ``attention_mask`` hides (``decoder_attention_mask``, where there is a decoder) do not
        count. ``"fisher"`` needs inputs alone, ``"baseline"`` no batches.
    objective : str
        One of the five above.
    loss : str or function
        ``"cross_entropy"`` (class indices, and logits of shape ``(examples, classes)``, or
        ``(examples, positions, classes)``, where an example's loss is the mean over the positions
        whose target is not -100), ``"mse"`` (mean over one example's outputs) or a function
        ``(output, target) -> per-example losses``.
    temperature : float
        Divides the logits (C.3.1); see ``calibrate_temperature``.
    mu : float
        Added to the Hessian (C.3.2), which alone has it; see ``search_mu``.
    parameters : iterable of names, or predicate (name, parameter) -> bool, optional
        Which parameters; by default every floating-point one that requires a gradient. A tensor
        used under several names is one parameter, its derivatives summed before they are squared,
        under the first name that ``model.named_parameters()`` gives.
    chunk_size : int, optional
        Examples differentiated together; by default a batch, or as many as keep what is propagated
        for all seeds of one chunk under 32 MiB. It changes the result by rounding alone.
    forward : function (model, input) -> output, optional
        How to call the model where ``model(input)`` is not it.
    per : ``"example"`` or ``"token"``
        What the mean is over; ``"token"``: the loss at each position by itself, its gradient
        squared by itself (a backward pass for each position, unless ``probes``).
    probes : int, optional
        Estimate Fisher, Gauss-Newton and the Hessian from so many random probes of each example,
        unbiased and the same in every run, instead of one seed for each class or output. By
        default exact up to 1,024 seeds an example, and up to 16 probes beyond, as ``methods`` then
        says. From two on, ``Importances.standard_error`` says what they leave uncertain.
    curvature : str
        Where the Hessian is not Gauss-Newton, as the first examples show for each parameter:
        ``"exact"``, second derivatives, whatever they cost; ``"propagation"``, unbiased estimates
        for all layers together from ``probes``, 4 by default, of two backward passes each (Martens
        et al. 2012), but Hutchinson's for what is used twice or what no rule covers;
        ``"hutchinson"``, unbiased estimates layer by layer, from 16 by default; ``"auto"``, the
        first of these that takes no more than 2**28 products times weights of the model, as
        propagation always does, and Gauss-Newton, with a warning, beyond. ``"gauss-newton"`` asks
        nothing.
    seed : int
        Of the probes.
    progress : bool or function (batches, examples), optional
        ``True`` shows a bar on standard error, a function is called after each batch. By default
        there is a bar on a terminal once three seconds have passed, and none elsewhere.
    checkpoint : path, optional
        Where to keep the sums after every ``checkpoint_every`` batches. Where the file exists the
        run resumes from it, skips the batches that it holds, and gives the same bits as a run that
        was not interrupted. It warns where those are not the batches seen before, as a shuffling
        loader gives. The file is left in place at the end.
    checkpoint_every : int
        In batches.

    Returns
    -------
    Importances
        A mapping from parameter name to ``(importance, quartic_importance)``.

    Raises
    ------
    ValueError
        For arguments outside the above, a batch that does not fit the loss or the model's own loss,
        outputs or derivatives that are not finite, a model whose examples are not independent, and
        a checkpoint of another estimate.
    TypeError
        Where an input or the model's output is no tensor.

    Warns
    -----
    UserWarning
        Where entries of the mean Hessian are negative: the mapping holds zero there
        (``Importances.clamped`` counts them); where Gauss-Newton stands in for it.

    Notes
    -----
    One forward pass, and a backward pass without weight gradients for each seed: one for the
    gradient, ``C - 1`` for Fisher or Gauss-Newton of ``C`` classes. Analytic rules square the
    gradients of linear, convolutional (transposed too), embedding, attention and normalisation
    layers and of elementwise and matrix products with a parameter; others are differentiated by
    ``torch.func.vmap`` or, where that is refused, one example after another
    (``Importances.methods``). The first examples of each shape of batch check that the rules' sum
    is autograd's gradient; for second derivatives they are also asked whether Gauss-Newton is the
    Hessian: all layers together by some ten backward passes, what no rule covers by four for each
    parameter. Memory is independent of examples times parameters: float64 sums of each importance
    and of the variance of each that is random, and what is propagated for a chunk of examples.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective: expected one of {', '.join(OBJECTIVES)}, got {objective!r}")
    resolved = resolve_loss(loss, temperature, per)
    _check_numbers(objective, mu, chunk_size, probes, checkpoint_every)
    if curvature not in CURVATURES:
        raise ValueError(f"curvature: expected one of {', '.join(CURVATURES)}, got {curvature!r}")
    check_iterable("batches", batches)
    model = whole(model)
    functional = lend(model, lambda: FunctionalModel.of(model, parameters, forward))
    if objective == "baseline":
        ones = {
            n: torch.ones_like(p, dtype=torch.float64) for n, p in functional.parameters.items()
        }
        return Importances(objective, resolved.name, temperature, mu, 1, ones)
    require_independent_examples(model)
    run = Run(functional, objective, resolved, curvature, probes, seed, chunk_size, mu)
    saved = None
    if checkpoint is not None:
        saved = Checkpoint(checkpoint, {"per": per, "probes": probes, "curvature": curvature,
                                        "seed": seed, "chunk_size": chunk_size})  # fmt: skip
    _sum_over(run, batches, saved, checkpoint_every, progress)
    if run.count == 0:
        raise ValueError("batches: expected at least one example, got none")
    importances = run.importances()
    _warn_of_clamped(importances)
    return importances


def _sum_over(
    run: Run,
    batches: Iterable[Any],
    saved: Checkpoint | None,
    every: int,
    progress: bool | ProgressFunction | None,
) -> None:
    done = 0
    if saved is not None and (kept := saved.read()) is not None:
        done = kept.batches
        run.resume(kept.state, kept.methods)
    n_batches = len(batches) if isinstance(batches, Sized) else None
    with reporting(progress, n_batches) as reports:
        position = -1
        for position, raw in enumerate(batches):
            batch = read_batch(position, raw, needs_targets=run.needs_targets)
            if saved is not None:
                saved.see(position, batch)
            if position < done:
                continue
            lend(run.model.module, partial(run.add, batch, position, reports.within_batch))
            reports.after_batch(position + 1, run.count)
            if saved is not None and (position + 1) % every == 0 and run.count:
                saved.write(run.importances(), position + 1, run.second.methods)
        if saved is not None:
            saved.finish(position + 1)


def resolve_loss(loss: str | LossFunction, temperature: float, per: str) -> Loss:
    """The ``Loss`` of ``estimate``'s arguments."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature: expected a positive, finite number, got {temperature}")
    if per not in ("example", "token"):
        raise ValueError(f'per: expected "example" or "token", got {per!r}')
    if per == "token" and loss != "cross_entropy":
        raise ValueError(f'loss: expected "cross_entropy" with per="token", got {loss!r}')
    if callable(loss):
        return Loss(loss, temperature)
    if loss == "cross_entropy":
        return CrossEntropy(temperature, per_token=per == "token")
    if loss == "mse":
        if temperature != 1:
            raise ValueError(
                f'temperature: expected 1 for loss "mse", which has no logits to divide, got '
                f"{temperature}"
            )
        return SquaredError()
    raise ValueError(
        f'loss: expected "cross_entropy", "mse" or a function (output, target) -> per-example '
        f"losses, got {loss!r}"
    )


def _check_numbers(
    objective: str, mu: float, chunk_size: int | None, probes: int | None, every: int
) -> None:
    if every < 1:
        raise ValueError(f"checkpoint_every: expected at least 1, got {every}")
    if not (math.isfinite(mu) and mu >= 0):
        raise ValueError(f"mu: expected a finite, non-negative number, got {mu}")
    if mu and objective != "hessian":
        raise ValueError(
            f'mu: expected 0 for objectives other than "hessian", got {mu} with {objective!r}'
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size: expected at least 1, got {chunk_size}")
    fewest = 2 if objective == "gradient+hessian" else 1
    if probes is not None and probes < fewest:
        raise ValueError(f"probes: expected at least {fewest} for {objective!r}, got {probes}")


def _warn_of_clamped(importances: Importances) -> None:
    if importances.objective == "hessian" and any(importances.clamped.values()):
        worst = max(importances.clamped, key=importances.clamped.__getitem__)
        warnings.warn(
            f"{sum(importances.clamped.values())} entries of the mean Hessian are negative and "
            f"count as zero; most are in {worst!r} ({importances.clamped[worst]}). mu > 0 keeps "
            "such weights from being free to move",
            stacklevel=3,
        )
