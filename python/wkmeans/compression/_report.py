"""What a compression did, tensor by tensor: as numbers, as JSON, as a table."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from wkmeans import rate
from wkmeans._files.safetensors import size_in_bytes
from wkmeans.compression.format.coding import width
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor


@dataclass(frozen=True)
class TensorReport:
    """One tensor; bits are per weight, those of the labels alone but for `bits`.

    `fixed_bits` is the length of a bit-packed label, `shannon_bits`, `huffman_bits` and
    `entropy_bits` are `wkmeans.rate`'s, `bits` counts every byte that the tensor takes in the file.
    `reason` says why a tensor is dense; None where it is compressed. `unseen` are the slices along
    its first axis that no example reached and that counted as ones of mean importance; `weighed` is
    "matrix" or "diagonal" where calibration chose by the one or the other.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    original_bytes: int
    bytes: int
    bits: float
    reason: str | None = None
    k: int | None = None
    density: float | None = None
    coding: str | None = None
    fixed_bits: float | None = None
    shannon_bits: float | None = None
    huffman_bits: float | None = None
    entropy_bits: float | None = None
    cost: float | None = None
    cost_share: float | None = None
    unseen: tuple[int, ...] = ()
    weighed: str | None = None


@dataclass(frozen=True)
class Report:
    """All tensors and their totals.

    Attributes
    ----------
    tensors : tuple of TensorReport
    aliases : dict of str
        Further names of tied tensors, stored once.
    left_out : dict of str
        Why something that belonged to the model is not among the tensors.
    original_bytes, bytes : int
        Of the tensors before, each once, and of the whole file.
    container_bytes : int
        Names, shapes and other metadata: what of `bytes` belongs to no tensor.
    n_weights : int
    cost : float
    metric : str
        What was measured before and after: "perplexity", or the "evaluation" that was given.
    metric_before, metric_after : float or None
        What `evaluate` said, or the perplexity on held-out text.
    target_bytes : int or None
        The size that was asked for.
    divergence, divergence_unweighted : float or None
        With calibration, of outputs on held-out examples from the original's: of this file, never
        the larger, and of plain unweighted rounding at the same bytes or the same k.
    tried : dict of float
        The divergence of everything that was tried.
    notes : tuple of str
        What calibration could not do.
    """

    tensors: tuple[TensorReport, ...]
    aliases: dict[str, str]
    left_out: dict[str, str]
    original_bytes: int
    bytes: int
    container_bytes: int
    n_weights: int
    cost: float
    metric: str = "evaluation"
    metric_before: Any = None
    metric_after: Any = None
    target_bytes: int | None = None
    divergence: float | None = None
    divergence_unweighted: float | None = None
    tried: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def compression_ratio(self) -> float:
        return self.original_bytes / self.bytes

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.bytes / max(self.n_weights, 1)

    @property
    def not_used(self) -> int:
        """Bytes of the size asked for that are left; 0 where it is used to a hundredth."""
        if self.target_bytes is None or self.bytes >= USED * self.target_bytes:
            return 0
        return self.target_bytes - self.bytes

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "compression_ratio": self.compression_ratio,
            "bits_per_weight": self.bits_per_weight,
            "not_used": self.not_used,
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, default=float)

    def table(self) -> Any:
        """A `rich.table.Table`."""
        try:
            from rich.table import Table
            from rich.text import Text
        except ImportError as error:
            raise ImportError("tables need rich: pip install 'wkmeans[compress]'") from error
        # Names are text: in brackets, or between colons, rich would find orders.
        table = Table(title=Text(self.summary()), title_justify="left")
        table.add_column("tensor", overflow="fold")
        for heading in _HEADINGS:
            table.add_column(heading, justify="right")
        for tensor in self.tensors:
            table.add_row(*map(Text, _cells(tensor)))
        return table

    def summary(self) -> str:
        lines = [
            f"{self.original_bytes:,} bytes to {self.bytes:,} ({self.compression_ratio:.2f} times "
            f"smaller, {self.bits_per_weight:.3f} bits a weight), cost {self.cost:.6g}"
        ]
        lines += [f"{tensor.name}: {note}" for tensor in self.tensors for note in _notes(tensor)]
        if self.not_used:
            lines.append(
                f"{self.not_used:,} of the {self.target_bytes:,} bytes asked for are not used: no "
                "larger choice that was found lessens the cost and fits"
            )
        lines += self.notes
        if self.divergence is not None:
            chosen = min(self.tried, key=self.tried.__getitem__)
            line = f"divergence on held-out examples {self.divergence:.4g} ({chosen})"
            if self.divergence_unweighted is not None:
                line += f", unweighted at the same size {self.divergence_unweighted:.4g}"
            lines.append(line)
        if self.metric_before is not None:
            lines.append(f"{self.metric} {self.metric_before} before, {self.metric_after} after")
        lines += [f"left out: {name}: {reason}" for name, reason in self.left_out.items()]
        return "\n".join(lines)

    def __str__(self) -> str:
        from io import StringIO

        table = self.table()
        from rich.console import Console

        text = StringIO()
        Console(file=text, width=140).print(table)
        return text.getvalue()


