"""A compressed model as a safetensors file; `docs/format.md` says what is in it.

Reading checks names, shapes, dtypes, lengths and a checksum before anything is decoded, and what it
allocates is a copy of the file. Codes stay encoded until somebody asks for them.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wkmeans._kernels.arrays import FLOAT_DTYPES, Array
from wkmeans._kernels.formats import FORMATS
from wkmeans.compression._plan import MAX_K
from wkmeans.compression.format.coding import MAX_CLASSES, EncodedCodes, packed_size, read_counts
from wkmeans.compression.format.errors import FormatError
from wkmeans.compression.tensors.dtypes import STORABLE, numpy_dtype
from wkmeans.compression.tensors.layout import layout_of
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor

VERSION = 1
_MAX_DIMENSIONS = 64
_MAX_SIZE = 2**40
_SAFETENSORS_DTYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "BOOL": "bool", "C64": "complex64"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8"},
}

Tensor = CompressedTensor | DenseTensor


def serialize(tensors: Mapping[str, Tensor], aliases: Mapping[str, str], framework: str) -> bytes:
    """The bytes of the file."""
    arrays: dict[str, Array] = {}
    described: dict[str, Any] = {}
    for name, tensor in tensors.items():
        parts = _parts(name, tensor)
        twice = sorted(parts.keys() & arrays.keys())
        if twice:
            raise ValueError(f"two tensors would both be stored as {twice[0]!r}: rename one")
        arrays |= parts
        described[name] = _description(tensor)
    header = {"version": VERSION, "framework": framework, "tensors": described}
    if aliases:
        header["aliases"] = dict(aliases)
    text = json.dumps(header, separators=(",", ":"), allow_nan=False)
    # One entry, because safetensors writes several in no fixed order.
    return _container(arrays, {"wkmeans": text[:-1] + _sealed(text[:-1], arrays)})


def write(path: Path, data: bytes) -> None:
    """All of `data`, or nothing: an interrupted run leaves no half file."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _adopt_usual_permissions(temporary)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _adopt_usual_permissions(path: str) -> None:
    mask = os.umask(0)  # there is no other way to read it
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)


def _parts(name: str, tensor: Tensor) -> dict[str, Array]:
    if isinstance(tensor, DenseTensor):
        return {name: tensor.values}
    parts = {f"{name}:codes": tensor.encoded.payload, f"{name}:codebook": tensor.codebook}
    if tensor.codebook_scale is not None:
        parts[f"{name}:codebook_scale"] = tensor.codebook_scale
    if tensor.channel_scale is not None:
        parts[f"{name}:channel_scale"] = tensor.channel_scale
    return parts


def _description(tensor: Tensor) -> dict[str, Any]:
    if isinstance(tensor, DenseTensor):
        described: dict[str, Any] = {"reason": tensor.reason}
        if tensor.values.dtype.name != tensor.dtype:
            described["dtype"] = tensor.dtype
        return described
    described = {
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "granularity": tensor.granularity,
        "coding": tensor.encoded.coding,
        "cost": tensor.cost,
    }
    if tensor.encoded.classes is not None:
        described["classes"] = list(tensor.encoded.classes)
    return described


