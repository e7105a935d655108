"""CREPE (Kim et al., 2018): the share of synthesised tones whose pitch it finds within 50 cents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from end_metrics.state import State, batch_norm, linear

RATE = 16000
FRAME = 1024
N_TONES = 1000
BATCH = 50
CENTS_PER_BIN = 20
CENTS_OF_FIRST_BIN = 1997.3794084376191  # above 10 Hz
NEIGHBOURS = 4


def evaluation(original: State) -> Callable[[State], float]:
    frames, cents = tones()

    def within_50_cents(state: State) -> float:
        with torch.inference_mode():
            found = torch.cat([pitch(forward(state, batch)) for batch in frames.split(BATCH)])
        return float(((found - cents).abs() <= 50).double().mean())

    return within_50_cents


def tones() -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised frames of ten harmonics of random strength in white noise, and their pitches.

    Pitches are log-uniform from 60 to 1500 Hz, signal-to-noise ratios uniform from -10 to 10 dB.
    """
    rng = np.random.default_rng(0)
    frequency = np.exp(rng.uniform(np.log(60), np.log(1500), N_TONES))[:, None]
    time = np.arange(FRAME) / RATE
    signal = np.zeros((N_TONES, FRAME))
    for harmonic in range(1, 11):
        strength = rng.uniform(0, 1, (N_TONES, 1)) / harmonic if harmonic > 1 else 1.0
        phase = rng.uniform(0, 2 * np.pi, (N_TONES, 1))
        audible = harmonic * frequency < RATE / 2
        signal += audible * strength * np.sin(2 * np.pi * harmonic * frequency * time + phase)
    noise_level = signal.std(1, keepdims=True) * 10 ** (-rng.uniform(-10, 10, (N_TONES, 1)) / 20)
    signal += noise_level * rng.normal(size=signal.shape)
    signal -= signal.mean(1, keepdims=True)
    signal /= signal.std(1, keepdims=True)
    cents = 1200 * np.log2(frequency[:, 0] / 10)
    return torch.from_numpy(signal.astype(np.float32)), torch.from_numpy(cents)


def forward(state: State, frames: torch.Tensor) -> torch.Tensor:
    """Salience of each pitch bin, (n, 360), of frames (n, 1024)."""
    x = frames[:, None, :, None]
    for layer in range(1, 7):
        first = layer == 1
        x = functional.pad(x, (0, 0, 254, 254) if first else (0, 0, 31, 32))
        name = f"conv{layer}"
        stride = (4, 1) if first else (1, 1)
        x = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=stride)
        x = functional.max_pool2d(batch_norm(state, f"{name}_BN", functional.relu(x)), (2, 1))
    return torch.sigmoid(linear(state, "classifier", x.permute(0, 2, 1, 3).flatten(1)))


def pitch(salience: torch.Tensor) -> torch.Tensor:
    """Cents above 10 Hz: the mean of the bins about the highest, weighted by salience."""
    bins = torch.arange(salience.shape[1], dtype=torch.float64)
    near = (bins - salience.argmax(1, keepdim=True)).abs() <= NEIGHBOURS
    weight = salience.double() * near
    return CENTS_OF_FIRST_BIN + CENTS_PER_BIN * (weight @ bins) / weight.sum(1)
