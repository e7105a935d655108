"""A byte-level transformer of our own at 4, 3, 2.5 and 2 bits a weight, three seeds: the table.

Trained here on the standard library's sources (see `bytes_model.py`), calibrated by others of its
files and tested on others still. All matrices are compressed. Bits are of real bytes, everything
else of the model counted, too:

- wkmeans: block by block, as `wkmeans compress --block-by-block` does it; a size asked for.
- diagonal: one codebook a matrix of 2^bits centroids, optimal under diagonal Fisher importances
  (SqueezeLLM's recipe without its sparse part; its codebooks for rows would cost a row of 128
  weights 1 bit each and more), labels in entropy code where that is shorter.
- GPTQ-style: grids in groups of 128 with feedback of errors (see `grids.py`).
- rounding: grids in groups of 128.

2.5 bits are 6 levels, of which a word of 64 bits holds 24 labels of a grid. What is finished is in
PLACE/results.json, so that a run that was stopped goes on.

    python bench/language/bytes_run.py PLACE [--seeds 0 1 2] [--bits 4 3 2.5 2] [--write]
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from bytes_model import sequences, texts, trained
from grids import fed_back_model
from judging import Result, judged
from rounding import bits_each, rounded

import wkmeans
from wkmeans.importance import estimate
from wkmeans.transformers._texts import batches_of
from wkmeans.transformers.by_block.files import RunFiles
from wkmeans.transformers.by_block.network import BlockModel
from wkmeans.transformers.by_block.plan import plan_of
from wkmeans.transformers.by_block.run import compress_by_block

LEVELS = {4.0: 16, 3.0: 8, 2.5: 6, 2.0: 4}
CALIBRATING, CHOOSING, TESTING = 64, 16, 64  # sequences of 256 bytes
HEADING = "### A byte-level transformer of our own"
README = Path(__file__).parents[1] / "README.md"


@dataclass
class Subject:
    """The model of a seed, and what it is compressed and judged by."""

    seed: int
    place: Path

    @property
    def folder(self) -> Path:
        return self.place / f"seed-{self.seed}"

    @cached_property
    def model(self) -> Any:
        return trained(self.seed, self.folder)

    @cached_property
    def drawn(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Sequences to calibrate by, those that choose among files included, and to test on."""
        _, calibrating, testing = texts()
        generator = torch.Generator().manual_seed(100 + self.seed)
        return (
            sequences(calibrating, CALIBRATING + CHOOSING, generator),
            sequences(testing, TESTING, generator),
        )

    @cached_property
    def importances(self) -> Any:
        pairs = [(batch, None) for batch in batches_of(self.drawn[0])]
        return estimate(self.model, pairs, objective="fisher", probes=4)

    @cached_property
    def originals(self) -> list[torch.Tensor]:
        with torch.no_grad():
            return [self.model(input_ids=one).logits.float() for one in self.drawn[1].split(1)]

    def judged(self, model: Any) -> Result:
        return judged(model, self.drawn[1], self.originals)


Method = Callable[[Subject, float, Any], float]
"""Puts weights into a copy of a subject's model, and tells their bits."""


def by_wkmeans(subject: Subject, bits: float, model: Any) -> float:
    network = BlockModel(subject.folder)
    weights = sum(map(network.n_weights, network.parts))
    plan = plan_of(weights, target_bits_per_weight=bits)
    drawn = subject.drawn[0]
    calibrating, judging = batches_of(drawn[:CALIBRATING]), batches_of(drawn[CALIBRATING:])
    with tempfile.TemporaryDirectory() as place:
        made = compress_by_block(network, calibrating, judging, RunFiles(Path(place)), plan)
    made.apply_to(model)
    return 8 * made.nbytes / weights


def by_diagonal(subject: Subject, bits: float, model: Any) -> float:
    made = wkmeans.compress(
        subject.model, importances=subject.importances, k=LEVELS[bits], floor=0
    )  # fmt: skip
    made.apply_to(model)
    return 8 * made.nbytes / sum(p.numel() for p in model.parameters())


