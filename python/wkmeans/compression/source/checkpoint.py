"""Which files of a folder make the model: the index decides, where there is one.

Folders hold more than a model: a consolidated copy of it, adapters, what was compressed before.
What is left out is said, and what is named but missing is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wkmeans._files.errors import FormatError
from wkmeans._files.json_text import strict_json
from wkmeans._files.safetensors import SafetensorsFile, open_safetensors

_INDEX = ".index.json"
_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d+)-of-(?P<count>\d+)\.safetensors")
_WHOLE = "model.safetensors"
_OTHERS = (".bin", ".pt", ".pth", ".gguf", ".h5", ".onnx", ".msgpack", ".npz")


@dataclass(frozen=True)
class Checkpoint:
    """The files of one model.

    Attributes
    ----------
    files : list of SafetensorsFile
    inputs : list of Path
        These files and their index.
    left_out : dict of str
        From files of the folder that are not the model's to the reason.
    shard_of : dict of str
        Where the index says that each tensor is; empty without an index.
    index : str
        Its name.
    """

    files: list[SafetensorsFile]
    inputs: list[Path]
    left_out: dict[str, str] = field(default_factory=dict)
    shard_of: dict[str, str] = field(default_factory=dict)
    index: str = ""


def checkpoint_at(path: Path) -> Checkpoint:
    """The checkpoint behind a safetensors file, the index of several, or a folder."""
    if path.is_dir():
        return _of_folder(path)
    if path.name.endswith(_INDEX) or path.suffix == ".json":
        return _of_index(path)
    return Checkpoint([_model_file(path)], [path])


def _of_folder(folder: Path) -> Checkpoint:
    indices = sorted(folder.glob(f"*.safetensors{_INDEX}"))
    if len(indices) > 1:
        raise ValueError(
            f"{folder}: expected one index, got {', '.join(p.name for p in indices)}: name one"
        )
    found = sorted(folder.glob("*.safetensors"))
    if indices:
        checkpoint = _of_index(indices[0])
        named = {path.name for path in checkpoint.inputs}
        others = _said(found, named, f"not named by {indices[0].name}")
        return Checkpoint(
            checkpoint.files,
            checkpoint.inputs,
            others | checkpoint.left_out,
            checkpoint.shard_of,
            checkpoint.index,
        )
    if not found:
        raise FileNotFoundError(f"{folder}: no .safetensors file in this folder{_others(folder)}")
    chosen, reason = _chosen(folder, found)
    left_out = _said(found, {path.name for path in chosen}, reason)
    files = []
    for path in chosen:
        file = open_safetensors(path)
        why = _why_no_model(file)
        if why is None:
            files.append(file)
        else:
            left_out[path.name] = why
    if not files:
        raise ValueError(f"{chosen[0]}: {left_out[chosen[0].name]}")
    return Checkpoint(files, [file.path for file in files], left_out)


def _chosen(folder: Path, found: list[Path]) -> tuple[list[Path], str]:
    """The files of a folder without an index that make a model, and why the others do not."""
    if any(path.name == _WHOLE for path in found):
        return [folder / _WHOLE], f"not part of {_WHOLE}"
    sets: dict[tuple[str, int], set[int]] = {}
    for path in found:
        match = _SHARD.fullmatch(path.name)
        if match:
            key = match["stem"], int(match["count"])
            sets.setdefault(key, set()).add(int(match["number"]))
    if len(sets) != 1:
        return found, ""
    ((stem, count), numbers), *_ = sets.items()
    if len(numbers) < count:
        missing = next(number for number in range(1, count + 1) if number not in numbers)
        raise FileNotFoundError(f"{folder}: shard {missing} of {count} of {stem} is missing")
    shards = [path for path in found if _SHARD.fullmatch(path.name)]
    return shards, f"not one of the {count} shards of {stem}"


def _of_index(index: Path) -> Checkpoint:
    shard_of = weight_map(index)
    files = []
    for shard in sorted(set(shard_of.values())):
        path = index.parent / shard
        if not path.exists():
            raise FileNotFoundError(f"{index}: names the shard {shard}, which is missing")
        files.append(_model_file(path))
    held = {file.path.name: file.arrays.keys() for file in files}
    for name, shard in shard_of.items():
        if name not in held[shard]:
            raise ValueError(f"{index}: says that {name!r} is in {shard}, which does not hold it")
    return Checkpoint(files, [index, *(file.path for file in files)], {}, shard_of, index.name)


def weight_map(index: Path) -> dict[str, str]:
    """From each tensor that an index names to its file, which lies beside the index."""
    try:
        shard_of: Any = strict_json(index.read_bytes())["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{index}: not the index of a sharded checkpoint: {error!r}") from None
    if not isinstance(shard_of, dict) or not shard_of:
        raise FormatError(f"{index}: not the index of a sharded checkpoint: it names no tensors")
    for name, shard in shard_of.items():
        if not isinstance(shard, str) or shard != Path(shard).name or not shard:
            raise FormatError(
                f"{index}: expected {name!r} in a file beside the index, got {str(shard)[:80]!r}"
            )
        if not shard.endswith(".safetensors"):
            raise FormatError(
                f"{index}: its shards are no safetensors files ({shard}); "
                "save the model by save_pretrained(safe_serialization=True)"
            )
    return shard_of


def _model_file(path: Path) -> SafetensorsFile:
    file = open_safetensors(path)
    why = _why_no_model(file)
    if why is not None:
        raise ValueError(f"{path}: {why}")
    return file


def _why_no_model(file: SafetensorsFile) -> str | None:
    """What of ours a file is that is no model to be compressed."""
    if "wkmeans" in file.metadata:
        return "already a compressed model; `wkmeans decompress` writes a plain one"
    if file.metadata.get("format") == "wkmeans.importances":
        return "holds importances, not a model; they are given as importances"
    return None


def _said(found: Iterable[Path], taken: set[str], reason: str) -> dict[str, str]:
    return {path.name: reason for path in found if path.name not in taken}


def _others(folder: Path) -> str:
    """What else the folder holds that may be the model."""
    others = sorted(path.name for path in folder.iterdir() if path.suffix in _OTHERS)
    if not others:
        return ""
    return (
        f"; {others[0]} is of another kind: save the model as safetensors, "
        "for instance by save_pretrained"
    )
