"""The two data sets, each cut into training, validation and test examples."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from wkmeans.demo._idx import read_idx

_FASHION_MNIST = Path("share", "datasets", "fashion-mnist")
_HOW_TO_GET_IT = (
    "Install the Debian package dataset-fashion-mnist, or download the four *-ubyte.gz files from "
    "https://github.com/zalandoresearch/fashion-mnist and name their directory with --data-dir"
)


@dataclass(frozen=True)
class Split:
    """Examples: ``inputs`` float32 ``(examples, features)``, ``targets`` int64 ``(examples,)``."""

    inputs: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def first(self, n: int) -> Split:
        """The first ``n`` examples."""
        return Split(self.inputs[:n], self.targets[:n])

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pairs ``(inputs, targets)`` of at most ``size`` examples, in order."""
        return zip(torch.split(self.inputs, size), torch.split(self.targets, size), strict=True)


@dataclass(frozen=True)
class Dataset:
    """A classification task. Its splits share no example."""

    name: str
    training: Split
    validation: Split
    test: Split


def load_digits(seed: int) -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, shuffled by ``seed``: 60/15/25 per cent."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError("the demo needs scikit-learn: pip install 'wkmeans[demo]'") from error
    digits = datasets.load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images = digits.data[order].astype(np.float32) / 16
    training, validation, test = _cut(images, digits.target[order], (0.6, 0.15))
    return _centred("digits", training, validation, test)


def load_fashion_mnist(seed: int, directory: Path | None = None) -> Dataset:
    """Zalando's 70,000 articles, 28 x 28, from the four IDX files in ``directory``.

    The test set is the standard one; ``seed`` takes a sixth of the rest for validation.

    Raises ``FileNotFoundError`` saying how to get the files where they are missing, and
    ``ValueError`` where they are not what they should be.
    """
    where = directory if directory is not None else _find_fashion_mnist()
    images, labels = _read_pair(where, "train")
    order = np.random.default_rng(seed).permutation(len(labels))
    images, labels = images[order], labels[order]
    training, validation, _ = _cut(images, labels, (5 / 6, 1 / 6))
    _, _, test = _cut(*_read_pair(where, "t10k"), (0.0, 0.0))
    return _centred("Fashion-MNIST", training, validation, test)


def _centred(name: str, *splits: Split) -> Dataset:
    """Subtract the mean training image, and divide by the standard deviation of all its pixels.

    Any network likes this, and the objectives do too: they drop the off-diagonal importances
    ``E x_i x_j``, which are large where all inputs are positive.
    """
    training = splits[0].inputs
    mean, scale = training.mean(0), training.std()
    return Dataset(name, *(Split((s.inputs - mean) / scale, s.targets) for s in splits))


def _cut(
    images: npt.NDArray[np.float32], labels: npt.NDArray[np.integer], shares: tuple[float, float]
) -> tuple[Split, Split, Split]:
    ends = np.rint(np.cumsum(shares) * len(labels)).astype(int)
    training, validation, test = (
        Split(torch.from_numpy(x), torch.from_numpy(y.astype(np.int64)))
        for x, y in zip(np.split(images, ends), np.split(labels, ends), strict=True)
    )
    return training, validation, test


def _find_fashion_mnist() -> Path:
    prefixes = dict.fromkeys(map(Path, (sys.prefix, sys.base_prefix, "/usr", "/usr/local")))
    candidates = [prefix / _FASHION_MNIST for prefix in prefixes]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    looked = ", ".join(map(str, candidates))
    raise FileNotFoundError(f"Fashion-MNIST was not found in {looked}. {_HOW_TO_GET_IT}")


def _read_pair(directory: Path, part: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    images = _read(directory / f"{part}-images-idx3-ubyte.gz", 3)
    labels = _read(directory / f"{part}-labels-idx1-ubyte.gz", 1)
    if len(images) != len(labels):
        raise ValueError(
            f"{directory}: expected as many labels as images of {part}, got {len(labels)} and "
            f"{len(images)}"
        )
    if images.shape[1:] != (28, 28) or len(labels) == 0 or labels.max() > 9:
        raise ValueError(
            f"{directory}: expected Fashion-MNIST's {part} images of (28, 28) with labels from 0 "
            f"to 9, got images of {images.shape[1:]}"
        )
    pixels = images.reshape(len(images), -1).astype(np.float32)
    return pixels / np.float32(255), labels


def _read(path: Path, ndim: int) -> npt.NDArray[np.uint8]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. {_HOW_TO_GET_IT}")
    return read_idx(path, ndim)
