"""Files: damaged, forged, interrupted, sharded; and the commands that read and write them."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

import wkmeans
from wkmeans import cli

for module in ("safetensors", "ml_dtypes", "rich"):
    pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[compress]'")
from safetensors.numpy import load_file, save, save_file  # noqa: E402

from wkmeans.compression.tensors.rounded import rounded_vector  # noqa: E402

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
    model = rounded_model()
    return [*found, (model.to_bytes(), contents(model))]


def rounded_model():
    rng = np.random.default_rng(5)
    vectors = {"signed": rng.standard_normal(300), "positive": np.exp(rng.normal(0, 3, (50, 2)))}
    return wkmeans.CompressedModel(
        {
            name: rounded_vector(values.astype(np.float32), "float32", 5, "a vector")
            for name, values in vectors.items()
        }
    )


def contents(model):
    return {
        name: (a.dtype.name, a.shape, a.tobytes()) for name, a in model.state_dict("numpy").items()
    }


def opened(data):
    """The safetensors header, the description, and the payload of a file."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    start, end = header["description"]["data_offsets"]
    packed = data[8 + size :][start:end]
    text = zlib.decompress(packed[5:], -15) if packed[4] else packed[5:]
    start, end = header["payload"]["data_offsets"]
    return header, json.loads(text), data[8 + size :][start:end]


def closed(metadata, text, payload, coding=0):
    """A file of any text and any payload, with a checksum that fits."""
    packed = text
    if coding:
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = deflate.compress(text) + deflate.flush()
    crc = zlib.crc32(payload, zlib.crc32(text)).to_bytes(4, "little")
    arrays = {"description": crc + bytes([coding]) + packed, "payload": payload}
    arrays = {name: np.frombuffer(part, np.uint8) for name, part in arrays.items()}
    return save(arrays, metadata)


def repacked(data, change):
    """The file with its header or description changed, and a checksum that fits again."""
    header, described, payload = opened(data)
    change(header, described)
    return closed(header["__metadata__"], json.dumps(described).encode(), payload)


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
    described = list(meta["tensors"].values())
    entry = described[rng.integers(len(described))]
    wild = [0, -1, 1, 2**31, 2**40, 2**62, 7, 3.5, None, "x", [], {}, True, "channel", "packed"]
    choice = wild[rng.integers(len(wild))]
    key = sorted(entry)[rng.integers(len(entry))]
    if key == "shape" and entry["shape"] and rng.random() < 0.8:
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
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * path.stat().st_size + 100_000


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
        (lambda h, m: h["__metadata__"].update(wkmeans="3"), "version '3', this release reads"),
        (lambda h, m: m.update(framework="jax"), "expected framework"),
        (lambda h, m: m.update(tensors=[]), "a mapping of tensors"),
        (lambda h, m: m.update(aliases={"a": "nothing"}), "alias 'a'"),
        (lambda h, m: m.update(left_out={"a": 1}), "a reason why 'a' was left out"),
        (lambda h, m: m["tensors"].pop("bias"), "36 bytes belong to no tensor"),
        (lambda h, m: m["tensors"]["packed"].update(shape=[10**6, 10**6]), "bytes of codes"),
        (lambda h, m: m["tensors"]["packed"].update(shape=[2**30, 2**30]), "unexpected shape"),
        (lambda h, m: m["tensors"]["packed"].update(shape=[0, 24]), "unexpected shape"),
        (lambda h, m: m["tensors"]["bias"].update(shape=[0, 2**60]), "unexpected shape"),
        (lambda h, m: m["tensors"].update({"\ud800": {}}), "surrogates not allowed"),
        (lambda h, m: m.update(left_out={"a": "\ud800"}), "surrogates not allowed"),
        (lambda h, m: m["tensors"]["packed"].update(shape=[20, 25]), "tensor 'skewed'"),
        (lambda h, m: m["tensors"]["packed"].update(dtype="int8"), "unexpected dtype 'int8'"),
        (lambda h, m: m["tensors"]["packed"].update(granularity=0), "unexpected granularity '0'"),
        (lambda h, m: m["tensors"]["packed"].update(granularity=1), "bytes of codebooks"),
        (lambda h, m: m["tensors"]["packed"].update(k=0), "unexpected k '0'"),
        (lambda h, m: m["tensors"]["packed"].update(k=2**20), "unexpected k '1048576'"),
        (lambda h, m: m["tensors"]["packed"].update(coding="zip"), "unexpected coding 'zip'"),
        (lambda h, m: m["tensors"]["packed"].update(kind="wavelet"), "unknown kind 'wavelet'"),
        (lambda h, m: m["tensors"]["packed"].pop("kind"), "expected kind as text"),
        (lambda h, m: m["tensors"]["packed"].update(cost="low"), "expected a cost"),
        (lambda h, m: m["tensors"]["packed"].update(later=1), "unknown member 'later'"),
        (lambda h, m: m["tensors"]["packed"].update(classes=[0, 4]), "belong to the coding 'ans'"),
        (
            lambda h, m: m["tensors"]["skewed"].update(coding="ans", bytes=99, classes=[0, 99]),
            "2 to 16 classes",
        ),
        (lambda h, m: m["tensors"].update(more={}), "tensor 'more'"),
        (lambda h, m: m["tensors"]["bias"].update(stored="int8"), "unexpected stored 'int8'"),
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 400, "not JSON"),
        (b" " * 10**7, "does not end where its bytes do"),
        (b'{"tensors": {' + b'"a": {}, ' * 10**6 + b'"b": {}}}', "does not end"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"null", "a mapping as description"),
    ],
)
def test_hostile_descriptions_take_no_memory_that_the_file_does_not_justify(
    tmp_path, text, message
):
    path = tmp_path / "forged.safetensors"
    path.write_bytes(closed({"wkmeans": "2"}, text, bytes(100), coding=1))
    assert load_or_none(path) is None
    with pytest.raises(wkmeans.FormatError, match=message):
        wkmeans.load(path)


