"""What quantised weights of a layer are to reach, from moments of what it multiplies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from wkmeans.compression._floor import UNSEEN
from wkmeans.importance.matrices.layers import Layer
from wkmeans.importance.matrices.moments import Moments

FloatArray = npt.NDArray[np.float64]

_SPREAD = 0.02
"""Of the mean of inputs' second moments, for inputs that hardly vary in these examples."""


@dataclass(frozen=True)
class Settings:
    """How moments become an objective.

    Chosen on training images of Fashion-MNIST that did not calibrate: of floors .005, .02, .1, .3
    and ridges .02, .1, .3 the files of a fully connected network diverged least with these; of
    couplings 0, .5, .7, .85 and 1 it with 2, 4 and 16 centroids, a third less than with 0. Of
    dampings, it and a CNN of 61,000 weights diverged with .1 as with the best share of the mean,
    and with 1 by up to two thirds more.

    Attributes
    ----------
    ridge : float
        What draws the weights to be reached towards the original's, as a share of the mean second
        moment: they would follow the calibration examples too closely.
    damping : float
        What each input's second moment is raised by, as a share of it: weights are to bear so much
        noise of each input's own, as that of other inputs than these examples.
    floor : float
        What each output's importance is raised by, as a share of the mean of its layer.
    coupling : float
        The share that counts of what examples say of two outputs' errors together, below 1.
    biases : bool
        Whether these make up for what quantised weights do to the means of inputs; else the weights
        have to, which serves inputs of other means too.
    """

    ridge: float = 0.1
    damping: float = 0.1
    floor: float = 0.02
    coupling: float = 0.7
    biases: bool = True


@dataclass(frozen=True)
class Target:
    """What the quantised weights of a layer are to reach: ``sum_rs G_rs (w - v)_r S (w - v)_s'``.

    Attributes
    ----------
    name : str
        Of the parameter.
    weights : float64 array (groups, outputs, inputs)
    matrix : float64 array (groups, inputs, inputs)
        S.
    outputs : float64 array (groups, outputs)
        The diagonal g of G.
    coupling : float64 array (outputs, outputs), optional
        Of a layer of one group ``G_rs / sqrt(g_r g_s)``, positive definite; None: G is diagonal.
    """

    name: str
    layer: Layer
    weights: FloatArray
    matrix: FloatArray
    outputs: FloatArray
    coupling: FloatArray | None = None

    def of_rows(self, most: int) -> Target:
        """The same of so many rows of each group, evenly taken; of all where there are no more."""
        step = -(-self.weights.shape[1] // most)
        if step == 1:
            return self
        coupling = None if self.coupling is None else self.coupling[::step, ::step]
        weights, outputs = self.weights[:, ::step], self.outputs[:, ::step]
        return replace(self, weights=weights, outputs=outputs, coupling=coupling)

    def cost_of(self, values: FloatArray) -> float:
        """The objective, of values in any shape."""
        errors = self.weights - values.reshape(self.weights.shape)
        products = errors @ self.matrix
        if self.coupling is None:
            rows = np.einsum("gri,gri->gr", products, errors)
            return float((self.outputs * rows).sum())
        gram = gram_of(self.outputs[0], self.coupling)
        return float(np.einsum("ri,ri->", gram @ errors[0], products[0]))


def gram_of(outputs: FloatArray, coupling: FloatArray) -> FloatArray:
    """G, ``(outputs, outputs)``."""
    roots = np.sqrt(outputs)
    return np.asarray(coupling * np.outer(roots, roots))


def attainable(weights: torch.Tensor, moments: Moments, ridge: float) -> torch.Tensor:
    """Weights that give, from what the compressed layers before give, what the original's do.

    ``W (E x y' + r I) (E y y' + r I)^-1``, of each group, float64.
    """
    second = moments.second
    mean = second.diagonal(dim1=1, dim2=2).mean(1)
    solvable = mean > 0
    if not bool(solvable.any()):
        return weights
    added = ridge * mean[:, None]
    cross = moments.cross.clone()
    cross.diagonal(dim1=1, dim2=2).add_(added)
    right = (weights @ cross).mT
    del cross
    left = second.clone()
    left.diagonal(dim1=1, dim2=2).add_(torch.where(solvable[:, None], added, 1.0))
    solved: torch.Tensor = torch.linalg.solve(left, right).mT
    if bool(solvable.all()):
        return solved
    return torch.where(solvable[:, None, None], solved, weights)


def damped(matrix: torch.Tensor, damping: float) -> torch.Tensor:
    """With shares of each entry of its diagonal and of their mean added; the identity for zero.

    The latter for inputs that calibration hardly showed. Symmetric, which products in single
    precision need not be to the last bit.
    """
    diagonal = matrix.diagonal(dim1=1, dim2=2).clone()
    mean = diagonal.mean(1, keepdim=True)
    found = (matrix + matrix.mT).mul_(0.5)
    added = diagonal.mul_(damping).add_(min(damping, _SPREAD) * mean)
    found.diagonal(dim1=1, dim2=2).add_(torch.where(mean > 0, added, 1.0))
    return found


def unseen_outputs(outputs: torch.Tensor) -> torch.Tensor:
    """Which outputs no example reached, by their importances."""
    return outputs < UNSEEN * outputs.mean()


def outputs_floored(outputs: torch.Tensor, floor: float) -> torch.Tensor:
    """Importances of outputs raised by a share of their mean; those never seen count as the mean.

    Without a floor these count a millionth of it, as good as nothing, so that they have a step.
    """
    mean = outputs.mean()
    unseen = mean if floor else UNSEEN * mean
    return torch.where(unseen_outputs(outputs), unseen, outputs) + floor * mean


def rebalanced_bias(
    bias: torch.Tensor,
    before: torch.Tensor,
    after: torch.Tensor,
    original_mean: torch.Tensor,
    mean: torch.Tensor,
) -> torch.Tensor:
    """The bias that makes up for what other weights make of mean inputs; weights as stored."""
    moved = _means(before, original_mean) - _means(after, mean)
    return (bias.double() + moved.reshape(bias.shape)).to(bias.dtype)


def _means(weights: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """What mean inputs give, for all outputs in order."""
    return (weights @ first.unsqueeze(2)).flatten()
