"""A compressed model as a safetensors file; `docs/format.md` says what is in it.

Two arrays of bytes: a description, which is JSON, mostly deflated, and a payload, which the
description cuts into tensors. Reading checks a checksum, names, shapes, dtypes and lengths before
anything is decoded, and what it allocates is a copy of the file, and the numbers of rounded
vectors: at most eleven times what they take in it. Codes stay encoded until somebody asks for them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wkmeans._files.errors import FormatError
from wkmeans._files.json_text import strict_json
from wkmeans._files.safetensors import (
    Piece,
    SafetensorsFile,
    as_bytes,
    file_of,
    header_of,
    open_safetensors,
)
from wkmeans._kernels.arrays import Array
from wkmeans.compression.format import version_1
from wkmeans.compression.format.fields import Fields, Payload, expect
from wkmeans.compression.format.kinds import KINDS, Kind

VERSION = 2
_PLAIN, _DEFLATED = 0, 1
_MOST_INFLATED = 4  # times the file's size, for a description that is honest


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes
    ----------
    tensors : mapping of CompressedTensor or DenseTensor
    aliases : mapping of str
        From further names of tied tensors to the name each is stored under.
    framework : {"torch", "numpy"}
        What the model was made of.
    left_out : mapping of str
        Why something that belonged to the model is not among the tensors, by its name.
    """

    tensors: Mapping[str, Any]
    aliases: Mapping[str, str] = field(default_factory=dict)
    framework: str = "numpy"
    left_out: Mapping[str, str] = field(default_factory=dict)


def serialize(contents: Contents) -> Iterator[memoryview]:
    """The bytes of the file, part by part."""
    text = _description(contents)
    parts = _payload(contents)
    crc = zlib.crc32(text)
    for part in parts:
        crc = zlib.crc32(as_bytes(part).data, crc)
    pieces = _pieces(_packed(text, crc, _size(parts)), parts)
    return file_of(pieces, _metadata(contents))


def serialized_size(contents: Contents) -> int:
    """The length of what `serialize` gives, without making it."""
    parts = _payload(contents)
    pieces = _pieces(_packed(_description(contents), 0, _size(parts)), parts)
    held = sum(piece.nbytes for piece in pieces.values())
    return len(header_of(pieces, _metadata(contents))) + held


def _metadata(contents: Contents) -> dict[str, str]:
    return {"format": "pt" if contents.framework == "torch" else "np", "wkmeans": str(VERSION)}


def _pieces(description: bytes, parts: list[Array]) -> dict[str, Piece]:
    packed = np.frombuffer(description, np.uint8)
    return {
        "description": Piece("uint8", (packed.size,), (packed,)),
        "payload": Piece("uint8", (_size(parts),), tuple(parts)),
    }


def _size(parts: list[Array]) -> int:
    return sum(part.nbytes for part in parts)


def _payload(contents: Contents) -> list[Array]:
    return [part for tensor in contents.tensors.values() for part in _kind_of(tensor).parts(tensor)]


def _description(contents: Contents) -> bytes:
    described: dict[str, Any] = {"framework": contents.framework}
    described["tensors"] = {
        name: {"kind": (kind := _kind_of(tensor)).name, **kind.describe(tensor)}
        for name, tensor in contents.tensors.items()
    }
    if contents.aliases:
        described["aliases"] = dict(contents.aliases)
    if contents.left_out:
        described["left_out"] = dict(contents.left_out)
    return json.dumps(
        described, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    ).encode()


def _kind_of(tensor: Any) -> Kind:
    return next(kind for kind in KINDS if isinstance(tensor, kind.holds))