def _sealed(text: str, arrays: Mapping[str, Array]) -> str:
    """The last member of the metadata: CRC-32 of all before it, then of arrays by name."""
    crc = zlib.crc32(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        crc = zlib.crc32(f"{name} {array.dtype.name} {list(array.shape)}".encode(), crc)
        crc = zlib.crc32(array.tobytes(), crc)
    return f',"crc32":"{crc:08x}"}}'


_SEAL = len(',"crc32":"00000000"}')


def _container(arrays: Mapping[str, Array], metadata: dict[str, str]) -> bytes:
    numpy_io = _safetensors().numpy
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    data: bytes = numpy_io.save(contiguous, metadata)
    return data


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """What `serialize` was given; raises `FormatError` for anything it did not write."""
    arrays, metadata = _read_container(path)
    where = str(path)
    text = metadata.get("wkmeans")
    if text is None:
        raise FormatError(f"{where}: not a compressed model: no 'wkmeans' metadata")
    header = _parsed(where, text)
    if header.get("version") != VERSION:
        raise FormatError(
            f"{where}: version {header.get('version')!r}, this release reads version {VERSION}"
        )
    if text[-_SEAL:] != _sealed(text[:-_SEAL], arrays):
        raise FormatError(f"{where}: damaged: the checksum is not that of the contents")
    described = _expect(where, header.get("tensors"), dict, "a mapping of tensors")
    reader = _Reader(where, arrays)
    tensors = {name: reader.tensor(name, entry) for name, entry in described.items()}
    reader.check_nothing_is_left()
    aliases = _expect(where, header.get("aliases", {}), dict, "a mapping of aliases")
    for alias, name in aliases.items():
        if not isinstance(name, str) or name not in tensors or alias in tensors:
            raise FormatError(f"{where}: alias {alias!r} of {name!r} does not name one tensor")
    framework = header.get("framework")
    if framework not in ("torch", "numpy"):
        raise FormatError(f"{where}: expected framework 'torch' or 'numpy', got {framework!r}")
    return tensors, aliases, framework


def _read_container(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    module = _safetensors()
    try:
        with module.safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
        specs = module.deserialize(path.read_bytes())
    except module.SafetensorError as error:
        raise FormatError(f"{path}: not a readable safetensors file: {error}") from None
    return {name: _array(str(path), name, spec) for name, spec in specs}, metadata


def _array(where: str, name: str, spec: Mapping[str, Any]) -> Array:
    dtype = _SAFETENSORS_DTYPES.get(spec["dtype"])
    if dtype is None:
        raise FormatError(f"{where}: {name!r} has unknown dtype {spec['dtype']!r}")
    array = np.frombuffer(spec["data"], numpy_dtype(dtype))
    try:
        return array.reshape(spec["shape"])
    except ValueError as error:
        raise FormatError(f"{where}: {name!r}: {error}") from None


def _parsed(where: str, text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: metadata is not JSON: {error}") from None
    parsed: dict[str, Any] = _expect(where, header, dict, "a mapping as metadata")
    return parsed


def _expect(where: str, value: Any, kind: type, expected: str) -> Any:
    if type(value) is not kind:
        raise FormatError(f"{where}: expected {expected}, got {str(value)[:80]!r}")
    return value


class _Reader:
    """Turns descriptions and arrays into tensors, each array used once."""

    def __init__(self, where: str, arrays: dict[str, Array]) -> None:
        self._where = where
        self._arrays = arrays

    def tensor(self, name: str, entry: Any) -> Tensor:
        where = f"{self._where}: tensor {name!r}"
        _expect(where, entry, dict, "a description")
        if "reason" in entry:
            return self._dense(where, name, entry)
        return self._compressed(where, name, entry)

    def check_nothing_is_left(self) -> None:
        if self._arrays:
            raise FormatError(f"{self._where}: {min(self._arrays)!r} belongs to no tensor")

    def _take(self, where: str, name: str) -> Array:
        if name not in self._arrays:
            raise FormatError(f"{where}: no stored array {name!r}")
        return self._arrays.pop(name)

    def _dense(self, where: str, name: str, entry: dict[str, Any]) -> DenseTensor:
        values = self._take(where, name)
        dtype = entry.get("dtype", values.dtype.name)
        if dtype not in STORABLE or (dtype != values.dtype.name and dtype not in FLOAT_DTYPES):
            raise FormatError(f"{where}: unexpected dtype {dtype!r}")
        return DenseTensor(values, dtype, _expect(where, entry["reason"], str, "a reason"))

    def _compressed(self, where: str, name: str, entry: dict[str, Any]) -> CompressedTensor:
        shape = _shape(where, entry.get("shape"))
        if entry.get("dtype") not in FLOAT_DTYPES:
            raise FormatError(f"{where}: unexpected dtype {entry.get('dtype')!r}")
        granularity: Any = entry.get("granularity")
        if granularity not in ("tensor", "channel") and not _is_count(granularity):
            raise FormatError(f"{where}: unexpected granularity {granularity!r}")
        layout = layout_of(shape, granularity)
        codebook = self._take(where, f"{name}:codebook")
        if codebook.ndim != 2 or codebook.shape[0] != layout.n_codebooks:
            raise FormatError(
                f"{where}: expected {layout.n_codebooks} codebooks, got shape {codebook.shape}"
            )
        k = codebook.shape[1]
        if codebook.dtype.name not in FORMATS or not 1 <= k <= MAX_K:
            raise FormatError(f"{where}: unexpected codebook of {k} {codebook.dtype.name}")
        payload = self._take(where, f"{name}:codes")
        encoded = EncodedCodes(
            _bytes(where, payload),
            layout.n_channels,
            layout.channel_size,
            k,
            str(entry.get("coding")),
            _classes(where, entry.get("classes")),
        )
        _check_payload(where, encoded)
        scale = None
        if codebook.dtype.name == "int8":
            scale = self._scale(where, f"{name}:codebook_scale", layout.n_codebooks)
        channel_scale = None
        if f"{name}:channel_scale" in self._arrays:
            channel_scale = self._scale(where, f"{name}:channel_scale", layout.n_channels)
        cost: Any = entry.get("cost")
        if type(cost) not in (int, float):
            raise FormatError(f"{where}: expected a cost, got {cost!r}")
        return CompressedTensor(
            shape, entry["dtype"], granularity, encoded, codebook, scale, channel_scale, float(cost)
        )

    def _scale(self, where: str, name: str, length: int) -> Array:
        scale = self._take(where, name)
        if scale.dtype != np.float32 or scale.shape != (length,):
            raise FormatError(f"{where}: {name!r} is {scale.dtype} {scale.shape}, not {length}")
        return scale


def _shape(where: str, shape: Any) -> tuple[int, ...]:
    _expect(where, shape, list, "a shape")
    if len(shape) > _MAX_DIMENSIONS or not all(type(n) is int and n > 0 for n in shape):
        raise FormatError(f"{where}: unexpected shape {str(shape)[:80]}")
    size = 1
    for length in shape:
        size *= length
        if size > _MAX_SIZE:
            raise FormatError(f"{where}: unexpected shape {str(shape)[:80]}")
    return tuple(shape)


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MAX_SIZE


def _classes(where: str, classes: Any) -> tuple[int, int] | None:
    if classes is None:
        return None
    _expect(where, classes, list, "classes of lines")
    if len(classes) != 2 or classes[0] not in (0, 1) or not _is_count(classes[1]):
        raise FormatError(f"{where}: unexpected classes {classes!r}")
    if not 2 <= classes[1] <= MAX_CLASSES:
        raise FormatError(f"{where}: expected 2 to {MAX_CLASSES} classes, got {classes[1]}")
    return int(classes[0]), int(classes[1])


def _bytes(where: str, payload: Array) -> Array:
    if payload.dtype != np.uint8 or payload.ndim != 1:
        raise FormatError(f"{where}: codes are {payload.dtype} {payload.shape}, not bytes")
    return payload


def _check_payload(where: str, encoded: EncodedCodes) -> None:
    """That the payload has the length its codes need, before they are decoded."""
    if encoded.coding == "packed":
        expected = packed_size(encoded.size, encoded.k)
        if encoded.classes is not None or encoded.payload.size != expected:
            raise FormatError(
                f"{where}: expected {expected} bytes of codes, got {encoded.payload.size}"
            )
    elif encoded.coding == "ans":
        try:
            read_counts(encoded)
        except FormatError as error:
            raise FormatError(f"{where}: {error}") from None
    else:
        raise FormatError(f"{where}: unknown coding {encoded.coding!r}")


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "reading and writing models needs safetensors: pip install 'wkmeans[compress]'"
        ) from error
    return safetensors
