"""The files of the simple peers: names, shapes and payloads, with few bytes around them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from end_metrics import State

Array = npt.NDArray[np.float32]

_HEAD = "<?BBI"  # coded or dense, bytes of the name, dimensions, bytes of the payload


class UnreachableError(Exception):
    """There is no file as small as was asked for, or none at all."""


def coded_weights(state: State) -> dict[str, Array]:
    """The tensors worth coding, as matrices of one row an output; vectors stay as they are."""
    return {
        name: np.ascontiguousarray(tensor.reshape(len(tensor), -1).numpy(), np.float32)
        for name, tensor in state.items()
        if tensor.is_floating_point() and tensor.ndim > 1
    }


def written(state: State, payloads: Mapping[str, bytes]) -> bytes:
    """All tensors of floats; counters that inference does not read are left out."""
    parts = []
    for name, tensor in state.items():
        if tensor.is_floating_point():
            coded = name in payloads
            payload = payloads[name] if coded else tensor.numpy().astype("<f4").tobytes()
            encoded = name.encode()
            parts.append(struct.pack(_HEAD, coded, len(encoded), tensor.ndim, len(payload)))
            parts += [encoded, struct.pack(f"<{tensor.ndim}I", *tensor.shape), payload]
    return b"".join(parts)


def read(file: bytes, decoded: Callable[[bytes, int, int], Array]) -> State:
    """What `written` wrote; `decoded(payload, rows, columns)` reads a payload."""
    state: State = {}
    position = 0

    def taken(size: int) -> bytes:
        nonlocal position
        position += size
        return file[position - size : position]

    while position < len(file):
        coded, name_size, ndim, size = struct.unpack(_HEAD, taken(struct.calcsize(_HEAD)))
        name = taken(name_size).decode()
        shape = struct.unpack(f"<{ndim}I", taken(4 * ndim))
        payload = taken(size)
        if coded:
            values = decoded(payload, shape[0], math.prod(shape[1:]))
        else:
            values = np.frombuffer(payload, "<f4")
        state[name] = torch.from_numpy(np.array(values, np.float32).reshape(shape))
    return state


def largest_within(target: int, make: Callable[[float], bytes], low: float, high: float) -> bytes:
    """The largest file found of at most `target` bytes; they shrink as the step, 2**x, grows."""
    best = make(high)
    if len(best) > target:
        raise UnreachableError(f"at least {len(best):,} bytes")
    while high - low > 1e-3 and len(best) < 0.997 * target:
        middle = (low + high) / 2
        file = make(middle)
        if len(file) > target:
            low = middle
        else:
            high, best = middle, max(best, file, key=len)
    return best
