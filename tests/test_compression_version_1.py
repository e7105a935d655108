"""Files of version 1, which releases before version 2 wrote, still load; forged ones do not."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

import wkmeans
from wkmeans._kernels.dtypes import numpy_dtype
from wkmeans.compression.format import version_1

for module in ("safetensors", "ml_dtypes"):
    pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[compress]'")

DATA = Path(__file__).parent / "data"
KINDS = ("packed", "int8", "scales", "tied", "classes")
DTYPES = {"F32": "float32", "F16": "float16", "I8": "int8", "U8": "uint8", "I64": "int64"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_is_what_it_was(kind):
    expected = json.loads((DATA / "version-1.json").read_text())[kind]
    model = wkmeans.load(DATA / f"version-1-{kind}.safetensors")
    found = {
        name: [a.dtype.name, list(a.shape), hashlib.sha256(a.tobytes()).hexdigest()]
        for name, a in model.state_dict("numpy").items()
    }
    assert found == expected["tensors"]
    assert {n: getattr(t, "cost", None) for n, t in model.items()} == expected["cost"]


@pytest.mark.parametrize("kind", KINDS)
def test_saving_again_keeps_every_bit(kind, tmp_path):
    model = wkmeans.load(DATA / f"version-1-{kind}.safetensors")
    model.save(tmp_path / "model.safetensors")
    again = wkmeans.load(tmp_path / "model.safetensors")
    assert again.aliases == model.aliases and again.framework == model.framework
    for name, array in model.state_dict("numpy").items():
        found = again[name].dequantize()
        assert found.dtype == array.dtype and found.tobytes() == array.tobytes()


def repacked(data, change):
    """The file with its metadata changed, of a length and a checksum that fit again."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    meta = json.loads(header["__metadata__"]["wkmeans"])
    meta.pop("crc32")
    change(meta)
    arrays = {}
    for name, spec in header.items():
        if name != "__metadata__":
            start, end = spec["data_offsets"]
            raw = np.frombuffer(data[8 + size :][start:end], np.uint8)
            arrays[name] = raw.view(numpy_dtype(DTYPES[spec["dtype"]])).reshape(spec["shape"])
    text = json.dumps(meta, separators=(",", ":"))
    header["__metadata__"]["wkmeans"] = text[:-1] + version_1.sealed(text[:-1], arrays)
    packed = json.dumps(header).encode()
    return struct.pack("<Q", len(packed)) + packed + data[8 + size :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=2), "version '2', this release reads"),
        (lambda m: m.update(framework="jax"), "expected framework"),
        (lambda m: m.update(tensors=[]), "a mapping of tensors"),
        (lambda m: m.update(aliases={"a": "nothing"}), "alias 'a'"),
        (lambda m: m["tensors"].pop("bias"), "'bias' belongs to no tensor"),
        (lambda m: m["tensors"]["packed"].update(shape=[10**6, 10**6]), "bytes of codes"),
        (lambda m: m["tensors"]["packed"].update(shape=[2**30, 2**30]), "unexpected shape"),
        (lambda m: m["tensors"]["packed"].update(shape=[20, 25]), "tensor 'packed'"),
        (lambda m: m["tensors"]["packed"].update(dtype="int8"), "unexpected dtype 'int8'"),
        (lambda m: m["tensors"]["packed"].update(granularity=0), "unexpected granularity '0'"),
        (lambda m: m["tensors"]["packed"].update(granularity=1), "bytes of codebooks"),
        (lambda m: m["tensors"]["packed"].update(coding="zip"), "unexpected coding 'zip'"),
        (lambda m: m["tensors"]["packed"].pop("coding"), "unexpected coding 'None'"),
        (lambda m: m["tensors"]["packed"].update(cost="low"), "expected a cost"),
        (lambda m: m["tensors"]["packed"].update(classes=[0, 99]), "classes of lines"),
        (lambda m: m["tensors"].update(more={}), "tensor 'more'"),
        (lambda m: m["tensors"]["bias"].update(dtype="int8"), "unexpected dtype 'int8'"),
    ],
)
def test_forged_descriptions_say_what_is_wrong(tmp_path, change, message):
    path = tmp_path / "forged.safetensors"
    path.write_bytes(repacked((DATA / "version-1-packed.safetensors").read_bytes(), change))
    with pytest.raises(wkmeans.FormatError) as error:
        wkmeans.load(path)
    assert message in str(error.value)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "damaged.safetensors"
    data = bytearray((DATA / "version-1-packed.safetensors").read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(wkmeans.FormatError, match="checksum"):
        wkmeans.load(path)
