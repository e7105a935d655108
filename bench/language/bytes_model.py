"""A transformer of our own over bytes, trained in minutes on the standard library's sources.

Of 720,000 weights, in float32, so that rows at few bits are of an original that has more.
"""

from __future__ import annotations

import random
import sysconfig
from pathlib import Path

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

LENGTH = 256
_SIZES = {
    "vocab_size": 256,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": LENGTH,
    "bos_token_id": None,
    "eos_token_id": None,
}
_LEFT_OUT = {"site-packages", "test", "tests", "idle_test", "encodings", "pydoc_data"}
_STEPS = 600
_BATCH = 8
_RATE = 3e-3
_WARM = 50


def texts() -> tuple[bytes, bytes, bytes]:
    """To train on, to calibrate by and to test on: files apart, of this Python's own modules."""
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(
        path for path in library.rglob("*.py")
        if not _LEFT_OUT & set(path.relative_to(library).parts)
    )  # fmt: skip
    random.Random(0).shuffle(files)
    tenth = len(files) // 10
    parts = files[2 * tenth :], files[:tenth], files[tenth : 2 * tenth]
    training, calibrating, testing = (b"".join(f.read_bytes() for f in part) for part in parts)
    return training, calibrating, testing


def sequences(text: bytes, number: int, generator: torch.Generator) -> torch.Tensor:
    """Drawn from anywhere in a text, ``(number, LENGTH)``, int64."""
    every = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    starts = torch.randint(len(every) - LENGTH, (number,), generator=generator)
    return every[starts[:, None] + torch.arange(LENGTH)].long()


def trained(seed: int, folder: Path) -> LlamaForCausalLM:
    """The model of a seed; from `folder`, where it goes once it is trained."""
    if (folder / "config.json").exists():
        return LlamaForCausalLM.from_pretrained(folder).eval()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**_SIZES)).train()
    generator = torch.Generator().manual_seed(seed)
    text = texts()[0]
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _share_of_rate)
    for step in range(_STEPS):
        ids = sequences(text, _BATCH, generator)
        logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
        loss = functional.cross_entropy(logits, ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(
                f"seed {seed}, step {step} of {_STEPS}: {float(loss.detach()):.3f} nats", flush=True
            )
    model.eval().save_pretrained(folder)
    return model


def _share_of_rate(step: int) -> float:
    return min((step + 1) / _WARM, 1 - max(step - _WARM, 0) / (_STEPS - _WARM))
