"""A fine-tuned model's tensors, compressed as they were before."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from wkmeans._wrappers import plainly_named
from wkmeans.compression.tensors.dtypes import as_numpy
from wkmeans.compression.tensors.exportable import recompressed
from wkmeans.compression.tensors.parametrization import indexed_tensors
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor


def tuned_tensors(
    tensors: Mapping[str, CompressedTensor | DenseTensor],
    aliases: Mapping[str, str],
    model: nn.Module,
) -> dict[str, CompressedTensor | DenseTensor]:
    """`tensors` with the codebooks, and the dense values, that `model` has now."""
    codebooks = plainly_named(model, indexed_tensors(model))
    dense = plainly_named(model, model.state_dict())
    names_of = {name: [name] for name in tensors}
    for alias, name in aliases.items():
        names_of[name].append(alias)
    tuned: dict[str, CompressedTensor | DenseTensor] = {}
    for name, tensor in tensors.items():
        known = codebooks if isinstance(tensor, CompressedTensor) else dense
        found = next((n for n in names_of[name] if n in known), None)
        if found is None:
            raise ValueError(
                f"model: expected one that parametrize() of this compressed model made, "
                f"it has no {'codebook' if known is codebooks else 'tensor'} {name!r}"
            )
        if isinstance(tensor, CompressedTensor):
            tuned[name] = recompressed(tensor, codebooks[found])
        else:
            tuned[name] = tensor.with_values(as_numpy(found, dense[found].cpu()))
    return tuned
