"""One tensor: scales, zeros, codebooks and labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wkmeans._clustering import wkmeans
from wkmeans._entropy_constrained import EntropyConstrained, entropy_constrained
from wkmeans._kernels.arrays import Array
from wkmeans._kernels.checks import bad_value_message, shape_error, shown_index
from wkmeans._kernels.dtypes import label_dtype, numpy_dtype
from wkmeans._pruning import prune
from wkmeans.compression._plan import Options
from wkmeans.compression.tensors.layout import Layout, layout_of
from wkmeans.compression.tensors.tensor import CompressedTensor, compressed_tensor

_CHUNK = 1 << 17  # weights
_ITERATIONS = 20  # from a start that a sample has settled
_REFINED = 1 << 19  # weights: more of them would move centroids by a part in 1000


@dataclass(frozen=True, eq=False)
class Weights:
    """A tensor as rows of channels, with importances that broadcast to it, in the tensor's unit."""

    shape: tuple[int, ...]
    dtype: str
    rows: Array
    importance: Array | None
    quartic_importance: Array | None

    def weighed_by(self, importance: Array | None, quartic_importance: Array | None) -> Weights:
        """The same weights with other importances, which broadcast to the tensor's shape."""

        def rows(values: Array | None) -> Array | None:
            if values is None:
                return None
            return np.broadcast_to(values, self.shape).reshape(self.rows.shape)

        return replace(
            self, importance=rows(importance), quartic_importance=rows(quartic_importance)
        )

    def channels(self, some: Any) -> Weights:
        """Some of the rows."""

        def cut(array: Array | None) -> Array | None:
            return None if array is None else array[some]

        rows = self.rows[some]
        return Weights(
            rows.shape, self.dtype, rows, cut(self.importance), cut(self.quartic_importance)
        )

    def representative(self, size: int) -> Weights:
        """So many rows that they hold `size` weights, with importances that make them all of them.

        Rows that hold more than their share of what zeroing every weight would cost are all there,
        up to half of the sample; of the others, in the order of that cost, every so many stands
        for its neighbours, and its importances are multiplied by their number.
        """
        n_channels, channel_size = self.rows.shape
        kept = min(n_channels, max(1, -(-size // channel_size)))
        if kept == n_channels:
            return self
        energy = self.row_costs()
        order = np.argsort(energy, kind="stable")
        heavy = int((energy[order[n_channels - kept // 2 :]] * kept > energy.sum()).sum())
        others = kept - heavy
        each = (n_channels - heavy) / others
        chosen = order[((np.arange(others) + 0.5) * each).astype(np.intp)]
        rows = np.sort(np.concatenate([chosen, order[n_channels - heavy :]]))
        multiplicity = np.where(np.isin(rows, chosen), each, 1.0)[:, np.newaxis]
        part = self.channels(rows)
        importance, quartic = part.importance, part.quartic_importance
        ones = np.ones((1, 1))
        return replace(
            part,
            importance=np.broadcast_to(
                (ones if importance is None else importance) * multiplicity, part.rows.shape
            ),
            quartic_importance=None if quartic is None else quartic * multiplicity,
        )

    def row_costs(self) -> Array:
        """What zeroing each row would cost, float64."""
        costs = np.empty(len(self.rows))
        step = max(1, _CHUNK // max(self.rows.shape[1], 1))
        for start in range(0, len(costs), step):
            some = self.channels(slice(start, start + step))
            squares = some.rows.astype(np.float64) ** 2
            terms = squares if some.importance is None else squares * some.importance
            costs[start : start + step] = terms.sum(axis=1)
            if some.quartic_importance is not None:
                costs[start : start + step] += (squares**2 * some.quartic_importance).sum(axis=1)
        return costs

    def pieces(self, columns: slice, n_groups: int) -> dict[str, Any]:
        """Weights and importances of some columns as ``(channels, groups, weights)``."""
        n_channels = self.rows.shape[0]

        def cut(array: Array | None) -> Array | None:
            return None if array is None else array[:, columns].reshape(n_channels, n_groups, -1)

        return {
            "weights": cut(self.rows),
            "importance": cut(self.importance),
            "quartic_importance": cut(self.quartic_importance),
        }


def _check_values(argument: str, array: Array) -> None:
    """Before rows, samples or scales lose the index that a caller would look for."""
    is_weights = argument == "weights"
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK]
        sound = np.isfinite(chunk) if is_weights else np.isfinite(chunk) & (chunk >= 0)
        if not sound.all():
            position = start + int(np.argmin(sound))
            index = tuple(int(i) for i in np.unravel_index(position, array.shape))
            raise ValueError(bad_value_message(argument, index, float(flat[position])))


def why_not_finite(array: Array) -> str | None:
    """The first value that is not finite, as a reason to stay dense; None where all are."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        sound = np.isfinite(flat[start : start + _CHUNK])
        if not sound.all():
            position = start + int(np.argmin(sound))
            index = shown_index(tuple(int(i) for i in np.unravel_index(position, array.shape)))
            return f"not finite ({flat[position]} at index {index})"
    return None


@dataclass(frozen=True, eq=False)
class Price:
    """What a bit of a label is worth, and the codebook from which that is answered."""

    multiplier: float
    start: EntropyConstrained


def as_weights(array: Array, importance: Any, quartic_importance: Any) -> Weights:
    """`array` and its importances, each reshaped to rows of channels."""
    _check_values("weights", array)
    layout = layout_of(array.shape, "tensor")
    rows_shape = layout.n_channels, layout.channel_size

    def check(values: Any, argument: str) -> None:
        if values is None:
            return
        _check_values(argument, values)
        try:
            np.broadcast_to(values, array.shape)
        except ValueError:
            raise shape_error(argument, array.shape, np.shape(values)) from None

    check(importance, "importance")
    check(quartic_importance, "quartic_importance")
    weights = Weights(array.shape, array.dtype.name, array.reshape(rows_shape), None, None)
    return weights.weighed_by(importance, quartic_importance)


def quantize(
    weights: Weights,
    k: int,
    options: Options,
    price: Price | None = None,
    judge: Callable[[], Weights] | None = None,
) -> CompressedTensor:
    """Codebooks of k centroids; with a price, those that weigh the entropy of their labels.

    The cost is under the importances that `judge` gives at the end, by default those of `weights`.
    """
    scaled, channel_scale = scaled_channels(weights, options)
    keep = _kept(weights, options)
    codebook_dtype = options.codebook_dtype or scaled.dtype
    layout = layout_of(weights.shape, options.granularity)
    if price is not None:
        labels, codebook, scale = _priced(scaled, codebook_dtype, price, options)
    else:
        labels, codebook, scale = _optimal(scaled, keep, k, codebook_dtype, layout, options)
    tensor = compressed_tensor(
        labels.reshape(weights.shape),
        codebook,
        dtype=weights.dtype,
        granularity=options.granularity,
        coding=options.coding,
        codebook_scale=scale,
        channel_scale=channel_scale,
    )
    return with_cost(tensor, weights if judge is None else judge(), labels)


def with_cost(tensor: CompressedTensor, weights: Weights, labels: Array) -> CompressedTensor:
    """The tensor with the cost of the values it dequantizes to, summed in float64."""
    centroids = tensor.centroid_values()
    layout = tensor.layout
    wide = numpy_dtype(weights.dtype)
    rows = labels.reshape(weights.rows.shape)
    cost = 0.0
    step = max(1, _CHUNK // max(layout.channel_size, 1))
    for start in range(0, layout.n_channels, step):
        some = slice(start, start + step)
        part = Layout(rows[some].shape[0], layout.channel_size, layout.group, shared=layout.shared)
        books = centroids
        if not layout.shared:
            per_channel = layout.groups_per_channel
            books = centroids[start * per_channel : (start + part.n_channels) * per_channel]
        values = part.expand(rows[some], books)
        if tensor.channel_scale is not None:
            values = values * tensor.channel_scale[some].astype(values.dtype)[:, np.newaxis]
        error = weights.rows[some].astype(np.float64) - values.astype(wide).astype(np.float64)
        cost += _cost(error, weights.importance, weights.quartic_importance, some)
    return replace(tensor, cost=cost)


def _cost(error: Array, importance: Array | None, quartic: Array | None, rows: slice) -> float:
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float64 the cost is infinite
        squares = error * error
        terms = squares if importance is None else squares * importance[rows].astype(np.float64)
        total = float(terms.sum())
        if quartic is not None:
            total += float((squares * squares * quartic[rows].astype(np.float64)).sum())
    return math.inf if math.isnan(total) else total


def scaled_channels(weights: Weights, options: Options) -> tuple[Weights, Array | None]:
    """Each channel divided by its root mean square s; importances become ``I s^2``, ``H s^4``."""
    if not options.channel_scales:
        return weights, None
    wide = np.float64 if weights.dtype == "float64" else np.float32
    rows = weights.rows.astype(wide)
    scale = np.sqrt(np.mean(rows.astype(np.float64) ** 2, axis=1)).astype(np.float32)
    scale[~(np.isfinite(scale) & (scale > 0))] = 1
    column = scale.astype(np.float64)[:, np.newaxis]
    rows = rows / column.astype(wide)
    importance = 1.0 if weights.importance is None else weights.importance.astype(np.float64)
    quartic = weights.quartic_importance
    return Weights(
        weights.shape,
        rows.dtype.name,
        rows,
        np.broadcast_to(importance * column**2, rows.shape),
        None if quartic is None else quartic.astype(np.float64) * column**4,
    ), scale


def _kept(weights: Weights, options: Options) -> Array | None:
    """False where a weight becomes exactly zero, as rows; None where none has to."""
    if not options.zero_centroid:
        return None
    keep = np.ones(weights.rows.shape, bool)
    if options.prunes:
        keep = prune(
            weights.rows,
            options.density,
            pattern=options.pattern,
            importance=weights.importance,
            quartic_importance=weights.quartic_importance,
            n_threads=options.n_threads,
        )
    return keep & (weights.rows != 0) if options.keep_zeros else keep


def _optimal(
    weights: Weights,
    keep: Array | None,
    k: int,
    codebook_dtype: str,
    layout: Layout,
    options: Options,
) -> tuple[Array, Array, Array | None]:
    """Labels as rows, codebooks (n_codebooks, k), and an int8 codebook's scales."""
    if keep is not None:
        weights = _masked(weights, keep, layout)
    free = k if keep is None else max(k - 1, 1)
    solved: dict[str, Any] = {"centroid_dtype": codebook_dtype, "n_threads": options.n_threads}
    labels = np.empty(weights.rows.shape, label_dtype(k))
    if layout.shared:
        clustering = wkmeans(
            weights.rows,
            free,
            importance=weights.importance,
            quartic_importance=weights.quartic_importance,
            **solved,
        )
        labels[:] = clustering.labels
        codebooks = clustering.centroids[np.newaxis]
        scale = None if clustering.scale is None else np.reshape(clustering.scale, (1,))
    else:
        codebooks, scale = _clustered_blocks(weights, free, layout, solved, labels)
    if keep is not None:
        codebooks = _with_zero(labels, codebooks, keep, layout, alone=k == 1)
    return labels, codebooks, scale


def _clustered_blocks(
    weights: Weights, k: int, layout: Layout, solved: dict[str, Any], labels: Array
) -> tuple[Array, Array | None]:
    books, scales = [], []
    for columns, groups in layout.blocks():
        n_groups = len(range(layout.groups_per_channel)[groups])
        pieces = weights.pieces(columns, n_groups)
        clustering = wkmeans(pieces.pop("weights"), k, axis=-1, **pieces, **solved)
        labels[:, columns] = clustering.labels.reshape(layout.n_channels, -1)
        books.append(clustering.centroids)
        scales.append(clustering.scale)
    codebooks = np.concatenate(books, axis=1).reshape(layout.n_codebooks, k)
    if scales[0] is None:
        return codebooks, None
    return codebooks, np.concatenate(scales, axis=1).reshape(layout.n_codebooks)


def _masked(weights: Weights, keep: Array, layout: Layout) -> Weights:
    """Importances that are zero where a weight is pruned, and one where no kept weight has any."""
    masked = keep.astype(np.float32)
    if weights.importance is not None:
        masked = np.where(keep, weights.importance, 0)
    quartic = weights.quartic_importance
    masked_quartic = None if quartic is None else np.where(keep, quartic, 0)
    matters = masked > 0 if masked_quartic is None else (masked > 0) | (masked_quartic > 0)
    if layout.shared:
        if not matters.any():
            masked = keep.astype(np.float32)
        return Weights(weights.shape, weights.dtype, weights.rows, masked, masked_quartic)
    for start in range(0, layout.channel_size, layout.group):
        columns = slice(start, start + layout.group)
        lost = ~matters[:, columns].any(axis=1)
        masked[lost, columns] = keep[lost, columns]
    return Weights(weights.shape, weights.dtype, weights.rows, masked, masked_quartic)


def _with_zero(labels: Array, books: Array, keep: Array, layout: Layout, *, alone: bool) -> Array:
    """Codebooks with a zero in its place, and the labels moved, in place, to match."""
    if alone:
        labels[:] = 0
        return np.zeros_like(books[:, :1])
    values = books.astype(np.float64)
    position = (values < 0).sum(axis=1)  # where zero stands in each codebook
    entry = np.arange(books.shape[1] + 1)
    source = entry - (entry > position[:, np.newaxis])
    taken = np.take_along_axis(books, np.minimum(source, books.shape[1] - 1), axis=1)
    is_zero = entry == position[:, np.newaxis]
    with_zero = np.where(is_zero, np.zeros((), books.dtype), taken)
    where = layout.expand(np.zeros_like(labels), position[:, np.newaxis])
    labels += labels >= where
    np.copyto(labels, where.astype(labels.dtype), where=~keep)
    return with_zero


def _priced(
    weights: Weights, codebook_dtype: str, price: Price, options: Options
) -> tuple[Array, Array, Array | None]:
    part = weights.representative(_REFINED)
    share = part.rows.size / weights.rows.size
    solved = _solve(part, price.start, price.multiplier / share, _ITERATIONS, options)
    labels = solved.labels
    if labels.shape != weights.rows.shape:
        labels = _labels_in_chunks(weights, solved, price, options)
    if codebook_dtype == "int8":
        scale = np.float32(max(np.abs(solved.centroids).max() / 127, 2.0**-126))
        codebook = np.rint(solved.centroids / scale).astype(np.int8)
        return labels, codebook[np.newaxis], np.array([scale])
    return labels, solved.centroids.astype(numpy_dtype(codebook_dtype))[np.newaxis], None


def _labels_in_chunks(
    weights: Weights, codebook: EntropyConstrained, price: Price, options: Options
) -> Array:
    labels = np.empty(weights.rows.shape, label_dtype(len(codebook.counts)))
    step = max(1, _CHUNK // weights.rows.shape[1])
    for start in range(0, len(labels), step):
        some = slice(start, start + step)
        found = _solve(weights.channels(some), codebook, price.multiplier, 0, options)
        # Codewords that these channels do not use were dropped: back to the whole codebook's.
        labels[some] = np.searchsorted(codebook.centroids, found.centroids)[found.labels]
    return labels


def _solve(
    weights: Weights, start: EntropyConstrained, multiplier: float, rounds: int, options: Options
) -> EntropyConstrained:
    return entropy_constrained(
        weights.rows,
        importance=weights.importance,
        quartic_importance=weights.quartic_importance,
        k=len(start.centroids),
        multiplier=multiplier,
        start=start,
        max_iter=rounds,
        include_zero=options.keep_zeros,
        n_threads=options.n_threads,
    )
