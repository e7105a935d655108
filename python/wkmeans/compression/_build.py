"""A source in, a compressed model out: by k or by size, under one set of importances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wkmeans.compression._findings import Findings
from wkmeans.compression._fit import fit
from wkmeans.compression._floor import WeighedTensors
from wkmeans.compression._model import CompressedModel
from wkmeans.compression._plan import Budget, Options
from wkmeans.compression._work import Progress, Work
from wkmeans.compression.budget.allocation import Choice
from wkmeans.compression.source import Source

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class Request:
    """What is asked of a compression, importances aside."""

    options: Options
    budget: Budget
    solver: str | None
    progress: Progress | None = None
    group: ProcessGroup | None = None

    def __post_init__(self) -> None:
        options, shared = self.options, self._has_one_codebook
        if self.solver not in (None, "optimal", "entropy-constrained"):
            raise ValueError(
                f"solver: expected 'optimal' or 'entropy-constrained', got {self.solver!r}"
            )
        if self.solver != "entropy-constrained":
            return
        if self.budget.k is not None:
            raise ValueError(f"solver: expected 'optimal' with bits or k, got {self.solver!r}")
        if not shared:
            raise ValueError(
                "solver: 'entropy-constrained' takes granularity='tensor', no density and no "
                f"pattern, got granularity={options.granularity!r}, density={options.density} and "
                f"pattern={options.pattern}"
            )

    @property
    def _has_one_codebook(self) -> bool:
        return self.options.granularity == "tensor" and not self.options.prunes

    @property
    def solver_for_size(self) -> str:
        """The solver named, or what suits a size that is asked for."""
        if self.solver is not None:
            return self.solver
        priced = self._has_one_codebook and self.options.coding != "packed"
        return "entropy-constrained" if priced else "optimal"

    def target_for(self, source: Source) -> int | None:
        """Bytes of the file; None where k is given."""
        return self.budget.bytes_for(sum(entry.size for entry in source.entries.values()))


def build(
    source: Source, request: Request, importances: Mapping[str, Any] | None, floor: float
) -> CompressedModel:
    """Compress all tensors of `source`."""
    weighed = WeighedTensors(importances, floor)
    work = Work(source, request.options, weighed, request.progress, request.group)
    target = request.target_for(source)
    if target is None:
        assert request.budget.k is not None
        tensors = work.build(dict.fromkeys(work.weights_of, Choice(request.budget.k)))
    else:
        tensors = fit(work, target, request.solver_for_size)
    return work.model(tensors, Findings(target_bytes=target, unseen=work.unseen))
