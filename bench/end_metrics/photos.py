"""EfficientNet-Lite0: how often its first answer on photographs is the uncompressed network's.

Crops of the photographs that scikit-image bundles; they have no ImageNet labels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from end_metrics.state import State, UnavailableError, batch_norm, installed, linear

PHOTOS = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png"),
    *("motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
CROPS = 20  # of each
SIZE = 224
BATCH = 20

# Repeats and the first stride of each stage.
STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))


def evaluation(original: State) -> Callable[[State], float]:
    images = crops()
    expected = answers(original, images)

    def agreement(state: State) -> float:
        return float((answers(state, images) == expected).double().mean())

    return agreement


def crops() -> torch.Tensor:
    """Squares of half to all of a photograph's shorter side, scaled, in about [-1, 1]."""
    folder = installed("skimage", "data")
    try:
        from PIL import Image
    except ImportError as error:
        raise UnavailableError("Pillow is not installed") from error
    rng = np.random.default_rng(0)
    images = []
    for name in PHOTOS:
        with Image.open(folder / name) as file:
            photo = file.convert("RGB")
        for _ in range(CROPS):
            side = int(rng.uniform(0.5, 1) * min(photo.size))
            left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
            square = photo.crop((left, top, left + side, top + side))
            images.append(np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BICUBIC)))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return (pixels - 127) / 128


def answers(state: State, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([forward(state, batch).argmax(1) for batch in images.split(BATCH)])


def forward(state: State, images: torch.Tensor) -> torch.Tensor:
    """Logits (n, 1000) of images (n, 3, 224, 224)."""
    x = functional.relu6(
        batch_norm(state, "_bn0", convolution(state, "_conv_stem", images, stride=2))
    )
    index = 0
    for repeats, stride in STAGES:
        for repeat in range(repeats):
            x = block(state, f"_blocks.{index}", x, stride if repeat == 0 else 1)
            index += 1
    x = functional.relu6(batch_norm(state, "_bn1", convolution(state, "_conv_head", x)))
    return linear(state, "_fc", x.mean((2, 3)))


def block(state: State, name: str, inputs: torch.Tensor, stride: int) -> torch.Tensor:
    """An inverted residual: expand, filter each channel alone, project."""
    x = inputs
    if f"{name}._expand_conv.weight" in state:
        x = functional.relu6(
            batch_norm(state, f"{name}._bn0", convolution(state, f"{name}._expand_conv", x))
        )
    x = convolution(state, f"{name}._depthwise_conv", x, stride, groups=x.shape[1])
    x = functional.relu6(batch_norm(state, f"{name}._bn1", x))
    x = batch_norm(state, f"{name}._bn2", convolution(state, f"{name}._project_conv", x))
    return x + inputs if x.shape == inputs.shape else x


def convolution(
    state: State, name: str, x: torch.Tensor, stride: int = 1, groups: int = 1
) -> torch.Tensor:
    """Padded as TensorFlow's "SAME": what is odd goes right and below."""
    weight = state[f"{name}.weight"]
    kernel, length = weight.shape[-1], x.shape[-1]
    padding = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    before, after = padding // 2, padding - padding // 2
    return functional.conv2d(
        functional.pad(x, (before, after, before, after)), weight, stride=stride, groups=groups
    )
