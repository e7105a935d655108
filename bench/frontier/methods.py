"""Everything that is compared, by the name its tables have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from end_metrics import Network, State
from files import UnreachableError
from grids import gptq, gptq_of_k_levels, watersic
from nnc import nncodec, nncodec_folded, nncodec_tuned, read_nncodec, read_tuned
from simple import kmeans_huffman, read_grids, read_kmeans_huffman, rounding

import wkmeans

DEFAULT = "default with calibration"
MATRIX = "matrix"
UNTUNED = "matrix, not tuned"
DIAGONAL = "diagonal"
UNWEIGHTED = "unweighted"
KMEANS = "k-means + Huffman"
ROUNDING = "rounding per channel + entropy code"
SIMPLE = (UNWEIGHTED, ROUNDING, KMEANS)
"""What the default must never be worse than."""


@dataclass(frozen=True)
class Codec:
    """`encode(network, bytes)` makes a file that `decode` reads."""

    encode: Callable[[Network, int], bytes]
    decode: Callable[[bytes], State]


def _compressed(network: Network, method: str, **size: Any) -> wkmeans.CompressedModel:
    """`size` is ``k`` or ``target_bytes``, and how it is used."""
    try:
        if method == UNWEIGHTED:
            return wkmeans.compress(network.module, **size)
        return wkmeans.compress(
            network.module,
            calibration=network.calibration,
            importances=network.importances,
            loss=network.loss,
            method=method,
            **size,
        )
    except ValueError as error:
        if str(error).startswith("target_bytes"):
            raise UnreachableError(str(error)) from None
        raise


@lru_cache(maxsize=1)
def _default(network: Network, target: int) -> tuple[str, bytes]:
    """What calibration chose, and its file."""
    model = _compressed(network, "auto", target_bytes=target)
    tried = model.report().tried
    return min(tried, key=tried.__getitem__), _saved(model)


def _default_file(network: Network, target: int) -> bytes:
    return _default(network, target)[1]


def _file(method: str, network: Network, target: int) -> bytes:
    if method != UNWEIGHTED:
        chosen, file = _default(network, target)
        if chosen.startswith(method):  # the same again, were it made alone
            return file
    return _saved(_compressed(network, method, target_bytes=target))


def _saved(model: wkmeans.CompressedModel) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        model.save(path)
        return path.read_bytes()


def _loaded(file: bytes) -> State:
    with TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        path.write_bytes(file)
        state: State = wkmeans.load(path).state_dict("torch")
        return state


CODECS = {
    DEFAULT: Codec(_default_file, _loaded),
    MATRIX: Codec(partial(_file, MATRIX), _loaded),
    DIAGONAL: Codec(partial(_file, DIAGONAL), _loaded),
    UNWEIGHTED: Codec(partial(_file, UNWEIGHTED), _loaded),
    KMEANS: Codec(kmeans_huffman, read_kmeans_huffman),
    ROUNDING: Codec(rounding, read_grids),
    "GPTQ's grids + entropy code": Codec(gptq, read_grids),
    "WaterSIC's steps + entropy code": Codec(watersic, read_grids),
    "NNCodec": Codec(partial(nncodec, opt_qp=False), read_nncodec),
    "NNCodec, opt_qp": Codec(partial(nncodec, opt_qp=True), read_nncodec),
    "NNCodec, opt_qp, bnf": Codec(nncodec_folded, read_tuned),
    "NNCodec, opt_qp, lsa, fine_tune, bnf": Codec(partial(nncodec_tuned, ioq=False), read_tuned),
    "NNCodec, opt_qp, ioq, lsa, fine_tune, bnf": Codec(
        partial(nncodec_tuned, ioq=True), read_tuned
    ),
}


def _with_k(method: str, network: Network, k: int, tune: bool = True) -> tuple[int, State]:
    file = _saved(_compressed(network, method, k=k, coding="packed", tune=tune))
    return len(file), _loaded(file)


def _grids_of_k(network: Network, k: int) -> tuple[int, State]:
    return 0, gptq_of_k_levels(network, k)


WITH_K: dict[str, Callable[[Network, int], tuple[int, State]]] = {
    MATRIX: partial(_with_k, MATRIX),
    UNTUNED: partial(_with_k, MATRIX, tune=False),
    DIAGONAL: partial(_with_k, DIAGONAL),
    UNWEIGHTED: partial(_with_k, UNWEIGHTED),
    "GPTQ's grids of k levels a row": _grids_of_k,
}
"""Bytes (0: no file of its own) and the state of networks without entropy code."""
