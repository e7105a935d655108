"""One compressed model in several files, each whole by itself, and the index that names them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wkmeans._files.errors import FormatError
from wkmeans.compression.format import file as _file
from wkmeans.compression.source.checkpoint import weight_map

WHOLE = "model.safetensors"
INDEX = f"{WHOLE}.index.json"
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


def split(contents: _file.Contents, most_bytes: int) -> Iterator[_file.Contents]:
    """In order, each of as many tensors as fit into `most_bytes`, or of one that does not.

    A tied tensor is in one file under all of its names.
    """
    taken: dict[str, Any] = {}
    held, first = 0, True
    for name, tensor in contents.tensors.items():
        if taken and held + tensor.nbytes > most_bytes:
            yield _part(contents, taken, first)
            taken, held, first = {}, 0, False
        taken[name] = tensor
        held += tensor.nbytes
    yield _part(contents, taken, first)


def _part(contents: _file.Contents, tensors: dict[str, Any], first: bool) -> _file.Contents:
    aliases = {alias: name for alias, name in contents.aliases.items() if name in tensors}
    left_out = contents.left_out if first else {}
    return replace(contents, tensors=tensors, aliases=aliases, left_out=left_out)


def serialize(contents: _file.Contents, most_bytes: int) -> dict[str, Iterable[memoryview | bytes]]:
    """The bytes of each file, part by part: of one, or of several and their index."""
    parts = list(split(contents, most_bytes))
    if len(parts) == 1:
        return {WHOLE: _file.serialize(parts[0])}
    stem = WHOLE.removesuffix(".safetensors")
    named = {
        f"{stem}-{number:05}-of-{len(parts):05}.safetensors": part
        for number, part in enumerate(parts, start=1)
    }
    files: dict[str, Iterable[memoryview | bytes]] = {
        name: _file.serialize(part) for name, part in named.items()
    }
    return files | {INDEX: [index_of(named)]}


def former(folder: Path, files: Collection[str]) -> list[Path]:
    """What `folder` holds of a model's files that are not among `files`."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.name not in files and (path.name in (WHOLE, INDEX) or _SHARD.fullmatch(path.name))
    )


def index_of(parts: Mapping[str, _file.Contents]) -> bytes:
    """What names the file of each tensor, as Hugging Face's libraries write it."""
    weights = {
        tensor: name for name, part in parts.items() for tensor in (*part.tensors, *part.aliases)
    }
    total = sum(tensor.nbytes for part in parts.values() for tensor in part.tensors.values())
    described = {"metadata": {"total_size": total}, "weight_map": weights}
    return (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode()


def files_at(path: Path) -> list[Path]:
    """The files of the model at `path`: itself, or a folder's, as its index names them."""
    index = _index_in(path)
    if index is None:
        return [path / WHOLE if (path / WHOLE).exists() else path]
    files = [path / name for name in sorted(set(weight_map(index).values()))]
    for file in files:
        if not file.exists():
            raise FileNotFoundError(f"{index}: names the shard {file.name}, which is missing")
    return files


def _index_in(path: Path) -> Path | None:
    """That of a folder; where a whole model lies beside it, transformers takes that."""
    found = path / INDEX
    return found if found.exists() and not (path / WHOLE).exists() else None


def read(paths: Sequence[Path]) -> _file.Contents:
    """What the models at `paths` are together.

    Raises
    ------
    FormatError
        As `file.read`, where two files hold one tensor or say different things, and where an index
        names a tensor that its files do not hold.
    """
    found = _joined([file for path in paths for file in files_at(path)])
    for index in filter(None, map(_index_in, paths)):
        for name in weight_map(index):
            if name not in found.tensors and name not in found.aliases:
                raise FormatError(f"{index}: names tensor {name!r}, which its files do not hold")
    return found


def _joined(files: Sequence[Path]) -> _file.Contents:
    first, *others = [_file.read(path) for path in files]
    tensors, aliases, left_out = dict(first.tensors), dict(first.aliases), dict(first.left_out)
    for path, part in zip(files[1:], others, strict=True):
        for name in (*part.tensors, *part.aliases):
            if name in tensors or name in aliases:
                raise FormatError(f"{path}: tensor {name!r} is in another of the files too")
        if part.framework != first.framework:
            raise FormatError(
                f"{path}: expected framework {first.framework!r}, as in {files[0].name}, "
                f"got {part.framework!r}"
            )
        tensors |= part.tensors
        aliases |= part.aliases
        left_out |= part.left_out
    return _file.Contents(tensors, aliases, first.framework, left_out)