def test_what_is_not_deflate_is_refused(files, tmp_path):
    path = tmp_path / "forged.safetensors"
    header, described, payload = opened(files[0][0])
    whole = closed(header["__metadata__"], json.dumps(described).encode(), payload)
    start = whole.index(json.dumps(described).encode()) - 1
    for coding, message in ((1, "damaged"), (7, "coding b'.x07'")):
        path.write_bytes(whole[:start] + bytes([coding]) + whole[start + 1 :])
        with pytest.raises(wkmeans.FormatError, match=message):
            wkmeans.load(path)


def test_a_small_network_spends_few_bytes_on_metadata():
    """A CNN of 61k weights at 2 bits: names, shapes, headers and checksums in under 1,000 bytes."""
    rng = np.random.default_rng(0)
    shapes = {"0": (16, 1, 3, 3), "4": (32, 16, 3, 3), "8": (64, 32, 3, 3)}
    shapes |= {"12": (64, 576), "13": (10, 64)}
    model = {f"{name}.weight": rng.standard_normal(s, np.float32) for name, s in shapes.items()}
    model |= {f"{name}.bias": np.zeros(s[0], np.float32) for name, s in shapes.items()}
    for name, channels in (("1", 16), ("5", 32)):
        for part in ("weight", "bias", "running_mean", "running_var"):
            model[f"{name}.{part}"] = np.ones(channels, np.float32)
        model[f"{name}.num_batches_tracked"] = np.array(938)
    compressed = wkmeans.compress(model, bits=2)
    report = compressed.report()
    assert report.n_weights > 61_000
    assert report.bytes == len(compressed.to_bytes())
    assert report.container_bytes == report.bytes - sum(t.bytes for t in report.tensors) < 1000


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


def test_a_cost_beyond_a_double_is_saved_and_loaded(tmp_path):
    model = {"w": np.random.default_rng(0).standard_normal((16, 16)) * 1e200}
    compressed = wkmeans.compress(model, k=4)
    compressed.save(tmp_path / "model")
    assert wkmeans.load(tmp_path / "model")["w"].cost == compressed["w"].cost == np.inf


@pytest.mark.parametrize("name", ["", "a\x00b", "é", "a b/c:d", "__metadata__"])
def test_any_name_is_saved_and_loaded(tmp_path, name):
    model = {name: np.random.default_rng(0).standard_normal((16, 16), np.float32)}
    compressed = wkmeans.compress(model, k=4)
    compressed.save(tmp_path / "small")
    assert list(wkmeans.load(tmp_path / "small")) == [name]
    if name == "__metadata__":  # which safetensors keeps for itself
        with pytest.raises(ValueError, match="rename it"):
            compressed.save_dense(tmp_path / "plain")
        return
    compressed.save_dense(tmp_path / "plain")
    assert list(load_file(tmp_path / "plain")) == [name]
