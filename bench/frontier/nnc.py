"""NNCodec 2.1.3 (ISO/IEC 15938-17): Fraunhofer's coder, dependent quantisation and DeepCABAC.

    pip install --no-deps nncodec==2.1.3

Of its package only the coder is loaded: the rest wants torchvision, OpenCV, h5py and more at once.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from end_metrics import Network, State
from files import UnreachableError

_DENSITY = 4  # sixteen quantisation parameters an octave of step, for sizes close to those wanted
_STEPS = 1 << _DENSITY
_FINEST, _COARSEST = -10 * _STEPS, 3 * _STEPS
_VECTORS = -75 * _STEPS // 4  # its own default, -75 of four an octave
_NOT_NEEDED = ("tensorflow_model", "pytorch_model", "use_case_init")


def nncodec(network: Network, target: int, *, opt_qp: bool) -> bytes:
    """The finest of one quantisation parameter for all matrices whose file fits."""
    parameters = {
        name: tensor.numpy().astype(np.float32)
        for name, tensor in network.module.state_dict().items()
        if tensor.is_floating_point()
    }

    @lru_cache
    def make(qp: int) -> bytes:
        with np.errstate(all="ignore"):  # it divides by what may be zero
            stream = _coder().compress(
                {name: values.copy() for name, values in parameters.items()},
                bitstream_path=None,
                qp=qp,
                qp_density=_DENSITY,
                nonweight_qp=_VECTORS,
                opt_qp=opt_qp,
                row_skipping=True,
                return_bitstream=True,
            )
        return bytes(stream)

    low, high = _FINEST, _COARSEST
    if len(make(high)) > target:
        raise UnreachableError(f"at least {len(make(high)):,} bytes")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if len(make(middle)) <= target else (middle, high)
    return make(high)


def read_nncodec(file: bytes) -> State:
    """What `nncodec` wrote, by its own decoder."""
    with np.errstate(all="ignore"):
        decoded = _coder().decompress(bytearray(file))
    return {name: torch.from_numpy(np.array(values)) for name, values in decoded.items()}


@lru_cache
def _coder() -> Any:
    """Its package `nnc`, with empty modules where the frameworks' would be."""
    if find_spec("nncodec") is None:
        raise UnreachableError("nncodec is not installed")
    parent = sys.modules.setdefault("nncodec.framework", ModuleType("nncodec.framework"))
    for name in _NOT_NEEDED:
        module = ModuleType(f"nncodec.framework.{name}")
        setattr(parent, name, sys.modules.setdefault(module.__name__, module))
    from nncodec import nnc

    return nnc
