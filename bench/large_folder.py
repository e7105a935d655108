"""Memory and time of compressing a folder that is larger than the memory it may take.

The configuration is TinyLlama's, 1.1 billion weights with 22 layers: random bfloat16 weights in
several files, which this writes, with a tokenizer of words. What is measured is the whole command

    wkmeans compress FOLDER --calibration text.txt --target-bits-per-weight 3 -o OUT

in a process of its own: peak resident memory, target 6 GiB, and time. With ``--kill`` another run
is killed once some parts are finished, goes on, and has to end in the same bytes.

    pip install --no-deps gensim==4.4.0
    python bench/large_folder.py FOLDER [--layers 22] [--kill]
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

GIB = 1 << 30
LAYERS_OF_A_FILE = 4
COMMAND = "from wkmeans.cli import main; raise SystemExit(main())"
CONFIG = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "dtype": "bfloat16",
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": None,
    "eos_token_id": None,
}


def tensors_of(layer: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    keys = hidden // CONFIG["num_attention_heads"] * CONFIG["num_key_value_heads"]
    prefix = f"model.layers.{layer}"
    for name, rows in (("q", hidden), ("k", keys), ("v", keys), ("o", hidden)):
        yield f"{prefix}.self_attn.{name}_proj.weight", (rows, hidden)
    for name in ("gate", "up"):
        yield f"{prefix}.mlp.{name}_proj.weight", (inner, hidden)
    yield f"{prefix}.mlp.down_proj.weight", (hidden, inner)
    for name in ("input_layernorm", "post_attention_layernorm"):
        yield f"{prefix}.{name}.weight", (hidden,)


def write_model(folder: Path, layers: int) -> None:
    """Some layers at a time."""
    folder.mkdir(parents=True)
    outside = {
        "model.embed_tokens.weight": (CONFIG["vocab_size"], CONFIG["hidden_size"]),
        "lm_head.weight": (CONFIG["vocab_size"], CONFIG["hidden_size"]),
        "model.norm.weight": (CONFIG["hidden_size"],),
    }
    files = [outside] + [
        {
            name: shape
            for layer in range(first, min(first + LAYERS_OF_A_FILE, layers))
            for name, shape in tensors_of(layer)
        }
        for first in range(0, layers, LAYERS_OF_A_FILE)
    ]
    generator = torch.Generator().manual_seed(0)
    where = {}
    for number, shapes in enumerate(files, start=1):
        file = f"model-{number:05}-of-{len(files):05}.safetensors"
        made = {}
        for name, shape in shapes.items():
            spread = 0.02 * torch.randn(shape, generator=generator)
            made[name] = (spread if len(shape) > 1 else 1 + spread).bfloat16()
            where[name] = file
        save_file(made, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    LlamaConfig(**CONFIG, num_hidden_layers=layers).save_pretrained(folder)


def write_tokenizer(folder: Path, text: str) -> None:
    """One token for each of the most frequent words."""
    counts: dict[str, int] = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    words = sorted(counts, key=lambda word: -counts[word])[: CONFIG["vocab_size"] - 1]
    vocabulary = {word: token for token, word in enumerate(["<unk>", *words])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>").save_pretrained(folder)


def prepared(place: Path, layers: int) -> Path:
    """The folder of the model, and a text beside it."""
    folder = place / f"model-{layers}"
    if not (folder / "tokenizer.json").exists():
        spec = find_spec("gensim")
        if spec is None or spec.origin is None:
            raise SystemExit("gensim is missing: pip install --no-deps gensim==4.4.0")
        text = Path(spec.origin).parent / "test/test_data/lee_background.cor"
        write_model(folder, layers)
        (place / "text.txt").write_text(text.read_text())
        write_tokenizer(folder, text.read_text())
    return folder


def started(folder: Path, output: Path, sequences: int) -> subprocess.Popen[bytes]:
    text = str(folder.parent / "text.txt")
    options = ["--target-bits-per-weight", "3", "--calibration-sequences", str(sequences)]
    command = ["compress", str(folder), "--calibration", text, "-o", str(output), *options]
    command += ["--block-by-block", "--json"]
    with (output.parent / f"{output.name}.json").open("w") as report:
        return subprocess.Popen([sys.executable, "-c", COMMAND, *command], stdout=report)


def measured(folder: Path, output: Path, sequences: int) -> None:
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    if started(folder, output, sequences).wait():
        raise SystemExit("the command failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads((output.parent / f"{output.name}.json").read_text())
    weights = sum(torch.Size(tensor["shape"]).numel() for tensor in report["tensors"])
    peak = after.ru_maxrss * 1024 / GIB
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{weights:,} weights, {8 * report['bytes'] / weights:.3f} bits each: peak {peak:.2f} GiB, "
        f"target 6: {'met' if peak <= 6 else 'MISSED'}; {time.perf_counter() - start:.0f} s, "
        f"{processor:.0f} s of processors; divergence {report['divergence']:.4g}"
    )


def killed_and_resumed(folder: Path, whole: Path, output: Path, sequences: int) -> None:
    process = started(folder, output, sequences)
    part = output.with_name(f".{output.name}.unfinished") / "part-00002.safetensors"
    while process.poll() is None and not part.exists():
        time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if started(folder, output, sequences).wait():
        raise SystemExit("the command failed")
    same = all(path.read_bytes() == (output / path.name).read_bytes() for path in whole.iterdir())
    print(f"killed and resumed: {'the same bytes' if same else 'OTHER BYTES'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=Path)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--sequences", type=int, default=10, help="of 256 tokens")
    parser.add_argument("--kill", action="store_true")
    arguments = parser.parse_args()
    folder = prepared(arguments.place, arguments.layers)
    whole = arguments.place / f"small-{arguments.layers}"
    if not whole.exists():
        measured(folder, whole, arguments.sequences)
    if arguments.kill:
        again = arguments.place / f"resumed-{arguments.layers}"
        killed_and_resumed(folder, whole, again, arguments.sequences)


if __name__ == "__main__":
    main()
