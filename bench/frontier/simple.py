"""What needs no calibration: k-means with Huffman codes, and rounding with entropy codes."""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from end_metrics import Network, State
from files import Array, UnreachableError, coded_weights, largest_within, read, written

import wkmeans
from wkmeans.compression.format.coding import EncodedCodes, encode

Integers = npt.NDArray[np.int64]
_MOST_CENTROIDS = 256
# Step, least integer, how many, packed, scales of columns, classes of which lines, size of chunks.
_GRID_HEAD = "<fiHB?BBI"


def kmeans_huffman(network: Network, target: int) -> bytes:
    """Optimal codebooks of one k for all tensors, the largest whose file fits."""
    state = network.module.state_dict()
    weights = coded_weights(state)

    @lru_cache
    def make(k: int) -> bytes:
        return written(state, {name: _with_codebook(w, k) for name, w in weights.items()})

    low, high = 2, _MOST_CENTROIDS + 1
    if len(make(low)) > target:
        raise UnreachableError(f"at least {len(make(low)):,} bytes, with two centroids")
    while high - low > 1:
        middle = min((low + high) // 2, 2 * low)  # large codebooks take longest to find
        low, high = (middle, high) if len(make(middle)) <= target else (low, middle)
    return make(low)


def read_kmeans_huffman(file: bytes) -> State:
    """What `kmeans_huffman` wrote."""
    return read(file, _read_codebook)


def _with_codebook(weights: Array, k: int) -> bytes:
    found = wkmeans.wkmeans(weights, min(k, weights.size))
    labels = found.labels.reshape(-1)
    counts = np.bincount(labels, minlength=len(found.centroids))
    head = struct.pack("<H", len(counts)) + found.centroids.astype("<f4").tobytes()
    return head + counts.astype("<u4").tobytes() + _huffman_encoded(labels, counts)


def _read_codebook(payload: bytes, rows: int, columns: int) -> Array:
    (k,) = struct.unpack_from("<H", payload)
    centroids = np.frombuffer(payload, "<f4", k, 2)
    counts = np.frombuffer(payload, "<u4", k, 2 + 4 * k)
    return np.asarray(centroids[_huffman_decoded(payload[2 + 8 * k :], counts, rows * columns)])


def _huffman_encoded(labels: npt.NDArray[np.integer], counts: npt.NDArray[np.integer]) -> bytes:
    from constriction import symbol

    encoder = symbol.QueueEncoder()
    codes = symbol.huffman.EncoderHuffmanTree(counts.astype(np.float64))
    for label in labels.tolist():
        encoder.encode_symbol(label, codes)
    words, n_bits = encoder.get_compressed()
    return bytes(words.astype("<u4").tobytes()[: -(-n_bits // 8)])


def _huffman_decoded(payload: bytes, counts: npt.NDArray[np.integer], size: int) -> Integers:
    from constriction import symbol

    words = np.frombuffer(payload + bytes(-len(payload) % 4), "<u4")
    decoder = symbol.QueueDecoder(words.astype(np.uint32))
    codes = symbol.huffman.DecoderHuffmanTree(counts.astype(np.float64))
    return np.array([decoder.decode_symbol(codes) for _ in range(size)], np.int64)


def rounding(network: Network, target: int) -> bytes:
    """The nearest of equal steps, which are a share of each row's largest magnitude."""
    state = network.module.state_dict()
    weights = coded_weights(state)

    def make(exponent: float) -> bytes:
        step = np.float32(2.0**exponent)
        payloads = {}
        for name, values in weights.items():
            scales = row_scales(values)
            integers = np.rint(values / (step * scales[:, np.newaxis])).astype(np.int64)
            payloads[name] = grid_payload(integers, scales, step)
        return written(state, payloads)

    return largest_within(target, make, -12.0, 2.0)


def row_scales(weights: Array) -> Array:
    """Each row's largest magnitude in half precision; 1 where it has none."""
    largest = np.abs(weights).max(axis=1).astype(np.float16).astype(np.float32)
    return np.where(largest > 0, largest, np.float32(1))


def grid_payload(
    integers: Integers, scales: Array, step: np.float32, columns: Array | None = None
) -> bytes:
    """Integers in entropy code, the scales of their rows and, where given, of their columns."""
    low, k = int(integers.min()), int(np.ptp(integers)) + 1
    codes = encode(integers - low, k)
    head = struct.pack(
        _GRID_HEAD,
        *(step, low, k, codes.coding == "packed", columns is not None),
        *(codes.classes or (0, 0)),
        codes.chunk or 0,
    )
    per_column = b"" if columns is None else columns.astype("<f2").tobytes()
    return head + scales.astype("<f2").tobytes() + per_column + codes.payload.tobytes()


def read_grids(file: bytes) -> State:
    """What is made of `grid_payload`."""
    return read(file, _read_grid)


def _read_grid(payload: bytes, rows: int, n: int) -> Array:
    head = struct.unpack_from(_GRID_HEAD, payload)
    step, low, k, packed, has_columns, axis, classes, chunk = head
    position = struct.calcsize(_GRID_HEAD)
    halves = np.frombuffer(payload, "<f2", rows + n * has_columns, position).astype(np.float32)
    columns = halves[rows:] if has_columns else np.float32(1)
    coded = np.frombuffer(payload, np.uint8, offset=position + 2 * len(halves))
    coding = "packed" if packed else "ans"
    sorted_lines = (axis, classes) if classes else None
    codes = EncodedCodes(coded, rows, n, k, coding, sorted_lines, chunk or None)
    integers = codes.decode().astype(np.float32) + low
    return np.asarray(integers * np.float32(step) * halves[:rows, np.newaxis] * columns)
