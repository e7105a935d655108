"""What a file is that should have been a safetensors file, and what to do about it."""

from __future__ import annotations

from pathlib import Path

_CONVERT = "load it with torch and save its state dict by safetensors.torch.save_file"

_STARTS = (
    (b"", "it is empty"),
    (b"GGUF", "it is a GGUF file; dequantise it first, transformers' gguf_file= does"),
    (b"PK\x03\x04", f"it is a zip archive, as torch.save writes; {_CONVERT}"),
    (b"\x80\x02", f"it is a pickle, as torch.save wrote before 1.6; {_CONVERT}"),
    (b"\x80\x03", f"it is a pickle; {_CONVERT}"),
    (b"\x80\x04", f"it is a pickle; {_CONVERT}"),
    (b"\x80\x05", f"it is a pickle; {_CONVERT}"),
    (
        b"version https://git-lfs",
        "it is a git-lfs pointer to a file that was not downloaded; run git lfs pull",
    ),
    (b"\x89HDF\r\n", "it is an HDF5 file"),
    (b"\x93NUMPY", "it is a NumPy array; pass a dict of arrays, or save them as safetensors"),
    (b"\x08", "it looks like an ONNX model"),
    (b"\x1f\x8b", "it is compressed by gzip; unpack it first"),
    (b"(\xb5/\xfd", "it is compressed by zstd; unpack it first"),
    (b"<!DOCTYPE", "it is an HTML page, which a download went wrong into"),
    (b"<html", "it is an HTML page, which a download went wrong into"),
    (b"{", "it is a JSON file; the index of a sharded checkpoint ends in .index.json"),
)


def described_as(path: Path, start: bytes) -> str:
    """What a file that begins with `start` seems to be."""
    if not start:
        return _STARTS[0][1]
    for signature, description in _STARTS[1:]:
        if start.startswith(signature) and (signature != b"\x08" or path.suffix == ".onnx"):
            return description
    return f"no safetensors header at its start; it begins with {start[:8]!r}"
