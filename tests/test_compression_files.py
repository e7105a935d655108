"""Files: damaged, forged, interrupted, sharded; and the commands that read and write them."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tracemalloc

import numpy as np
import pytest

import wkmeans
from wkmeans import cli
from wkmeans.compression.format import file as _file

for module in ("safetensors", "constriction", "ml_dtypes", "rich"):
    pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[compress]'")
from safetensors.numpy import load_file, save_file  # noqa: E402

# A campaign: WKMEANS_MUTATIONS=10000 WKMEANS_SEED=1 pytest tests/test_compression_files.py
MUTATIONS = int(os.environ.get("WKMEANS_MUTATIONS", "300"))
SEED = int(os.environ.get("WKMEANS_SEED", "0"))


def small_model():
    rng = np.random.default_rng(0)
    skewed = rng.standard_normal((60, 50)) * np.geomspace(0.01, 1, 60)[:, None]
    return {
        "packed": rng.uniform(size=(20, 24)).astype(np.float32),
        "skewed": skewed.astype(np.float32),
        "halves": rng.standard_normal((12, 30)).astype(np.float16),
        "constant": np.ones((16, 16), np.float32),
        "bias": rng.standard_normal(9).astype(np.float32),
    }


@pytest.fixture(scope="module")
def files():
    """Several kinds of file, with the tensors that each stands for."""
    found = []
    for options in (
        {"k": 16},
        {"k": 5, "density": 0.3, "codebook_dtype": "int8"},
        {"k": 3, "granularity": 20, "channel_scales": True, "coding": "ans"},
    ):
        model = wkmeans.compress(small_model(), **options)
        found.append((model.to_bytes(), contents(model)))
    return found


def contents(model):
    return {
        name: (a.dtype.name, a.shape, a.tobytes()) for name, a in model.state_dict("numpy").items()
    }


def repacked(data, change):
    """The file with its header changed, of a length and a checksum that fit again."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    meta = json.loads(header["__metadata__"]["wkmeans"])
    meta.pop("crc32")
    change(header, meta)
    arrays = {}
    for name, spec in header.items():
        if name == "__metadata__":
            continue
        start, end = spec["data_offsets"]
        raw = np.frombuffer(data[8 + size :][start:end], np.uint8)
        dtype = _file.numpy_dtype(_file._SAFETENSORS_DTYPES[spec["dtype"]])
        arrays[name] = raw.view(dtype).reshape(spec["shape"])
    text = json.dumps(meta, separators=(",", ":"))
    header["__metadata__"]["wkmeans"] = text[:-1] + _file._sealed(text[:-1], arrays)
    packed = json.dumps(header).encode()
    return struct.pack("<Q", len(packed)) + packed + data[8 + size :]


def mutated(data, rng):
    """A few bits flipped, a stretch lost or repeated, or digits of the header forged."""
    out = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        for position in rng.integers(0, len(out), rng.integers(1, 4)):
            out[position] ^= 1 << rng.integers(8)
    elif kind == 1:
        del out[rng.integers(len(out)) :]
    elif kind == 2:
        start, length = rng.integers(len(out)), rng.integers(1, 200)
        out[start : start + length] = b"" if rng.random() < 0.5 else out[start:][:length] * 2
    else:
        size = struct.unpack("<Q", data[:8])[0]
        digits = [i for i in range(8, 8 + size) if out[i : i + 1].isdigit()]
        for position in rng.choice(digits, rng.integers(1, 4)):
            out[position] = ord(str(rng.integers(10)))
    return bytes(out)


def forge(meta, rng):
    """Another number or word somewhere in a description; the checksum will agree."""
    described = [entry for entry in meta["tensors"].values() if "shape" in entry]
    entry = described[rng.integers(len(described))]
    wild = [0, -1, 1, 2**31, 2**40, 2**62, 7, 3.5, None, "x", [], {}, True, "channel", "packed"]
    choice = wild[rng.integers(len(wild))]
    key = sorted(entry)[rng.integers(len(entry))]
    if key == "shape" and rng.random() < 0.8:
        entry["shape"][rng.integers(len(entry["shape"]))] = choice
    elif rng.random() < 0.3:
        entry["classes"] = [int(rng.integers(-1, 3)), choice]
    else:
        entry[key] = choice


def load_or_none(path):
    """The model, or None where it is refused, within the memory that a file of its size may use."""
    tracemalloc.start()
    try:
        return wkmeans.load(path)
    except wkmeans.FormatError:
        return None
    finally:
        assert tracemalloc.get_traced_memory()[1] < 16 * path.stat().st_size + 100_000
        tracemalloc.stop()


def test_damaged_files_are_refused_or_right(files, tmp_path):
    path = tmp_path / "damaged.safetensors"
    rng = np.random.default_rng(SEED)
    refused = 0
    for index in range(MUTATIONS):
        data, original = files[index % len(files)]
        path.write_bytes(mutated(data, rng))
        model = load_or_none(path)
        refused += model is None
        assert model is None or contents(model) == original
    assert refused > 0.8 * MUTATIONS


