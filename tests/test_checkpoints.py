"""Model files as people have them: every dtype, shards and indices, ties, what is no model."""

from __future__ import annotations

import json
import os
import tracemalloc

import numpy as np
import pytest
from checkpoints import COMPRESSED, one_of_each_dtype, read_safetensors, write_safetensors
from fresh import run_python, run_wkmeans

import wkmeans
from wkmeans import cli

for module in ("safetensors", "ml_dtypes", "rich"):
    pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[compress]'")
from safetensors.numpy import save_file  # noqa: E402


def weights(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.fixture
def sharded(tmp_path):
    """Two shards, their index, a consolidated copy and files that are no weights."""
    model = {f"layers.{i}.weight": weights(i, 16, 16) for i in range(4)}
    names = list(model)
    parts = {"model-00001-of-00002.safetensors": names[:2]}
    parts["model-00002-of-00002.safetensors"] = names[2:]
    for file, part in parts.items():
        save_file({name: model[name] for name in part}, tmp_path / file, {"format": "pt"})
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file(model, tmp_path / "consolidated.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    return tmp_path


# --- dtypes ---


def test_bfloat16_compresses_in_a_process_that_imported_nothing(tmp_path):
    path, small = tmp_path / "model.safetensors", tmp_path / "small.safetensors"
    write_safetensors(path, {"w": one_of_each_dtype()["layer.bf16"]})
    finished = run_wkmeans("compress", path, "--bits", "4", "-o", small)
    assert finished.returncode == 0, finished.stderr
    code = (
        "import wkmeans; m = wkmeans.compress(sys.argv[1], bits=4); print(m['w'].k, m['w'].dtype)"
    )
    finished = run_python(code, path)
    assert finished.stdout.split() == ["16", "bfloat16"], finished.stderr


def test_every_dtype_of_the_specification_is_compressed_or_kept_with_a_reason(tmp_path):
    path, small, plain = (tmp_path / name for name in ("model", "small", "plain"))
    arrays = one_of_each_dtype()
    write_safetensors(path, arrays, {"format": "pt"})
    finished = run_wkmeans("compress", path, "--bits", "2", "-o", small, "--json")
    assert finished.returncode == 0, finished.stderr
    tensors = {entry["name"]: entry for entry in json.loads(finished.stdout)["tensors"]}
    assert tensors.keys() == arrays.keys()
    for name, (dtype, shape, data) in arrays.items():
        entry = tensors[name]
        assert entry["original_bytes"] == len(data) and tuple(entry["shape"]) == shape
        assert (entry["reason"] is None) == (dtype in COMPRESSED)
        assert entry["reason"] is None or entry["dtype"] in entry["reason"]
    assert run_wkmeans("decompress", small, "-o", plain).returncode == 0
    found, metadata = read_safetensors(plain)
    assert metadata == {"format": "pt"} and found.keys() == arrays.keys()
    for name, (dtype, shape, data) in arrays.items():
        assert found[name][:2] == (dtype, shape)
        assert (found[name][2] == data) == (dtype not in COMPRESSED)


def test_narrow_floats_reach_torch_where_it_has_a_dtype_for_them(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.safetensors"
    arrays = one_of_each_dtype()
    for name in ("layer.f8_e8m0", "layer.f4", "layer.f8_e4m3fnuz"):
        write_safetensors(path, {name: arrays[name]}, {"format": "pt"})
        (tensor,) = wkmeans.compress(path, k=4).state_dict().values()
        assert tensor.view(torch.uint8).numpy().tobytes() == arrays[name][2]
    write_safetensors(path, {"w": arrays["layer.f6_e2m3"]}, {"format": "pt"})
    compressed = wkmeans.compress(path, k=4)
    with pytest.raises(TypeError, match="w: torch has no dtype for float6_e2m3fn"):
        compressed.state_dict()


def test_what_is_not_finite_stays_dense_with_a_reason(tmp_path):
    mask = np.triu(np.full((16, 16), -np.inf, np.float32), 1)
    save_file({"mask": mask, "w": weights(0, 16, 16)}, tmp_path / "model.safetensors")
    for size in ({"bits": 2}, {"target_bytes": 1800}):
        compressed = wkmeans.compress(tmp_path, **size)
        assert compressed["mask"].reason == "not finite (-inf at index (0, 1))"
        assert getattr(compressed["w"], "reason", None) is None
        np.testing.assert_array_equal(compressed["mask"].dequantize(), mask)
    with pytest.raises(ValueError, match="mask: weights: expected finite values"):
        wkmeans.compress({"mask": mask}, bits=2)


# --- folders ---


def test_the_index_decides(sharded):
    compressed = wkmeans.compress(sharded, k=4)
    assert list(compressed) == [f"layers.{i}.weight" for i in range(4)]
    why = "not named by model.safetensors.index.json"
    assert compressed.report().left_out == {"consolidated.safetensors": why}
    assert f"left out: consolidated.safetensors: {why}" in str(compressed.report())


def test_what_was_left_out_is_said_by_the_file_too(sharded, tmp_path):
    compressed = wkmeans.compress(sharded, k=4)
    compressed.save(tmp_path / "small")
    assert wkmeans.load(tmp_path / "small").report() == compressed.report()


def test_a_shard_that_the_index_names_must_exist(sharded, capsys):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    assert cli.main(["compress", str(sharded), "--k", "4", "-o", str(sharded / "out")]) == 1
    error = capsys.readouterr().err
    assert "names the shard model-00002-of-00002.safetensors, which is missing" in error
    assert not (sharded / "out").exists()


def test_a_tensor_that_the_index_names_must_exist(sharded):
    index = sharded / "model.safetensors.index.json"
    named = json.loads(index.read_text())
    named["weight_map"]["head.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(named))
    with pytest.raises(ValueError, match=r"says that 'head.weight' is in model-00001"):
        wkmeans.compress(sharded, k=4)


def test_a_tensor_that_the_index_does_not_name_is_left_out_and_said(sharded):
    index = sharded / "model.safetensors.index.json"
    named = json.loads(index.read_text())
    del named["weight_map"]["layers.1.weight"]
    index.write_text(json.dumps(named))
    compressed = wkmeans.compress(index, k=4)
    assert "layers.1.weight" not in compressed
    assert compressed.left_out == {
        "model-00001-of-00002.safetensors: layers.1.weight": (
            "not named by model.safetensors.index.json"
        )
    }


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "", 3, None])
def test_an_index_leads_nowhere_else(sharded, shard):
    index = sharded / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ValueError, match="expected 'a' in a file beside the index"):
        wkmeans.compress(sharded, k=4)


def test_shards_without_an_index_are_complete_or_refused(sharded):
    (sharded / "model.safetensors.index.json").unlink()
    compressed = wkmeans.compress(sharded, k=4)
    assert len(compressed) == 4
    assert compressed.left_out == {"consolidated.safetensors": "not one of the 2 shards of model"}
    (sharded / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="shard 1 of 2 of model is missing"):
        wkmeans.compress(sharded, k=4)


def test_a_whole_model_comes_before_what_lies_beside_it(tmp_path):
    save_file({"a": weights(0, 16, 16)}, tmp_path / "model.safetensors")
    save_file({"lora": weights(1, 16, 16)}, tmp_path / "adapter_model.safetensors")
    compressed = wkmeans.compress(tmp_path, k=4)
    assert list(compressed) == ["a"]
    assert compressed.left_out == {"adapter_model.safetensors": "not part of model.safetensors"}


def test_two_indices_have_to_be_told_apart(sharded):
    (sharded / "other.safetensors.index.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected one index, got model.*, other.*: name one"):
        wkmeans.compress(sharded, k=4)


# --- what is no model ---


def test_a_compressed_file_is_not_compressed_again(tmp_path, capsys):
    small = tmp_path / "small.safetensors"
    wkmeans.compress({"w": weights(0, 16, 16)}, k=4).save(small)
    for source in (small, tmp_path):
        assert cli.main(["compress", str(source), "--k", "2", "-o", str(tmp_path / "out")]) == 1
        assert "already a compressed model" in capsys.readouterr().err
    save_file({"w": weights(0, 16, 16)}, tmp_path / "weights.safetensors")
    compressed = wkmeans.compress(tmp_path, k=2)
    assert list(compressed) == ["w"] and list(compressed.left_out) == ["small.safetensors"]


def test_a_compressed_model_is_not_compressed_again():
    compressed = wkmeans.compress({"w": weights(0, 16, 16)}, k=4)
    with pytest.raises(TypeError, match="got a CompressedModel; its state_dict"):
        wkmeans.compress(compressed, k=2)
    assert wkmeans.compress(compressed.state_dict(), k=2)["w"].k == 2


@pytest.mark.parametrize("version", ["packed", "tied"])
def test_a_file_of_version_1_is_not_compressed_again(version):
    path = os.path.join(os.path.dirname(__file__), "data", f"version-1-{version}.safetensors")
    with pytest.raises(ValueError, match="already a compressed model"):
        wkmeans.compress(path, k=4)


def test_importances_are_no_model(tmp_path):
    save_file({"w": weights(0, 4, 4)}, tmp_path / "i", {"format": "wkmeans.importances"})
    with pytest.raises(ValueError, match="holds importances, not a model"):
        wkmeans.compress(tmp_path / "i", k=4)


OTHER_KINDS = {
    "pytorch_model.bin": (b"PK\x03\x04" + bytes(60), "zip archive, as torch.save writes"),
    "old.pth": (b"\x80\x02\x8a\nl\xfc\x9cF" + bytes(60), "a pickle"),
    "model.gguf": (b"GGUF\x03\0\0\0" + bytes(60), "a GGUF file"),
    "model.onnx": (b"\x08\x08\x12\x07pytorch" + bytes(60), "an ONNX model"),
    "lfs.safetensors": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "git-lfs pointer to a file that was not downloaded; run git lfs pull",
    ),
    "page.safetensors": (b"<!DOCTYPE html>" + bytes(60), "an HTML page"),
    "empty.safetensors": (b"", "it is empty"),
    "config.txt": (b'{"architectures": ["A"]}', "a JSON file"),
    "noise.safetensors": (bytes(range(7, 107)), "no safetensors header at its start"),
    "cut.safetensors": (b"\x40" + bytes(7) + b'{"w', "expected a header of 64 bytes, got 3"),
}


