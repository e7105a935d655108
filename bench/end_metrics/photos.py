"""EfficientNet-Lite0: how often its first answer on photographs is the uncompressed network's.

Crops of the colour photographs that scikit-image bundles; they have no ImageNet labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from end_metrics.network import Network
from end_metrics.state import State, UnavailableError, installed, pretrained

PHOTOS = (
    *("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg"),
    *("ihc.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
CROPS = 200
CALIBRATED_BY = 128
SIZE = 224
PROBES = 4
BATCH = 16

# Repeats and the first stride of each stage.
STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))


def network(name: str) -> Network:
    """Photographs at even places calibrate, those at odd places test."""
    calibration, inputs = crops(PHOTOS[::2], CALIBRATED_BY), crops(PHOTOS[1::2], CROPS)
    state = pretrained(name)
    net = EfficientNetLite0(state)
    net.load_state_dict(state)
    return Network(
        net.eval(),
        calibration.split(BATCH),
        inputs.split(BATCH),
        "cross_entropy",
        "top-1 as the original's",
        lambda outputs, original: float((outputs.argmax(1) == original.argmax(1)).double().mean()),
        CROPS,
        PROBES,
    )


def crops(names: Sequence[str], count: int) -> torch.Tensor:
    """Squares of 224 x 224 pixels, in turn from each photograph, in about [-1, 1]."""
    folder = installed("skimage", "data")
    try:
        from PIL import Image
    except ImportError as error:
        raise UnavailableError("Pillow is not installed") from error
    rng = np.random.default_rng(0)
    photos = []
    for name in names:
        with Image.open(folder / name) as file:
            photos.append(np.asarray(file.convert("RGB")))
    squares = []
    for index in range(count):
        photo = photos[index % len(photos)]
        top, left = (int(rng.integers(0, length - SIZE + 1)) for length in photo.shape[:2])
        squares.append(photo[top : top + SIZE, left : left + SIZE])
    pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float()
    return (pixels - 127) / 128


class EfficientNetLite0(nn.Module):
    """Logits (n, 1000) of images (n, 3, 224, 224)."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self._conv_stem = Padded(state["_conv_stem.weight"], stride=2)
        self._bn0 = normalisation(state["_bn0.weight"])
        strides = [s if r == 0 else 1 for repeats, s in STAGES for r in range(repeats)]
        self._blocks = nn.ModuleList(
            Block(_under(state, f"_blocks.{index}."), stride)
            for index, stride in enumerate(strides)
        )
        self._conv_head = Padded(state["_conv_head.weight"])
        self._bn1 = normalisation(state["_bn1.weight"])
        classes, features = state["_fc.weight"].shape
        self._fc = nn.Linear(features, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = functional.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            x = block(x)
        x = functional.relu6(self._bn1(self._conv_head(x)))
        return torch.as_tensor(self._fc(x.mean((2, 3))))


class Block(nn.Module):
    """An inverted residual: expand, filter each channel alone, project."""

    def __init__(self, state: State, stride: int) -> None:
        super().__init__()
        expands = "_expand_conv.weight" in state
        if expands:
            self._expand_conv = Padded(state["_expand_conv.weight"])
            self._bn0 = normalisation(state["_bn0.weight"])
        filters = state["_depthwise_conv.weight"]
        self._depthwise_conv = Padded(filters, stride, groups=len(filters))
        self._bn1 = normalisation(state["_bn1.weight"])
        self._project_conv = Padded(state["_project_conv.weight"])
        self._bn2 = normalisation(state["_bn2.weight"])
        self._expands = expands

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        x = inputs
        if self._expands:
            x = functional.relu6(self._bn0(self._expand_conv(x)))
        x = functional.relu6(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        return x + inputs if x.shape == inputs.shape else x


class Padded(nn.Conv2d):
    """Padded as TensorFlow's "SAME": what is odd goes right and below."""

    def __init__(self, weight: torch.Tensor, stride: int = 1, groups: int = 1) -> None:
        outputs, inputs, kernel, _ = weight.shape
        super().__init__(inputs * groups, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride, length = self.kernel_size[0], self.stride[0], x.shape[-1]
        padding = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        before, after = padding // 2, padding - padding // 2
        return super().forward(functional.pad(x, (before, after, before, after)))


def normalisation(weight: torch.Tensor) -> nn.Module:
    return nn.BatchNorm2d(len(weight), eps=1e-3)


def _under(state: State, prefix: str) -> State:
    return {name[len(prefix) :]: t for name, t in state.items() if name.startswith(prefix)}