def by_feedback(subject: Subject, bits: float, model: Any) -> float:
    fed_back_model(model, subject.drawn[0].split(4), LEVELS[bits])
    return bits_of_grids(model, LEVELS[bits])


@torch.no_grad()
def by_rounding(_: Subject, bits: float, model: Any) -> float:
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.copy_(rounded(parameter, LEVELS[bits]))
    return bits_of_grids(model, LEVELS[bits])


def bits_of_grids(model: Any, levels: int) -> float:
    """Vectors are float32."""
    sizes = [(p.numel(), p.ndim) for p in model.parameters()]
    bits = sum(n * (bits_each(levels) if ndim == 2 else 32.0) for n, ndim in sizes)
    return bits / sum(n for n, _ in sizes)


ORDER = ("original", "wkmeans", "diagonal", "GPTQ-style", "rounding")
METHODS: dict[str, Method] = {
    "wkmeans": by_wkmeans,
    "diagonal": by_diagonal,
    "GPTQ-style": by_feedback,
    "rounding": by_rounding,
}


def row(subject: Subject, name: str, asked: float | None) -> Result:
    """Of one method at one size, or of the original."""
    model, bits = copy.deepcopy(subject.model), 32.0
    if asked is not None:
        bits = METHODS[name](subject, asked, model)
    return {"method": name, "asked": asked, "bits": bits, **subject.judged(model)}


def measured(place: Path, seeds: list[int], bits: list[float], methods: list[str]) -> list[Result]:
    file = place / "results.json"
    results: list[Result] = json.loads(file.read_text()) if file.exists() else []
    sizes = [(name, asked) for asked in bits for name in methods]
    wanted: list[tuple[str, float | None]] = [("original", None), *sizes]
    for seed in seeds:
        subject = Subject(seed, place)
        for name, asked in wanted:
            if any((r["seed"], r["method"], r["asked"]) == (seed, name, asked) for r in results):
                continue
            results.append({"seed": seed, **row(subject, name, asked)})
            print(results[-1], flush=True)
            file.write_text(json.dumps(results, indent=1))
    return results


def table(results: list[Result]) -> str:
    """Means over seeds, and in brackets the range of the divergence."""
    seeds = sorted({row["seed"] for row in results})
    lines = ["| method | bits asked | bits each | KL, nats | perplexity |", "|---|---|---|---|---|"]
    cells = {(row["method"], row["asked"]) for row in results}
    for method, asked in sorted(cells, key=lambda cell: (-(cell[1] or 32), ORDER.index(cell[0]))):
        rows = [r for r in results if (r["method"], r["asked"]) == (method, asked)]
        if sorted(row["seed"] for row in rows) != seeds:
            continue
        bits, kl, perplexity = (
            [row[key] for row in rows] for key in ("bits", "kl", "perplexity")
        )  # fmt: skip
        size = "-" if asked is None else f"{asked:g}"
        lines.append(
            f"| {method} | {size} | {fmean(bits):.3f} | {fmean(kl):.4f} ({min(kl):.4f} to "
            f"{max(kl):.4f}) | {fmean(perplexity):.3f} |"
        )
    return "\n".join(lines)


def write(text: str) -> None:
    """At the end of its section, in place of the table that stands there."""
    before, after = README.read_text().split(HEADING)
    section, mark, following = after.partition("\n## ")
    said = "\n".join(line for line in section.splitlines() if not line.startswith("|")).rstrip()
    README.write_text(f"{before}{HEADING}{said}\n\n{text}\n{mark}{following}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--bits", type=float, nargs="+", default=list(LEVELS), choices=LEVELS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--write", action="store_true", help="keep the table in bench/README.md")
    arguments = parser.parse_args()
    arguments.place.mkdir(parents=True, exist_ok=True)
    found = table(
        measured(arguments.place, arguments.seeds, arguments.bits, arguments.methods)
    )  # fmt: skip
    print(found)
    if arguments.write:
        write(found)


if __name__ == "__main__":
    main()
