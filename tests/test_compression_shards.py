"""One compressed model in several files and their index."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("ml_dtypes", reason="needs the extra: pip install 'wkmeans[compress]'")

import wkmeans
from wkmeans import FormatError
from wkmeans.cli import main

INDEX = "model.safetensors.index.json"


def state():
    rng = np.random.default_rng(0)
    tied = rng.standard_normal((16, 24)).astype(np.float32)
    return {
        "first": tied,
        "norm": np.ones(24, np.float32),
        "last": tied,
        **{f"layer.{n}": rng.standard_normal((24, 24)).astype(np.float32) for n in range(3)},
    }


@pytest.fixture
def model():
    return wkmeans.compress(state(), bits=3, coding="packed")


def assert_same(found, expected):
    assert found.aliases == expected.aliases and found.framework == expected.framework
    dense = found.state_dict()
    assert dense.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        np.testing.assert_array_equal(dense[name], value)


@pytest.mark.parametrize("most", [1, 300, 500, 700])
def test_files_hold_the_model_together(model, most, tmp_path):
    written = model.save_shards(tmp_path, most)
    assert sorted(written) == sorted(tmp_path.iterdir())
    files = [path for path in written if path.suffix == ".safetensors"]
    n = len(files)
    assert [path.name for path in files] == [
        f"model-{number:05}-of-{n:05}.safetensors" for number in range(1, n + 1)
    ]
    for file in files:
        part = wkmeans.load(file)
        held = [part[name].nbytes for name in set(part) - set(part.aliases)]
        assert sum(held) <= most or len(held) == 1
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["weight_map"].keys() == set(model)
    for name, file in index["weight_map"].items():
        assert name in wkmeans.load(tmp_path / file)
    assert index["metadata"]["total_size"] == sum(
        model[name].nbytes for name in set(model) - set(model.aliases)
    )
    for given in (tmp_path, str(tmp_path), files):
        assert_same(wkmeans.load(given), model)


def test_one_file_where_it_fits(model, tmp_path):
    assert model.save_shards(tmp_path, 10**6) == [tmp_path / "model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == model.to_bytes()
    assert_same(wkmeans.load(tmp_path), model)


def test_what_was_saved_before_is_replaced(model, tmp_path):
    (tmp_path / "other.safetensors").write_bytes(b"stays")
    for most in (1, 300, 10**6, 300, 1):
        written = model.save_shards(tmp_path, most)
        assert {*written, tmp_path / "other.safetensors"} == set(tmp_path.iterdir())
        assert_same(wkmeans.load(tmp_path), model)


def test_what_it_was_compressed_from_is_not(tmp_path):
    wkmeans.compress(state(), bits=3).save_dense(tmp_path / "model.safetensors")
    before = (tmp_path / "model.safetensors").read_bytes()
    made = wkmeans.compress(tmp_path, bits=3)
    for most in (1, 10**6):
        with pytest.raises(ValueError, match="is the input"):
            made.save_shards(tmp_path, most)
        assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_what_does_not_belong_together_is_refused(model, tmp_path):
    files = model.save_shards(tmp_path, 300)[:-1]
    with pytest.raises(FormatError, match="is in another of the files too"):
        wkmeans.load([files[0], files[1], files[0]])
    torch = pytest.importorskip("torch")
    wkmeans.compress({"more": torch.randn(9, 9)}, bits=3).save(tmp_path / "torch.safetensors")
    with pytest.raises(FormatError, match=r"expected framework 'numpy', .* got 'torch'"):
        wkmeans.load([files[0], tmp_path / "torch.safetensors"])


def test_an_index_that_is_wrong_is_refused(model, tmp_path):
    files = model.save_shards(tmp_path, 300)
    index = json.loads(files[-1].read_text())
    other = {"weight_map": index["weight_map"] | {"more": files[0].name}}
    files[-1].write_text(json.dumps(other))
    with pytest.raises(FormatError, match="names tensor 'more', which its files do not hold"):
        wkmeans.load(tmp_path)
    files[-1].write_text(json.dumps({"weight_map": {"more": "../model.safetensors"}}))
    with pytest.raises(FormatError, match="in a file beside the index"):
        wkmeans.load(tmp_path)
    files[-1].write_text("{")
    with pytest.raises(FormatError, match="not the index of a sharded checkpoint"):
        wkmeans.load(tmp_path)


def test_what_is_missing_is_named(model, tmp_path):
    with pytest.raises(IsADirectoryError, match="expected a safetensors file, got a directory"):
        wkmeans.load(tmp_path)
    files = model.save_shards(tmp_path, 300)
    files[1].unlink()
    with pytest.raises(FileNotFoundError, match=f"names the shard {files[1].name}, which"):
        wkmeans.load(tmp_path)
    with pytest.raises(ValueError, match="path: expected at least one file, got none"):
        wkmeans.load([])


def test_the_command_reads_folders(model, tmp_path, capsys):
    model.save_shards(tmp_path, 300)
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tensors"]) == 5
    assert main(["decompress", str(tmp_path), "-o", str(tmp_path / "plain.safetensors")]) == 0
    again = wkmeans.compress(tmp_path / "plain.safetensors", k=4096)
    assert again.aliases == model.aliases
    first = next(tmp_path.glob("model-00001-of-*.safetensors"))
    assert main(["decompress", str(tmp_path), "-o", str(first)]) == 1
    assert "is the input" in capsys.readouterr().err
