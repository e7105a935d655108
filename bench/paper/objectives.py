"""The objectives of Tables 1 and 2, and the shortcut that they are compared with."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from compression import Objective, Weights
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from wkmeans.demo._data import Split
from wkmeans.importance import Importances, estimate

UNSUPERVISED = ("fisher",)
SUPERVISED = ("gradient", "hessian", "gradient+hessian")
BATCH_GRADIENT = "batch gradient"
WEIGHTED = (*UNSUPERVISED, *SUPERVISED, BATCH_GRADIENT)
_BATCH = 64


class Estimates:
    """Importances of one network by objective, temperature and mu, cached in a directory.

    Fisher's and the Hessian's diagonals are one quantity here (ReLU, max pooling, softmax
    cross-entropy: `theorem_gap` measures it), as are the quadratic parts of the two gradient
    objectives. Each is estimated once.
    """

    def __init__(self, net: nn.Module, examples: Split, cache: Path) -> None:
        self._net = net
        self._examples = examples
        self._cache = cache
        self.weights: Weights = {n: p.detach() for n, p in net.named_parameters() if p.ndim > 1}

    @property
    def inputs(self) -> list[torch.Tensor]:
        """The examples in batches, without their labels."""
        return [inputs for inputs, _ in self._examples.batches(_BATCH)]

    def objective(self, name: str, temperature: float = 1.0, mu: float = 0.0) -> Objective:
        """Of one of `WEIGHTED`; ``mu`` is in units of the mean of all importances (C.3.2)."""
        if name == BATCH_GRADIENT:
            return self._squared_batch_gradients(temperature)
        if name in ("gradient", "gradient+hessian"):
            both = self._estimated("gradient+hessian", temperature)
            return (
                both if name == "gradient+hessian" else {n: (I, None) for n, (I, _) in both.items()}
            )
        fisher = self._estimated("fisher", temperature)
        if name == "fisher":
            return fisher
        total = sum(float(I.sum()) for I, _ in fisher.values())
        shift = mu * total / sum(I.numel() for I, _ in fisher.values())
        return {n: (I + shift, None) for n, (I, _) in fisher.items()}

    def baseline(self) -> Objective:
        """All ones."""
        return {n: (torch.ones_like(w, dtype=torch.float64), None) for n, w in self.weights.items()}

    def theorem_gap(self, n_examples: int, per_tensor: int) -> float:
        """Largest ``|hessian - fisher| / max fisher`` of a tensor, over ``per_tensor`` weights.

        Fisher as estimated; the Hessian's entries of the mean cross-entropy by second derivatives,
        in double, at weights spread over the ranks of the importances. Zero but for rounding where
        the two are one quantity.
        """
        few = self._examples.first(n_examples)
        fisher = self._estimate(few, "fisher", 1.0)
        double = copy.deepcopy(self._net).double()

        def entry(name: str, index: int) -> float:
            def loss(weight: torch.Tensor) -> torch.Tensor:
                logits = functional_call(double, {name: weight}, (few.inputs.double(),))
                return functional.cross_entropy(logits, few.targets)

            weight = double.get_parameter(name).detach()
            axis = torch.zeros_like(weight)
            axis.view(-1)[index] = 1
            _, slope = torch.func.jvp(torch.func.grad(loss), (weight,), (axis,))
            return float(slope.detach().view(-1)[index])

        def gap(name: str, importance: torch.Tensor) -> float:
            ranked = importance.flatten().argsort()
            spread = ranked[torch.linspace(0, len(ranked) - 1, per_tensor).long()]
            errors = [abs(entry(name, int(i)) - float(importance.view(-1)[i])) for i in spread]
            return max(errors) / float(importance.max())

        return max(gap(name, importance) for name, (importance, _) in fisher.items())

    def _estimated(self, objective: str, temperature: float) -> Importances:
        path = self._cache / f"{objective}-{temperature:g}.safetensors"
        if not path.exists():
            partial = path.with_suffix(".partial")
            self._estimate(self._examples, objective, temperature).save(partial)
            partial.replace(path)
        return Importances.load(path)

    def _estimate(self, examples: Split, objective: str, temperature: float) -> Importances:
        return estimate(
            self._net,
            examples.batches(_BATCH),
            objective=objective,
            temperature=temperature,
            parameters=list(self.weights),
        )

    def _squared_batch_gradients(self, temperature: float) -> Objective:
        """``E_batches (E_batch dL/dw)^2`` over the same examples: what peers compute."""
        sums = {n: torch.zeros_like(w, dtype=torch.float64) for n, w in self.weights.items()}
        for gradients in self._batch_gradients(temperature):
            for name, gradient in zip(sums, gradients, strict=True):
                sums[name] += gradient.double().square()
        return {name: (total, None) for name, total in sums.items()}

    def _batch_gradients(self, temperature: float) -> Iterator[tuple[torch.Tensor, ...]]:
        parameters = [self._net.get_parameter(name) for name in self.weights]
        for inputs, targets in self._examples.batches(_BATCH):
            loss = functional.cross_entropy(self._net(inputs) / temperature, targets)
            yield torch.autograd.grad(loss, parameters)
