"""Importances merge by addition, and survive a file; unsound files are refused."""

from __future__ import annotations

import json
import struct

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install 'wkmeans[torch]'")
pytest.importorskip("safetensors", reason="needs the extra: pip install 'wkmeans[torch]'")

from importance_oracle import assert_close, examples, mlp  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.importance import OBJECTIVES, Importances, estimate  # noqa: E402


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_runs_merge_by_addition(objective):
    net, (inputs, targets) = mlp().double(), examples(9)
    together = estimate(net, [(inputs, targets)], objective=objective)
    first = estimate(net, [(inputs[:2], targets[:2])], objective=objective)
    second = estimate(net, [(inputs[2:], targets[2:])], objective=objective)
    merged = first + second
    assert merged.count == first.count + second.count
    for name in together:
        for mine, theirs in zip(together[name], merged[name], strict=True):
            if mine is not None:
                assert_close(theirs, mine, rtol=1e-12)


def test_merging_different_estimates_names_the_difference():
    net, batch = mlp().double(), examples()
    first = estimate(net, [batch], objective="gradient")
    with pytest.raises(ValueError, match=r"different temperature: 1\.0 and 2\.0"):
        first + estimate(net, [batch], objective="gradient", temperature=2.0)
    with pytest.raises(ValueError, match="different objective"):
        first + estimate(net, [batch], objective="fisher")
    with pytest.raises(ValueError, match=r"only one of them has '0\.weight'"):
        first + estimate(net, [batch], objective="gradient", parameters=["2.weight"])
    with pytest.raises(TypeError):
        first + 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_file_gives_the_same_bits_back(tmp_path, objective):
    net, batch = mlp().double(), examples()
    saved = estimate(net, [batch], objective=objective, temperature=1.1)
    saved.save(tmp_path / "importances.safetensors")
    loaded = Importances.load(tmp_path / "importances.safetensors")
    assert repr(loaded) == repr(saved)
    assert (loaded.temperature, loaded.count) == (saved.temperature, saved.count)
    assert set(loaded) == set(saved)
    for name in saved:
        for mine, theirs in zip(saved[name], loaded[name], strict=True):
            assert (mine is None and theirs is None) or torch.equal(mine, theirs)


def rewritten(path, **metadata):
    """The same file with other metadata (``None`` drops a key)."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    merged = {**header["__metadata__"], **metadata}
    header["__metadata__"] = {k: v for k, v in merged.items() if v is not None}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": None}, "not an importances file"),
        ({"version": "99"}, "got '99'"),
        ({"objective": "curvature"}, "got 'curvature'"),
        ({"count": "0"}, "count: expected a positive integer, got '0'"),
        ({"count": "9" * 5000}, "count: expected a positive integer, got '999"),
        ({"temperature": "nan"}, "temperature: expected a finite number, got 'nan'"),
        ({"mu": None}, "mu: expected a finite number, got ''"),
        ({"objective": "gradient+hessian"}, "only one of the two importances"),
    ],
)
def test_files_with_unsound_metadata_are_refused(tmp_path, metadata, message):
    path = tmp_path / "importances.safetensors"
    estimate(mlp(), [], objective="baseline").save(path)
    rewritten(path, **metadata)
    with pytest.raises(wkmeans.FormatError, match=message):
        Importances.load(path)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "importances.safetensors"
    estimate(mlp(), [], objective="baseline").save(path)
    data = path.read_bytes()
    for damaged in (b"", b"no safetensors", data[: len(data) // 2], b"\xff" * 8 + data[8:]):
        path.write_bytes(damaged)
        with pytest.raises(wkmeans.FormatError, match="not a readable safetensors file"):
            Importances.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_sums_that_no_estimate_gives_are_refused(tmp_path, value):
    path = tmp_path / "importances.safetensors"
    result = estimate(mlp(), [], objective="baseline")
    result.save(path)
    sums = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    result.sums["0.weight"][1, 2] = sums["importance:0.weight"][1, 2] = value
    save_file(sums, path, metadata)
    with pytest.raises(ValueError, match=r"0\.weight.*index \(1, 2\)"):
        Importances.load(path)
    with pytest.raises(ValueError, match=r"0\.weight.*index \(1, 2\)"):
        result.save(path)
