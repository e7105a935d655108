"""NNCodec 2.1.3 (ISO/IEC 15938-17): Fraunhofer's coder, dependent quantisation and DeepCABAC.

    pip install --no-deps nncodec==2.1.3

Of its package only the coder is loaded: the rest wants torchvision, OpenCV, h5py and more at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from end_metrics import Network, State
from files import UnreachableError
from nnc_blocks import (
    Folded,
    block_types,
    foldings,
    parameters_of,
    unfolded,
    with_names,
    without_names,
)
from nnc_tuning import Arrays, Tuner

_DENSITY = 4  # sixteen quantisation parameters an octave of step, for sizes close to those wanted
_STEPS = 1 << _DENSITY
_FINEST, _COARSEST = -10 * _STEPS, 3 * _STEPS
_VECTORS = -75 * _STEPS // 4  # its own default, -75 of four an octave
_NOT_NEEDED = ("tensorflow_model", "pytorch_model", "use_case_init")


def nncodec(network: Network, target: int, *, opt_qp: bool) -> bytes:
    """The finest of one quantisation parameter for all matrices whose file fits."""
    return _finest(partial(_plain, network, opt_qp), target)[1]


def nncodec_folded(network: Network, target: int) -> bytes:
    """The same with `opt_qp` and `bnf`, which need no data."""
    folded = foldings(network)
    if not folded:
        raise UnreachableError("no normalisation follows a layer at once")
    parameters = parameters_of(network, folded)
    types = block_types(parameters, network.module, folded)

    def make(qp: int) -> bytes:
        options = {"opt_qp": True, "bnf": True, "block_id_and_param_type": types}
        return with_names(_stream(parameters, qp, **options), folded)

    return _finest(make, target)[1]


def nncodec_tuned(network: Network, target: int, *, ioq: bool) -> bytes:
    """The same with `opt_qp` and the options that use data, `ioq` if wanted: it takes longest.

    They change a file's length by about as much whatever the parameter, and take long: it is
    searched without them for what they leave, and then followed to the finest that fits.
    """
    plain = lru_cache(partial(_plain, network, True))
    tuned = lru_cache(partial(_tuned, network, foldings(network), Tuner(network), ioq))
    without, _ = _finest(plain, target)
    start, _ = _finest(plain, target - len(tuned(without)) + len(plain(without)))
    for qp in range(start, _COARSEST + 1):
        if len(tuned(qp)) <= target:
            return tuned(qp)
    raise UnreachableError(f"at least {len(tuned(_COARSEST)):,} bytes")


def _plain(network: Network, opt_qp: bool, qp: int) -> bytes:
    return _stream(parameters_of(network, ()), qp, opt_qp=opt_qp)


def _tuned(network: Network, folded: Sequence[Folded], tuner: Tuner, ioq: bool, qp: int) -> bytes:
    parameters = parameters_of(network, folded, scaled=True)
    stream = _stream(
        parameters,
        qp,
        opt_qp=True,
        ioq=ioq,
        lsa=True,
        fine_tune=True,
        bnf=True,
        model_executer=tuner,
        block_id_and_param_type=block_types(parameters, network.module, folded),
    )
    return with_names(stream, folded)


def _finest(make: Callable[[int], bytes], target: int) -> tuple[int, bytes]:
    """Of all quantisation parameters, and its file."""
    low, high = _FINEST, _COARSEST
    file = make(high)
    if len(file) > target:
        raise UnreachableError(f"at least {len(file):,} bytes")
    while high - low > 1:
        middle = (low + high) // 2
        made = make(middle)
        if len(made) <= target:
            high, file = middle, made
        else:
            low = middle
    return high, file


def _stream(parameters: Arrays, qp: int, **options: Any) -> bytes:
    with np.errstate(all="ignore"):  # it divides by what may be zero
        stream = _coder().compress(
            {name: values.copy() for name, values in parameters.items()},
            bitstream_path=None,
            qp=qp,
            qp_density=_DENSITY,
            nonweight_qp=_VECTORS,
            row_skipping=True,
            return_bitstream=True,
            **options,
        )
    return bytes(stream)


def read_nncodec(file: bytes) -> State:
    """What `nncodec` wrote, by its own decoder."""
    with np.errstate(all="ignore"):
        decoded = _coder().decompress(bytearray(file), reconstruct_lsa=True)
    return {name: torch.from_numpy(np.array(values)) for name, values in decoded.items()}


def read_tuned(file: bytes) -> State:
    """What `nncodec_tuned` wrote."""
    stream, folded = without_names(file)
    return unfolded(read_nncodec(stream), folded)


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
    from nncodec.nnc_core.nnr_model import ModelExecute

    ModelExecute.register(Tuner)
    return nnc