@pytest.mark.parametrize("name", OTHER_KINDS)
@pytest.mark.parametrize("command", ["compress", "inspect", "decompress"])
def test_other_kinds_of_file_are_called_what_they_are(tmp_path, capsys, name, command):
    data, message = OTHER_KINDS[name]
    path = tmp_path / name
    path.write_bytes(data)
    options = {"compress": ["--k", "4", "-o", "out"], "decompress": ["-o", "out"]}
    arguments = [
        str(option).replace("out", str(tmp_path / "out")) for option in options.get(command, [])
    ]
    assert cli.main([command, str(path), *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and str(path) in error and error.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == [name]


def test_directories_are_called_what_they_are(tmp_path, capsys):
    assert cli.main(["inspect", str(tmp_path)]) == 1
    assert "expected a safetensors file, got a directory" in capsys.readouterr().err
    (tmp_path / "a.safetensors").touch()
    assert cli.main(["decompress", str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    assert "name a file of it, such as a.safetensors" in capsys.readouterr().err
    (tmp_path / "a.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    assert cli.main(["compress", str(tmp_path), "--k", "2", "-o", str(tmp_path / "o")]) == 1
    error = capsys.readouterr().err
    assert "no .safetensors file in this folder; pytorch_model.bin is of another kind" in error


def test_an_index_of_pickles_says_how_to_get_safetensors(tmp_path):
    index = {"weight_map": {"w": "pytorch_model-00001-of-00001.bin"}}
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"no safetensors files .*safe_serialization=True"):
        wkmeans.compress(path, k=4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="expected a regular file"):
        wkmeans.load(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(a={"dtype": "F32", "shape": [1], "data_offsets": [0, 3]}), "bytes of"),
        (lambda h: h.update(b=h["a"]), "overlap or leave holes"),
        (lambda h: h.pop("a"), "expected 0 bytes of arrays, got 4"),
        (lambda h: h["a"].update(dtype="F128"), "unknown dtype 'F128'"),
        (lambda h: h["a"].update(dtype=["F32"]), "unknown dtype"),
        (lambda h: h["a"].update(shape=[2**62, 4]), "unexpected shape"),
        (lambda h: h["a"].update(shape=[2**40, 2**40, 0], data_offsets=[0, 0]), "not the bytes"),
        (lambda h: h.update({"\ud800": h.pop("a")}), "surrogates not allowed"),
        (lambda h: h.update(__metadata__={"a": "\udfff"}), "surrogates not allowed"),
        (lambda h: h["a"].update(shape=[-1]), "unexpected shape"),
        (lambda h: h["a"].update(shape=[1] * 65), "are not the bytes of"),
        (lambda h: h["a"].update(data_offsets=[0, 2**60]), "unexpected shape or data_offsets"),
        (lambda h: h["a"].pop("dtype"), "has no dtype, shape and data_offsets"),
        (lambda h: h.update(__metadata__={"a": 1}), "not a mapping of strings"),
        (lambda h: h.update(__metadata__=[]), "not a mapping of strings"),
    ],
)
def test_a_forged_header_is_refused(tmp_path, change, message):
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    change(header)
    text = json.dumps(header).encode()
    path = tmp_path / "forged.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(wkmeans.FormatError, match=message):
        wkmeans.compress(path, k=4)
    repeated = text[:-1] + b', "a": {}}'
    path.write_bytes(len(repeated).to_bytes(8, "little") + repeated + bytes(4))
    with pytest.raises(wkmeans.FormatError, match="not a readable safetensors file"):
        wkmeans.compress(path, k=4)


def test_no_room_is_made_for_a_header_that_is_not_there(tmp_path):
    path = tmp_path / "forged.safetensors"
    path.write_bytes((90_000_000).to_bytes(8, "little") + b"{}")
    tracemalloc.start()
    try:
        with pytest.raises(wkmeans.FormatError, match="expected a header of 90000000 bytes, got 2"):
            wkmeans.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# --- ties ---


def test_decompress_writes_a_tie_once_and_compress_finds_it_again(tmp_path):
    shared = weights(0, 32, 16)
    model = {"wte.weight": shared, "lm_head.weight": shared, "h.weight": weights(1, 16, 16)}
    compressed = wkmeans.compress(model, k=4)
    assert compressed.aliases == {"lm_head.weight": "wte.weight"}
    small, plain = tmp_path / "small.safetensors", tmp_path / "plain.safetensors"
    compressed.save(small)
    assert cli.main(["decompress", str(small), "-o", str(plain)]) == 0
    arrays, metadata = read_safetensors(plain)
    assert arrays.keys() == {"wte.weight", "h.weight"}
    assert metadata == {"lm_head.weight": "wte.weight"}
    assert plain.stat().st_size < 32 * 16 * 4 + 16 * 16 * 4 + 400
    again = wkmeans.compress(plain, k=4)
    assert again.aliases == compressed.aliases
    np.testing.assert_array_equal(
        again["lm_head.weight"].dequantize(), compressed["lm_head.weight"].dequantize()
    )
    assert wkmeans.compress(plain, k=4, exclude="lm_head*")["wte.weight"].reason is not None


def test_a_tie_may_be_named_by_importances_under_any_of_its_names():
    shared = weights(0, 32, 16)
    model = {"wte.weight": shared, "lm_head.weight": shared}
    compressed = wkmeans.compress(model, k=4, importances={"lm_head.weight": np.ones((32, 16))})
    assert compressed["wte.weight"].k == 4


# --- patterns ---


def test_a_pattern_that_names_nothing_is_an_error_that_lists_near_names():
    model = {"lm_head.weight": weights(0, 16, 16), "blocks.0.weight": weights(1, 16, 16)}
    with pytest.raises(
        ValueError,
        match=r"exclude: no tensor is named by 'lm_haed\*'; near it "
        "are 'lm_head.weight'",
    ):
        wkmeans.compress(model, k=4, exclude="lm_haed*")
    with pytest.raises(ValueError, match=r"include: no tensor is named by 'decoder\.\*'$"):
        wkmeans.compress(model, k=4, include=["lm_head*", "decoder.*"])


def test_a_name_is_taken_literally_before_it_is_taken_for_a_pattern():
    model = {name: weights(i, 16, 16) for i, name in enumerate(("a[0].w", "a0.w", "a[1].w"))}
    compressed = wkmeans.compress(model, k=4, exclude=["a[0].w"])
    assert {n: getattr(t, "reason", None) for n, t in compressed.items()} == {
        "a[0].w": "excluded by 'a[0].w'",
        "a0.w": None,
        "a[1].w": None,
    }
    compressed = wkmeans.compress(model, k=4, exclude="a[[]?[]].w")
    assert getattr(compressed["a0.w"], "reason", None) is None
    assert compressed["a[1].w"].reason == "excluded by 'a[[]?[]].w'"
