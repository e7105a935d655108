"""What is asked of a network that is compressed block by block, and by which method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wkmeans.compression._build import Request
from wkmeans.compression._plan import make_budget, make_options
from wkmeans.compression.calibration.codebooks import why_no_codebooks
from wkmeans.compression.calibration.matrix import suits_lattice

_NOTES = {
    "matrix": "block by block: whole importance matrices of inputs, outputs by a sweep back from "
    "the logits",
    "diagonal": "block by block: diagonal importances, of inputs times of outputs, by a sweep back "
    "from the logits",
    "unweighted": "block by block: no other method than unweighted was asked for",
}


@dataclass(frozen=True)
class Plan:
    """What is asked of each part.

    Attributes
    ----------
    request : Request
    weights : int
        Of the whole network.
    method : {"matrix", "diagonal", "unweighted"}
    notes : tuple of str
    options : dict
        Of `wkmeans.compress`, but for sizes.
    """

    request: Request
    weights: int
    method: str
    notes: tuple[str, ...]
    options: dict[str, Any]

    @property
    def target(self) -> int | None:
        """Bytes of all files together."""
        return self.request.budget.bytes_for(self.weights)


def plan_of(weights: int, method: str = "auto", **options: Any) -> Plan:
    """From the options of `wkmeans.compress`; raises as that does."""
    sizes = ("bits", "k", "target_bytes", "target_bits_per_weight")
    asked = (
        *("density", "pattern", "keep_zeros", "channel_scales", "granularity", "codebook_dtype"),
        *("dense_dtype", "coding", "min_size", "n_threads"),
    )
    defaults = {"granularity": "tensor", "channel_scales": False, "coding": "auto", "min_size": 64}
    given = {name: options.get(name, defaults.get(name)) for name in asked}
    made = make_options(**given, include=None, exclude=None)
    bits, k, target_bytes, per_weight = (options.get(name) for name in sizes)
    budget = make_budget(bits, k, target_bytes, per_weight, 1)
    request = Request(made, budget, options.get("solver"))
    if method not in ("auto", *_NOTES):
        raise ValueError(
            f"method: expected 'auto', 'matrix', 'diagonal' or 'unweighted', got {method!r}"
        )
    notes: tuple[str, ...] = ()
    if method in ("auto", "matrix"):
        pruned = "what is pruned has diagonal importances block by block"
        why = pruned if made.prunes else why_no_codebooks(made)
        if budget.k is None:
            why = None if suits_lattice(request) else "a lattice has no codebooks to share or prune"
        if why is not None and method == "matrix":
            raise ValueError(f"method: expected one that serves these options: {why}")
        notes = () if why is None else (f"matrix was not tried: {why}",)
        method = "matrix" if why is None else "diagonal"
    others = {n: v for n, v in options.items() if n not in (*sizes, "importances", "progress")}
    return Plan(request, weights, method, (_NOTES[method], *notes), others)
