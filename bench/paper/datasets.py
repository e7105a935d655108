"""The paper's data sets from their standard files, cut into training, validation and test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from wkmeans.demo._data import Dataset, Split, load_fashion_mnist

Pixels = npt.NDArray[np.uint8]
_VALIDATION_SHARE = 1 / 6
_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_BYTES = 3 * 32 * 32


@dataclass(frozen=True)
class Task:
    """A data set to learn: ``load(seed, directory)``, one image's shape, the number of classes."""

    name: str
    load: Callable[[int, Path | None], Dataset]
    shape: tuple[int, int, int]
    n_classes: int


def load_mnist(seed: int, directory: Path | None) -> Dataset:
    """The 70,000 digits, from the four ``*-ubyte.gz`` files in ``directory``.

    They are named and laid out as Fashion-MNIST's. Raises as its loader.
    """
    return replace(load_fashion_mnist(seed, _named(directory, "MNIST")), name="MNIST")


def load_cifar10(seed: int, directory: Path | None) -> Dataset:
    """CIFAR-10, from the ``.bin`` files of its binary version in ``directory``.

    Raises ``FileNotFoundError`` for a file that is missing and ``ValueError`` for one that is not
    whole records of a label below 10 and 3,072 pixels.
    """
    where = _named(directory, "CIFAR-10")
    training = [_records(where / f"data_batch_{i}.bin", 1, 10) for i in range(1, 6)]
    images, labels = (np.concatenate(parts) for parts in zip(*training, strict=True))
    return _cut("CIFAR-10", seed, images, labels, *_records(where / "test_batch.bin", 1, 10))


def load_cifar100(seed: int, directory: Path | None) -> Dataset:
    """CIFAR-100 with its 100 fine labels, from ``train.bin`` and ``test.bin`` in ``directory``.

    Raises as `load_cifar10`; a record there has a coarse label before the fine one.
    """
    where = _named(directory, "CIFAR-100")
    training = _records(where / "train.bin", 2, 100)
    return _cut("CIFAR-100", seed, *training, *_records(where / "test.bin", 2, 100))


TASKS = {
    "fashion-mnist": Task("Fashion-MNIST", load_fashion_mnist, (1, 28, 28), 10),
    "mnist": Task("MNIST", load_mnist, (1, 28, 28), 10),
    "cifar-10": Task("CIFAR-10", load_cifar10, _CIFAR_SHAPE, 10),
    "cifar-100": Task("CIFAR-100", load_cifar100, _CIFAR_SHAPE, 100),
}


def _named(directory: Path | None, name: str) -> Path:
    if directory is None:
        raise FileNotFoundError(f"name the directory of {name}'s files with --data-dir")
    return directory


def _records(path: Path, n_labels: int, n_classes: int) -> tuple[Pixels, Pixels]:
    """Images ``(n, 3072)`` and, of the ``n_labels`` bytes before each, the last."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing. --data-dir must name the directory of the .bin files of CIFAR's "
            "binary version, from https://www.cs.toronto.edu/~kriz/cifar.html"
        )
    values = np.fromfile(path, dtype=np.uint8)
    record = n_labels + _CIFAR_BYTES
    if len(values) == 0 or len(values) % record:
        raise ValueError(f"{path}: {len(values)} bytes are not whole records of {record}")
    rows = values.reshape(-1, record)
    labels = rows[:, n_labels - 1]
    if labels.max() >= n_classes:
        bad = int(np.argmax(labels >= n_classes))
        raise ValueError(
            f"{path}: label {labels[bad]} in record {bad}, expected one below {n_classes}"
        )
    return rows[:, n_labels:], labels


def _cut(
    name: str,
    seed: int,
    images: Pixels,
    labels: Pixels,
    test_images: Pixels,
    test_labels: Pixels,
) -> Dataset:
    """The standard test set; ``seed`` takes a sixth of the rest for validation."""
    order = np.random.default_rng(seed).permutation(len(labels))
    training, validation = np.split(order, [len(order) - round(_VALIDATION_SHARE * len(order))])
    inputs = images[training].astype(np.float32)
    mean, scale = inputs.mean(0), inputs.std()

    def split(pixels: Pixels, targets: Pixels) -> Split:
        centred = (pixels.astype(np.float32) - mean) / scale
        return Split(torch.from_numpy(centred), torch.from_numpy(targets.astype(np.int64)))

    return Dataset(
        name,
        split(images[training], labels[training]),
        split(images[validation], labels[validation]),
        split(test_images, test_labels),
    )
