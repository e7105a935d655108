"""A layer by codebooks of k centroids, under its whole importance matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from wkmeans._kernels.arrays import Array
from wkmeans._kernels.dtypes import numpy_dtype
from wkmeans._kernels.matrix_cluster import cluster
from wkmeans._kernels.threads import resolve_n_threads
from wkmeans.compression._plan import Options
from wkmeans.compression.calibration.objective import FloatArray, Target
from wkmeans.compression.tensors.tensor import CompressedTensor, compressed_tensor

_MATRIX_BYTES = 1 << 30  # of one matrix a row, where a layer has groups


def why_no_codebooks(options: Options) -> str | None:
    """What of the options codebooks under a matrix do not serve."""
    if options.prunes:
        return None
    if options.granularity not in ("tensor", "channel"):
        return "a whole matrix has codebooks for tensors and channels, not for groups"
    if options.keep_zeros:
        return "labels with feedback of errors keep no weight at zero"
    return None


def serves(target: Target, options: Options) -> bool:
    """Whether this layer's rows are the channels that codebooks and scales are for."""
    groups, outputs, inputs = target.weights.shape
    matrices = 8 * groups * outputs * inputs**2 if groups > 1 else 0
    by_channel = not options.prunes and (options.granularity == "channel" or options.channel_scales)
    return matrices <= _MATRIX_BYTES and not (by_channel and target.layer.transposed)


def with_codebooks(
    target: Target, k: int, options: Options, shape: tuple[int, ...], dtype: str
) -> CompressedTensor:
    """One codebook for the tensor, or one for each row as if rows did not matter together."""
    rows = target.weights.reshape(-1, target.weights.shape[2])
    importance = target.outputs.reshape(-1, 1)
    scale = _row_scales(rows) if options.channel_scales else None
    if scale is not None:
        rows = rows / scale[:, np.newaxis]
        importance = importance * scale[:, np.newaxis].astype(np.float64) ** 2
    per_row = options.granularity == "channel"
    clustering = cluster(
        rows,
        k,
        importance_matrix=matrices_of_rows(target),
        importance=importance,
        per_row=per_row,
        centroid_dtype=_codebook_dtype(options, dtype, scale),
        include_zero=False,
        n_threads=resolve_n_threads(options.n_threads),
        coupling=None if per_row else target.coupling,
    )
    labels: Any = clustering.labels
    return compressed_tensor(
        np.ascontiguousarray(labels.T if target.layer.transposed else labels).reshape(shape),
        np.asarray(clustering.centroids).reshape(-1, k),
        dtype=dtype,
        granularity=options.granularity,
        coding=options.coding,
        codebook_scale=None if clustering.scale is None else np.reshape(clustering.scale, -1),
        channel_scale=scale,
        cost=float(np.sum(clustering.cost)),
    )


def matrices_of_rows(target: Target) -> FloatArray:
    """One for all rows, or the matrix of its group for each."""
    groups, outputs, _ = target.weights.shape
    return target.matrix[0] if groups == 1 else np.repeat(target.matrix, outputs, axis=0)


def _row_scales(rows: FloatArray) -> Array:
    """Root mean squares, 1 where a row is zero."""
    scale = np.sqrt(np.mean(rows**2, axis=1)).astype(np.float32)
    return np.where(np.isfinite(scale) & (scale > 0), scale, np.float32(1))


def _codebook_dtype(options: Options, dtype: str, scale: Array | None) -> str:
    if options.codebook_dtype is not None:
        return options.codebook_dtype
    if scale is None:
        return dtype
    return "float64" if dtype == "float64" else "float32"


def dense_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Of the tensor as it is."""
    return int(np.prod(shape, dtype=np.int64)) * numpy_dtype(dtype).itemsize
