"""What is compressed and judged: a network, what calibrates it, and what its outputs are for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

import wkmeans.importance

State = dict[str, torch.Tensor]
Metric = Callable[[torch.Tensor, torch.Tensor], float]
"""Of outputs on all test inputs, given the original network's too."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its data.

    Attributes
    ----------
    module : torch.nn.Module
    calibration : sequence of batches
        Inputs alone, none of them a test input.
    inputs : sequence of batches
        The test inputs: tensors, or dicts of them.
    loss : {"cross_entropy", "mse"}
        What outputs are, as `wkmeans.compress` has it.
    metric_name, metric
        What the network is for.
    n_answers : int
        Of which the metric is a share, or a correlation.
    probes : int, optional
        For the importances of networks with many outputs.
    """

    module: nn.Module
    calibration: Sequence[Any]
    inputs: Sequence[Any]
    loss: str
    metric_name: str
    metric: Metric
    n_answers: int
    probes: int | None = None

    @property
    def n_weights(self) -> int:
        """All parameters: what a size in bits a weight counts."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def evaluate(self, state: State) -> float:
        """The metric of a state dict."""
        return self.metric(self._outputs(state), self.original)

    def judge(self, state: State) -> tuple[float, float]:
        """Divergence from the original on test inputs, and the metric.

        The divergence is ``KL(original || state)`` of the softmax in nats or, with squared error,
        the error's square over the outputs' square.
        """
        outputs, original = self._outputs(state), self.original
        if self.loss == "cross_entropy":
            p, q = original.log_softmax(-1), outputs.log_softmax(-1)
            divergence = (p.exp() * (p - q)).sum(-1).mean()
        else:
            divergence = (outputs - original).square().sum() / original.square().sum()
        return float(divergence), self.metric(outputs, original)

    @cached_property
    def importances(self) -> Any:
        """Fisher's from `probes`, once for all sizes; None where `compress` estimates them."""
        if self.probes is None:
            return None
        return wkmeans.importance.estimate(
            self.module,
            [(batch, None) for batch in self.calibration],
            objective="fisher",
            loss=self.loss,
            probes=self.probes,
        )

    @cached_property
    def original(self) -> torch.Tensor:
        """The uncompressed network's outputs on all test inputs."""
        return self._outputs(self.module.state_dict())

    def call(self, batch: Any, state: State | None = None) -> torch.Tensor:
        """Outputs of one batch, by the tensors of `state` where there is one."""
        positional, named = ((), dict(batch)) if isinstance(batch, Mapping) else ((batch,), {})
        outputs: torch.Tensor = functional_call(self.module, state or {}, positional, named)
        return outputs

    def _outputs(self, state: State) -> torch.Tensor:
        """In double precision, which tells small divergences from rounding."""
        with torch.inference_mode():
            return torch.cat([self.call(batch, state) for batch in self.inputs]).double()