def _packed(text: bytes, crc: int, payload_size: int) -> bytes:
    """Checksum, how the text is coded, and the text: deflated where that is shorter."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = deflate.compress(text) + deflate.flush()
    coding, data = (_DEFLATED, deflated) if len(deflated) < len(text) else (_PLAIN, text)
    if len(text) > _MOST_INFLATED * (len(data) + payload_size):
        coding, data = _PLAIN, text
    return crc.to_bytes(4, "little") + bytes([coding]) + data


def read(path: Path) -> Contents:
    """What `serialize` was given; raises `FormatError` for anything it did not write."""
    file = open_safetensors(path)
    where = str(path)
    version = file.metadata.get("wkmeans")
    if version is None:
        raise FormatError(f"{where}: not a compressed model: no 'wkmeans' metadata")
    if version.startswith("{"):
        header = _parsed(where, version.encode())
        if header.get("version") != 1:
            raise _of_version(where, header.get("version"))
        return _contents(where, version_1.read_tensors(file, header), header)
    if version != str(VERSION):
        raise _of_version(where, version)
    header, payload = _arrays(where, file)
    described = expect(where, header.get("tensors"), dict, "a mapping of tensors")
    tensors = {name: _tensor(where, name, entry, payload) for name, entry in described.items()}
    payload.check_nothing_is_left(where)
    return _contents(where, tensors, header)


def _of_version(where: str, version: Any) -> FormatError:
    return FormatError(
        f"{where}: version {str(version)[:80]!r}, this release reads versions 1 and {VERSION}"
    )


def _arrays(where: str, file: SafetensorsFile) -> tuple[dict[str, Any], Payload]:
    """The description, parsed, and the payload: the checksum is theirs."""
    if file.arrays.keys() != {"description", "payload"}:
        raise FormatError(f"{where}: expected a description and a payload, got {list(file.arrays)}")
    for name, stored in file.arrays.items():
        if stored.dtype != "uint8" or len(stored.shape) != 1:
            raise FormatError(f"{where}: expected the {name} as bytes, got {stored.dtype}")
    packed, payload = file.read("description"), file.read("payload")
    text = _unpacked(where, packed.tobytes(), packed.size + payload.size)
    if zlib.crc32(payload.data, zlib.crc32(text)) != int.from_bytes(packed[:4].tobytes(), "little"):
        raise FormatError(f"{where}: damaged: the checksum is not that of the contents")
    return _parsed(where, text), Payload(payload)


def _unpacked(where: str, packed: bytes, size: int) -> bytes:
    """The description's text, of a length that the file's size can justify."""
    coding, data = packed[4:5], packed[5:]
    if coding == bytes([_PLAIN]):
        return data
    if coding != bytes([_DEFLATED]):
        raise FormatError(f"{where}: damaged: the description is in coding {coding!r}")
    inflate = zlib.decompressobj(-15)
    try:
        text = inflate.decompress(data, _MOST_INFLATED * size)
    except zlib.error as error:
        raise FormatError(f"{where}: damaged: {error}") from None
    if not inflate.eof or inflate.unused_data:
        raise FormatError(f"{where}: damaged: the description does not end where its bytes do")
    return text


def _parsed(where: str, text: bytes) -> dict[str, Any]:
    try:
        header = strict_json(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: the description is not JSON: {error}") from None
    parsed: dict[str, Any] = expect(where, header, dict, "a mapping as description")
    return parsed


def _tensor(where: str, name: str, entry: Any, payload: Payload) -> Any:
    fields = Fields(f"{where}: tensor {name!r}", entry)
    kind_name = fields.text("kind")
    kind = next((kind for kind in KINDS if kind.name == kind_name), None)
    if kind is None:
        raise FormatError(
            f"{fields.where}: unknown kind {kind_name[:80]!r}: this release knows "
            f"{', '.join(kind.name for kind in KINDS)}; a newer one may have written it"
        )
    tensor = kind.read(fields, payload)
    fields.check_nothing_is_left()
    return tensor


def _contents(where: str, tensors: dict[str, Any], header: dict[str, Any]) -> Contents:
    aliases = expect(where, header.get("aliases", {}), dict, "a mapping of aliases")
    for alias, name in aliases.items():
        if not isinstance(name, str) or name not in tensors or alias in tensors:
            raise FormatError(f"{where}: alias {alias!r} of {name!r} does not name one tensor")
    left_out = expect(where, header.get("left_out", {}), dict, "a mapping of what was left out")
    for name, reason in left_out.items():
        expect(where, reason, str, f"a reason why {name!r} was left out")
    framework = header.get("framework")
    if framework not in ("torch", "numpy"):
        raise FormatError(f"{where}: expected framework 'torch' or 'numpy', got {framework!r}")
    return Contents(tensors, aliases, framework, left_out)
