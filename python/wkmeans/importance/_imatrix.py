"""llama.cpp's importance matrices: mean squares of each layer's input channels."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

_SUMS, _COUNTS = ".in_sum2", ".counts"


def read_imatrix(path: str | PathLike[str]) -> dict[str, tuple[torch.Tensor, None]]:
    """Importances from an imatrix GGUF file, as ``llama-imatrix`` writes it.

    Parameters
    ----------
    path : path
        A GGUF file of ``general.type`` "imatrix". (The older ``.dat`` files can be converted by
        ``llama-imatrix --in-file old.dat -o new.gguf``.)

    Returns
    -------
    dict
        From llama.cpp's tensor name (``"blk.0.attn_q.weight"``) to ``(importance, None)``, as
        ``estimate`` gives them. ``importance``, float64 of shape ``(input channels,)``, is the
        mean square of each input: what ``E (dL/dw)^2`` is where the output's gradient is the same
        everywhere. It broadcasts over the rows of the layer's ``(out, in)`` weight. Layers of
        several experts give ``(experts, 1, input channels)``; an expert that saw no token has
        importance zero.

    Raises
    ------
    ValueError
        Where the file is damaged, is no importance matrix, or holds sums or counts that are
        negative or not finite.
    """
    where = fspath(path)
    tensors = _read_tensors(where)
    names = [name.removesuffix(_SUMS) for name in tensors if name.endswith(_SUMS)]
    if not names:
        raise ValueError(f"{where}: expected tensors named *{_SUMS}, got none")
    return {name: (_mean_squares(where, name, tensors), None) for name in names}


def _mean_squares(
    where: str, name: str, tensors: dict[str, npt.NDArray[np.float32]]
) -> torch.Tensor:
    if name + _COUNTS not in tensors:
        raise ValueError(f"{where}: {name!r} has sums and no counts")
    sums = np.asarray(tensors[name + _SUMS], dtype=np.float64)
    counts = np.asarray(tensors[name + _COUNTS], dtype=np.float64).reshape(-1)
    for values, what in ((sums, "sum"), (counts, "count")):
        sound = np.isfinite(values) & (values >= 0)
        if not sound.all():
            index = tuple(int(i) for i in np.argwhere(~sound)[0])
            raise ValueError(
                f"{where}: {name!r}: expected finite, non-negative {what}s, got {values[index]} at "
                f"index {index}"
            )
    if sums.size == 0 or counts.size == 0 or sums.size % counts.size:
        raise ValueError(
            f"{where}: {name!r}: expected a count for each expert's sums, got {sums.size} sums and "
            f"{counts.size} counts"
        )
    of_experts = sums.reshape(counts.size, -1)
    means = of_experts / np.where(counts > 0, counts, 1.0)[:, None]
    importance = torch.from_numpy(means)
    return importance[0] if counts.size == 1 else importance.unsqueeze(1)


def _read_tensors(where: str) -> dict[str, npt.NDArray[np.float32]]:
    reader = _open(where)
    kind = reader.get_field("general.type")
    found = "nothing" if kind is None else str(kind.contents())
    if found != "imatrix":
        raise ValueError(f"{where}: general.type: expected 'imatrix', got {found!r}")
    tensors = {str(tensor.name): tensor for tensor in reader.tensors}
    for name, tensor in tensors.items():
        if tensor.data.dtype != np.float32:
            raise ValueError(f"{where}: {name!r}: expected float32, got {tensor.data.dtype}")
    return {name: tensor.data for name, tensor in tensors.items()}


def _open(where: str) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ImportError(
            "reading importance matrices needs gguf: pip install 'wkmeans[imatrix]'"
        ) from error
    try:
        return GGUFReader(where)
    except OSError:
        raise
    except Exception as error:  # the reader trusts its file: anything may follow from a bad one
        raise ValueError(f"{where}: not a readable GGUF file: {error}") from error