USED = 0.99
"""A size asked for is used to this share, or the report says how much is not."""

_NAMED = 8  # slices; more are counted


def _notes(tensor: TensorReport) -> list[str]:
    """What a reader should know of a compressed tensor."""
    notes = []
    if tensor.unseen:
        named = ", ".join(map(str, tensor.unseen[:_NAMED]))
        more = f" and {len(tensor.unseen) - _NAMED} more" if len(tensor.unseen) > _NAMED else ""
        notes.append(f"never seen along the first axis, taken as of mean importance: {named}{more}")
    if tensor.k == 1 and math.prod(tensor.shape) > 1:
        notes.append("reduced to one value for each codebook")
    return notes


_HEADINGS = (
    *("shape", "k", "density", "fixed", "Shannon", "Huffman", "entropy"),
    *("bits", "bytes", "cost", "share"),
)


def _cells(tensor: TensorReport) -> list[str]:
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    if tensor.reason is not None:
        name = f"{tensor.name} (dense: {tensor.reason})"
        return [name, shape, *[""] * 6, f"{tensor.bits:.3f}", f"{tensor.bytes:,}", "", ""]
    lengths = tensor.fixed_bits, tensor.shannon_bits, tensor.huffman_bits, tensor.entropy_bits
    return [
        tensor.name,
        shape,
        str(tensor.k),
        f"{tensor.density:.3f}",
        *(f"{bits:.3f}" for bits in lengths),
        f"{tensor.bits:.3f}",
        f"{tensor.bytes:,}",
        f"{tensor.cost:.4g}",
        f"{tensor.cost_share:.1%}",
    ]


def tensor_report(
    name: str, tensor: CompressedTensor | DenseTensor, total_cost: float
) -> TensorReport:
    size = max(tensor.size, 1)
    common: dict[str, Any] = {
        "name": name,
        "shape": tensor.shape,
        "dtype": tensor.dtype,
        "original_bytes": size_in_bytes(tensor.dtype, tensor.shape),
        "bytes": tensor.nbytes,
        "bits": 8 * tensor.nbytes / size,
    }
    if isinstance(tensor, DenseTensor):
        return TensorReport(**common, reason=tensor.reason)
    counts = tensor.counts
    return TensorReport(
        **common,
        k=tensor.k,
        density=_nonzeros(tensor, counts) / size,
        coding=tensor.encoded.coding,
        fixed_bits=float(width(tensor.k)),
        shannon_bits=rate.shannon_bits(counts) / size,
        huffman_bits=rate.huffman_bits(counts) / size,
        entropy_bits=rate.entropy_bits(counts) / size,
        cost=tensor.cost,
        cost_share=tensor.cost / total_cost if total_cost else 0.0,
    )


def _nonzeros(tensor: CompressedTensor, counts: Any) -> int:
    values = tensor.centroid_values()
    if len(values) == 1:
        return int(counts[values[0] != 0].sum())
    if not (values == 0).any():
        return tensor.size
    return int((tensor.layout.expand(tensor.labels, values) != 0).sum())