def test_forged_files_with_the_right_checksum_are_refused_or_read(files, tmp_path):
    path = tmp_path / "forged.safetensors"
    rng = np.random.default_rng(SEED)
    for index in range(MUTATIONS):
        data, _ = files[index % len(files)]
        path.write_bytes(repacked(data, lambda header, meta: forge(meta, rng)))
        model = load_or_none(path)
        for tensor in {} if model is None else model.values():
            if tensor.size < 1e6:  # one codeword may stand for as many weights as a forger likes
                with contextlib.suppress(wkmeans.FormatError):
                    assert tensor.dequantize().shape == tensor.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, m: m.update(version=2), "version 2, this release reads version 1"),
        (lambda h, m: m.update(framework="jax"), "expected framework"),
        (lambda h, m: m.update(tensors=[]), "a mapping of tensors"),
        (lambda h, m: m.update(aliases={"a": "nothing"}), "alias 'a'"),
        (lambda h, m: m["tensors"].pop("bias"), "'bias' belongs to no tensor"),
        (lambda h, m: m["tensors"]["packed"].update(shape=[10**6, 10**6]), "codes"),
        (lambda h, m: m["tensors"]["packed"].update(shape=[2**30, 2**30]), "unexpected shape"),
        (lambda h, m: m["tensors"]["packed"].update(shape=[20, 25]), "tensor 'packed'"),
        (lambda h, m: m["tensors"]["packed"].update(dtype="int8"), "unexpected dtype 'int8'"),
        (lambda h, m: m["tensors"]["packed"].update(granularity=0), "unexpected granularity 0"),
        (lambda h, m: m["tensors"]["packed"].update(granularity=1), "expected 480 codebooks"),
        (lambda h, m: m["tensors"]["packed"].update(coding="zip"), "unknown coding 'zip'"),
        (lambda h, m: m["tensors"]["packed"].update(cost="low"), "expected a cost"),
        (lambda h, m: m["tensors"]["packed"].update(classes=[0, 99]), "2 to 16 classes"),
        (lambda h, m: m["tensors"].update(more={}), "tensor 'more'"),
        (lambda h, m: h["__metadata__"].update(other="entry"), None),
    ],
)
def test_forged_descriptions_say_what_is_wrong(files, tmp_path, change, message):
    path = tmp_path / "forged.safetensors"
    path.write_bytes(repacked(files[0][0], change))
    if message is None:
        assert contents(wkmeans.load(path)) == files[0][1]
        return
    with pytest.raises(wkmeans.FormatError) as error:
        wkmeans.load(path)
    assert message in str(error.value)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "plain.safetensors"
    save_file(small_model(), path)
    with pytest.raises(wkmeans.FormatError, match="not a compressed model"):
        wkmeans.load(path)
    with pytest.raises(FileNotFoundError):
        wkmeans.load(tmp_path / "nowhere")


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wkmeans.compress(small_model(), k=4).save(path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["model.safetensors"]


@pytest.fixture
def shards(tmp_path):
    model = small_model()
    names = list(model)
    parts = {"a.safetensors": names[:2], "b.safetensors": names[2:]}
    for file, part in parts.items():
        save_file({name: model[name] for name in part}, tmp_path / file, {"format": "pt"})
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    return tmp_path


def test_shards_an_index_and_a_directory_are_one_model(shards):
    expected = contents(wkmeans.compress(small_model(), k=4))
    files = [shards / "a.safetensors", shards / "b.safetensors"]
    for source in (shards / "model.safetensors.index.json", shards, files):
        compressed = wkmeans.compress(source, k=4)
        assert compressed.framework == "torch" and contents(compressed) == expected
    with pytest.raises(ValueError, match="is in another of the files too"):
        wkmeans.compress([files[0], files[0]], k=4)
    (shards / "bad.index.json").write_text("[]")
    with pytest.raises(ValueError, match="not the index of a sharded checkpoint"):
        wkmeans.compress(shards / "bad.index.json", k=4)


def test_commands(shards, capsys):
    small, plain = shards / "out" / "small.safetensors", shards / "out" / "plain.safetensors"
    small.parent.mkdir()
    source = str(shards / "model.safetensors.index.json")
    assert cli.main(["compress", source, "--bits", "3", "-o", str(small), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bytes"] == small.stat().st_size
    assert cli.main(["inspect", str(small)]) == 0
    assert "skewed" in capsys.readouterr().out
    assert cli.main(["decompress", str(small), "-o", str(plain)]) == 0
    expected = wkmeans.compress(small_model(), bits=3).state_dict("numpy")
    found = load_file(plain)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_size_from_the_command_line(shards, capsys):
    output = shards / "small.bin"
    arguments = [str(shards / "a.safetensors"), str(shards / "b.safetensors"), "-o", str(output)]
    assert cli.main(["compress", *arguments, "--target-bytes", "4000"]) == 0
    assert output.stat().st_size <= 4000
    assert "times smaller" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "nowhere", "--k", "3", "-o", "out"], "nowhere"),
        (["compress", "a.safetensors", "--k", "0", "-o", "out"], "k: expected 1 to 65536, got 0"),
        (["compress", "a.safetensors", "--k", "3", "-o", "."], "is a directory"),
        (["compress", "a.safetensors", "--k", "3", "-o", "no/out"], "no directory"),
        (["compress", "a.safetensors", "--target-bytes", "9", "-o", "out"], "at least"),
        (["inspect", "a.safetensors"], "not a compressed model"),
        (["decompress", "model.safetensors.index.json", "-o", "out"], "not a readable"),
    ],
)
def test_failures_are_one_line(shards, arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(shards)
    before = sorted(os.listdir())
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("wkmeans: error: ") and error.count("\n") == 1
    assert message in error
    assert sorted(os.listdir()) == before
