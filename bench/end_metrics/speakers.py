"""Resemblyzer (GE2E; Wan et al., 2018): the share of prompts whose speaker it finds.

Debian's asterisk-core-sounds-*-wav: telephone prompts, one reader to a package. A prompt's speaker
is that of the voice whose enrolled prompts have the nearest mean embedding.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from end_metrics.network import Network
from end_metrics.state import UnavailableError, pretrained

SOUNDS = Path("/usr/share/asterisk/sounds")
CALIBRATING, ENROLLED, TESTED = 30, 10, 60  # prompts of each voice
PROBES = 4
BATCH = 50
RATE = 16000
WINDOW, HOP, N_MELS = 400, 160, 40
N_FRAMES = 160  # of one utterance
QUIETEST = 10 ** (-30 / 20)  # root mean square that weaker recordings are raised to

Signal = npt.NDArray[np.float32]


def network(name: str) -> Network:
    """Prompts that neither enrol nor test calibrate."""
    calibration, enrolled, tested, voices, speakers = prompts()
    state = {
        name: tensor
        for name, tensor in pretrained(name).items()
        if name.startswith(("lstm.", "linear."))
    }
    net = SpeakerEncoder()
    net.load_state_dict(state)
    expected = speakers.repeat_interleave(TESTED)

    def found(outputs: torch.Tensor, original: torch.Tensor) -> float:
        enrolment, test = outputs.split([len(enrolled), len(tested)])
        centres = enrolment.unflatten(0, (voices, ENROLLED)).mean(1)
        nearest = (test @ functional.normalize(centres).T).argmax(1)
        return float((speakers[nearest] == expected).double().mean())

    return Network(
        net.eval(),
        calibration.split(BATCH),
        torch.cat([enrolled, tested]).split(BATCH),
        "mse",
        "speaker found",
        found,
        len(tested),
        PROBES,
    )


def prompts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int, torch.Tensor]:
    """Spectrograms that calibrate, enrol and test, voice after voice; voices; their speakers.

    A reader of two languages is one speaker with two voices.
    """
    folders = sorted(path for path in SOUNDS.glob("*_*_*_*") if path.is_dir())
    names = [folder.name.rsplit("_", 1)[1] for folder in folders]
    if len(set(names)) < 2:
        raise UnavailableError("asterisk-core-sounds-*-wav of two speakers are not installed")
    parts: tuple[list[torch.Tensor], ...] = ([], [], [])
    rng = np.random.default_rng(0)
    for folder in folders:
        long_enough = [
            mel for path in sorted(folder.glob("*.wav")) if (mel := spectrogram(path)) is not None
        ]
        drawn = rng.permutation(len(long_enough))
        start = 0
        for part, count in zip(parts, (CALIBRATING, ENROLLED, TESTED), strict=True):
            part += [long_enough[i] for i in drawn[start : start + count]]
            start += count
    speakers = torch.tensor([sorted(set(names)).index(name) for name in names])
    calibration, enrolled, tested = map(torch.stack, parts)
    return calibration, enrolled, tested, len(folders), speakers


def spectrogram(path: Path) -> torch.Tensor | None:
    """Power by mel band, (160, 40), of a recording's middle 1.6 s; None where it is shorter."""
    from scipy.signal import resample_poly

    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 2**15
        rate = file.getframerate()
    if len(samples) < N_FRAMES * HOP / RATE * rate:
        return None
    signal = resample_poly(samples, RATE, rate)
    signal *= max(1.0, QUIETEST / np.sqrt(np.mean(signal**2)))
    power = (
        torch.stft(
            torch.from_numpy(signal.astype(np.float32)),
            WINDOW,
            HOP,
            window=torch.hann_window(WINDOW),
            pad_mode="constant",
            return_complex=True,
        )
        .abs()
        .square()
    )
    start = (power.shape[1] - N_FRAMES) // 2
    return (mel_filters() @ power[:, start : start + N_FRAMES]).T


def mel_filters() -> torch.Tensor:
    """Triangles of unit area on Slaney's mel scale, (40, 201)."""
    edges = hertz(np.linspace(0, mel_of_nyquist(), N_MELS + 2))
    frequencies = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return torch.from_numpy(triangles.astype(np.float32))


def hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Linear to 1 kHz at 15 mel, then 27 mel for each factor of 6.4."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def mel_of_nyquist() -> float:
    return float(15 + 27 * np.log(RATE / 2 / 1000) / np.log(6.4))


class SpeakerEncoder(nn.Module):
    """Unit vectors (n, 256) of spectrograms (n, 160, 40)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(N_MELS, 256, num_layers=3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        _, (hidden, _) = self.lstm(mels)
        return functional.normalize(functional.relu(self.linear(hidden[-1])))
