"""CREPE (Kim et al., 2018): the share of synthesised tones whose pitch it finds within 50 cents."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from end_metrics.network import Network
from end_metrics.state import State, pretrained

RATE = 16000
FRAME = 1024
N_TONES = 1000
CALIBRATED_BY = 256
PROBES = 4
BATCH = 50
CENTS_PER_BIN = 20
CENTS_OF_FIRST_BIN = 1997.3794084376191  # above 10 Hz
NEIGHBOURS = 4


def network(name: str) -> Network:
    """CREPE of either size; tones of one seed calibrate, those of another test."""
    state = pretrained(name)
    net = Crepe(state)
    net.load_state_dict(state)
    frames, cents = tones(0, N_TONES)
    calibration, _ = tones(1, CALIBRATED_BY)

    def within_50_cents(outputs: torch.Tensor, original: torch.Tensor) -> float:
        return float(((pitch(outputs) - cents).abs() <= 50).double().mean())

    return Network(
        net.eval(),
        calibration.split(BATCH),
        frames.split(BATCH),
        "mse",
        "pitch within 50 cents",
        within_50_cents,
        N_TONES,
        PROBES,
    )


def tones(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised frames of ten harmonics of random strength in white noise, and their pitches.

    Pitches are log-uniform from 60 to 1500 Hz, signal-to-noise ratios uniform from -10 to 10 dB.
    """
    rng = np.random.default_rng(seed)
    frequency = np.exp(rng.uniform(np.log(60), np.log(1500), count))[:, None]
    time = np.arange(FRAME) / RATE
    signal = np.zeros((count, FRAME))
    for harmonic in range(1, 11):
        strength = rng.uniform(0, 1, (count, 1)) / harmonic if harmonic > 1 else 1.0
        phase = rng.uniform(0, 2 * np.pi, (count, 1))
        audible = harmonic * frequency < RATE / 2
        signal += audible * strength * np.sin(2 * np.pi * harmonic * frequency * time + phase)
    noise_level = signal.std(1, keepdims=True) * 10 ** (-rng.uniform(-10, 10, (count, 1)) / 20)
    signal += noise_level * rng.normal(size=signal.shape)
    signal -= signal.mean(1, keepdims=True)
    signal /= signal.std(1, keepdims=True)
    cents = 1200 * np.log2(frequency[:, 0] / 10)
    return torch.from_numpy(signal.astype(np.float32)), torch.from_numpy(cents)


class Crepe(nn.Module):
    """Salience of each pitch bin, (n, 360), of frames (n, 1024)."""

    def __init__(self, state: State) -> None:
        super().__init__()
        for layer in range(1, 7):
            outputs, inputs, length, _ = state[f"conv{layer}.weight"].shape
            stride = (4, 1) if layer == 1 else (1, 1)
            self.add_module(f"conv{layer}", nn.Conv2d(inputs, outputs, (length, 1), stride))
            self.add_module(f"conv{layer}_BN", nn.BatchNorm2d(outputs, eps=1e-3))
        bins, features = state["classifier.weight"].shape
        self.classifier = nn.Linear(features, bins)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = frames[:, None, :, None]
        for layer in range(1, 7):
            x = functional.pad(x, (0, 0, 254, 254) if layer == 1 else (0, 0, 31, 32))
            x = functional.relu(self.get_submodule(f"conv{layer}")(x))
            x = functional.max_pool2d(self.get_submodule(f"conv{layer}_BN")(x), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


def pitch(salience: torch.Tensor) -> torch.Tensor:
    """Cents above 10 Hz: the mean of the bins about the highest, weighted by salience."""
    bins = torch.arange(salience.shape[1], dtype=torch.float64)
    near = (bins - salience.argmax(1, keepdim=True)).abs() <= NEIGHBOURS
    weight = salience.double() * near
    return CENTS_OF_FIRST_BIN + CENTS_PER_BIN * (weight @ bins) / weight.sum(1)
