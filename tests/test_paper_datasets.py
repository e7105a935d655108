"""The loaders of bench/paper, on small files in the standard formats."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from test_demo import write_fashion_mnist

_PATH = Path(__file__).parents[1] / "bench" / "paper" / "datasets.py"
if not _PATH.exists():
    pytest.skip("bench/ is not in this tree", allow_module_level=True)
_SPEC = importlib.util.spec_from_file_location("paper_datasets", _PATH)
datasets = importlib.util.module_from_spec(_SPEC)
sys.modules["paper_datasets"] = datasets  # where its dataclasses look for their annotations
_SPEC.loader.exec_module(datasets)

PIXELS = 3072


def records(n, label_bytes, n_classes, seed=0):
    """Labels ``i mod n_classes``, after a coarse one of 0 where there are two; random pixels."""
    rows = np.random.default_rng(seed).integers(0, 256, (n, label_bytes + PIXELS), dtype=np.uint8)
    rows[:, :label_bytes] = 0
    rows[:, label_bytes - 1] = np.arange(n) % n_classes
    return rows


def write_cifar10(directory):
    for i in range(1, 6):
        records(12, 1, 10, seed=i).tofile(directory / f"data_batch_{i}.bin")
    records(20, 1, 10).tofile(directory / "test_batch.bin")


def test_mnist_is_read_from_its_files(tmp_path):
    write_fashion_mnist(tmp_path)
    data = datasets.load_mnist(0, tmp_path)
    assert data.name == "MNIST"
    assert (len(data.training), len(data.validation), len(data.test)) == (50, 10, 20)


def test_cifar10_is_read_from_its_binary_files(tmp_path):
    write_cifar10(tmp_path)
    data = datasets.load_cifar10(0, tmp_path)
    assert (len(data.training), len(data.validation), len(data.test)) == (50, 10, 20)
    assert data.test.targets.tolist() == [i % 10 for i in range(20)]
    # One shift for each pixel and one scale: differences between images keep their proportions.
    pixels = records(20, 1, 10)[:, 1:].astype(np.float64)
    inputs = data.test.inputs.numpy().astype(np.float64)
    scale = (pixels[0] - pixels[1]) @ (inputs[0] - inputs[1]) / np.sum((inputs[0] - inputs[1]) ** 2)
    np.testing.assert_allclose(scale * (inputs[0] - inputs[1]), pixels[0] - pixels[1], atol=1e-3)
    np.testing.assert_allclose(data.training.inputs.mean(0), 0, atol=1e-5)


def test_cifar100_has_its_fine_labels(tmp_path):
    records(120, 2, 100).tofile(tmp_path / "train.bin")
    records(100, 2, 100).tofile(tmp_path / "test.bin")
    data = datasets.load_cifar100(0, tmp_path)
    assert (len(data.training), len(data.validation), len(data.test)) == (100, 20, 100)
    assert data.test.targets.tolist() == list(range(100))


def test_seeds_split_training_from_validation_and_leave_the_test_set(tmp_path):
    write_cifar10(tmp_path)
    first, again, other = (datasets.load_cifar10(seed, tmp_path) for seed in (0, 0, 1))
    assert first.training.inputs.equal(again.training.inputs)
    assert not first.training.inputs.equal(other.training.inputs)
    assert first.test.targets.equal(other.test.targets)


def test_a_directory_must_be_named():
    for load in (datasets.load_mnist, datasets.load_cifar10, datasets.load_cifar100):
        with pytest.raises(FileNotFoundError, match=r"name the directory of .* with --data-dir"):
            load(0, None)


def test_files_that_are_missing_or_are_not_cifar(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data_batch_1\.bin is missing.*binary version"):
        datasets.load_cifar10(0, tmp_path)
    write_cifar10(tmp_path)
    broken = tmp_path / "data_batch_3.bin"
    records(3, 2, 10).tofile(broken)
    with pytest.raises(ValueError, match=r"data_batch_3\.bin: 9222 bytes are not whole records"):
        datasets.load_cifar10(0, tmp_path)
    broken.write_bytes(b"")
    with pytest.raises(ValueError, match="0 bytes are not whole records"):
        datasets.load_cifar10(0, tmp_path)
    records(12, 1, 11).tofile(broken)
    with pytest.raises(ValueError, match="label 10 in record 10, expected one below 10"):
        datasets.load_cifar10(0, tmp_path)
