"""A layer pruned under its whole importance matrix: what is kept makes up for what goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from wkmeans._pruning import compensate, prune
from wkmeans.compression._plan import Options
from wkmeans.compression._quantize import as_weights, quantize
from wkmeans.compression.calibration.codebooks import matrices_of_rows
from wkmeans.compression.calibration.objective import FloatArray, Target
from wkmeans.compression.tensors.dtypes import as_numpy
from wkmeans.compression.tensors.tensor import CompressedTensor


def pruned(target: Target, k: int, options: Options, weights: torch.Tensor) -> CompressedTensor:
    """Mask, compensation and then codebooks that keep every zero.

    Codebooks are optimal for the diagonal of the matrix: labels by feedback of errors would not
    leave zeros alone.

    Parameters
    ----------
    target : Target
        What the layer is to reach.
    k : int
        Centroids, one of which is zero.
    options : Options
        With a density or a pattern.
    weights : tensor
        The parameter: its dtype and layout, and the zeros that it has already.
    """
    _, outputs, inputs = target.weights.shape
    rows = target.weights.reshape(-1, inputs)
    importance = target.outputs.reshape(-1, 1)
    matrices = matrices_of_rows(target)
    mask = prune(
        rows,
        options.density,
        pattern=options.pattern,
        importance_matrix=matrices,
        importance=importance,
        n_threads=options.n_threads,
    )
    if options.keep_zeros:
        mask = mask & (target.layer.matrices(weights) != 0).reshape(-1, inputs).numpy()
    kept = compensate(rows, mask, importance_matrix=matrices)
    diagonal = np.einsum("gii->gi", target.matrix).repeat(outputs, axis=0)
    shape = tuple(weights.shape)

    def restored(values: FloatArray) -> torch.Tensor:
        matrix = torch.from_numpy(np.ascontiguousarray(values).reshape(target.weights.shape))
        return target.layer.restored(matrix, shape).contiguous()

    tensor = quantize(
        as_weights(
            as_numpy(target.name, restored(kept).to(weights.dtype)),
            as_numpy(target.name, restored(importance * diagonal)),
            None,
        ),
        k,
        replace(options, density=None, pattern=None, keep_zeros=True),
    )
    values = target.layer.matrices(torch.from_numpy(tensor.dequantize().astype(np.float64)))
    errors = target.weights - values.numpy()
    return replace(tensor, cost=_cost(errors, target))


def _cost(errors: FloatArray, target: Target) -> float:
    rows = np.einsum("goi,gij,goj->go", errors, target.matrix, errors, optimize=True)
    return float((target.outputs * rows).sum())
