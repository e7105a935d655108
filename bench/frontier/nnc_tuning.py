"""What NNCodec's options that use data ask of its user: losses, and trained scales and vectors.

Targets are the original network's own outputs on the inputs that calibrate ours, without labels:
its softmax where outputs are logits. Training is as NNCodec's own for PyTorch (Adam, batches of 64,
30 epochs, the one of least loss on inputs held out), which wants labels and loads only together
with data sets. Other than there, the rate is 1e-3, as 1e-4 is made for more batches than we have,
any gain counts, and normalisations keep their moments while vectors are tuned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from end_metrics import Network, State
from files import UnreachableError
from torch.nn import functional

Arrays = dict[str, npt.NDArray[np.float32]]
Pair = tuple[torch.Tensor, torch.Tensor]

SCALING = "_scaling"
"""What NNCodec adds to the name of a weight for that of its rows' scales."""

_RATE = 1e-3
_EPOCHS = 30
_BATCH = 64
_HELD_OUT = 5  # every fifth input, as many as choose settings of ours


class Tuner:
    """NNCodec's interface `ModelExecute`, for one network."""

    def __init__(self, network: Network) -> None:
        if not all(isinstance(batch, torch.Tensor) for batch in network.calibration):
            raise UnreachableError("inputs are not tensors")
        self._network = network
        inputs = torch.cat(list(network.calibration))
        with torch.no_grad():
            outputs = torch.cat([network.call(batch) for batch in inputs.split(_BATCH)])
        held_out = torch.arange(len(inputs)) % _HELD_OUT == 0
        self._held_out = inputs[held_out], outputs[held_out]
        self._train = inputs[~held_out], outputs[~held_out]

    def has_eval(self) -> bool:
        return True

    def has_test(self) -> bool:
        return False

    def has_tune_ft(self) -> bool:
        return True

    def has_tune_lsa(self) -> bool:
        return True

    def eval_model(self, parameters: Mapping[str, Any], verbose: bool = False) -> dict[str, float]:
        """What stands for an accuracy where quantisation parameters are optimised."""
        return {"acc": -100 * self._mean_loss(_tensors(parameters))}

    def tune_model(
        self,
        parameters: Mapping[str, Any],
        param_types: Mapping[str, str],
        lsa_flag: bool,
        ft_flag: bool,
        **_: Any,
    ) -> tuple[Arrays, Arrays]:
        """Scales of rows and, where wanted, vectors that make up for what the weights lost."""
        state = _tensors(parameters)
        scales = [name for name in state if param_types[name] == "weight.ls" and lsa_flag]
        vectors = [
            name
            for name, _ in self._network.module.named_parameters()
            if param_types[name] != "weight" and ft_flag
        ]
        best = self._fitted(state, scales + vectors)
        return {name: best[name] for name in scales}, {name: best[name] for name in vectors}

    def _fitted(self, state: State, names: list[str]) -> Arrays:
        """The tensors of these names, tuned."""
        tuned = {name: state[name].requires_grad_() for name in names}
        optimizer = torch.optim.Adam(tuned.values(), lr=_RATE)
        least, best = self._mean_loss(state), _arrays(tuned)
        generator = torch.Generator().manual_seed(0)
        for _ in range(_EPOCHS):
            order = torch.randperm(len(self._train[0]), generator=generator)
            for inputs, targets in _batches(self._train, order):
                loss = self._loss(state, inputs, targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            reached = self._mean_loss(state)
            if reached < least:
                least, best = reached, _arrays(tuned)
        return best

    def _mean_loss(self, state: State) -> float:
        """Of the inputs held out."""
        order = torch.arange(len(self._held_out[0]))
        with torch.no_grad():
            total = sum(
                float(self._loss(state, *batch)) * len(batch[0])
                for batch in _batches(self._held_out, order)
            )
        return total / len(order)

    def _loss(self, state: State, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        outputs = self._network.call(inputs, scaled(state))
        if self._network.loss == "mse":
            return functional.mse_loss(outputs, targets)
        p, q = targets.log_softmax(-1), outputs.log_softmax(-1)
        return functional.kl_div(q, p, reduction="batchmean", log_target=True)


def scaled(state: State) -> State:
    """The weights times the scales of their rows, and everything else as it is."""
    plain = {name: tensor for name, tensor in state.items() if not name.endswith(SCALING)}
    for name in state.keys() - plain.keys():
        weight = plain[name.removesuffix(SCALING)]
        scale = state[name].reshape(-1, *[1] * (weight.ndim - 1))
        plain[name.removesuffix(SCALING)] = weight * scale
    return plain


def _batches(pair: Pair, order: torch.Tensor) -> Iterator[Pair]:
    for chosen in order.split(_BATCH):
        yield pair[0][chosen], pair[1][chosen]


def _tensors(parameters: Mapping[str, Any]) -> State:
    return {name: torch.from_numpy(np.array(values)) for name, values in parameters.items()}


def _arrays(state: State) -> Arrays:
    return {name: tensor.detach().numpy().copy() for name, tensor in state.items()}
