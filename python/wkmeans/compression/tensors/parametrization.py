"""Codebooks as parameters of a PyTorch model, so that they can be fine-tuned and saved small."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize as torch_parametrize

from wkmeans._model_lock import model_lock
from wkmeans.compression.tensors.exportable import Tensor as Exportable
from wkmeans.compression.tensors.exportable import indexed
from wkmeans.compression.tensors.indexed import IndexedTensor


class _Lookup(torch.autograd.Function):
    """``centroids[index]``; a centroid's gradient, a sum over all its weights, is summed in
    float64: a million float32 terms would lose four digits."""

    generate_vmap_rule = True

    @staticmethod
    def forward(centroids: Tensor, index: Tensor) -> Tensor:
        return centroids.index_select(0, index.flatten()).reshape(index.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        centroids, index = inputs
        ctx.save_for_backward(index)
        ctx.n_centroids = len(centroids)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        sums = gradient.new_zeros(ctx.n_centroids, dtype=torch.float64)
        sums = sums.index_add(0, index.flatten(), gradient.flatten().double())
        return sums.to(gradient.dtype), None


class CodebookParametrization(nn.Module):
    """Makes a weight out of its codebook: ``codebook[groups, labels] * scale``.

    The parameter that it parametrizes is the codebook (n, k). Centroids that are exactly zero stay
    zero, so that what was pruned remains so.

    Labels never change and stay out of the state dict, which therefore holds floating-point tensors
    only: it can be averaged, and stored in few bytes. In their place stands a fingerprint, by which
    a state dict is refused whose codebook is for other labels.
    """

    labels: Tensor
    offsets: Tensor | None
    scale: Tensor | None
    is_free: Tensor
    fingerprint: Tensor

    def __init__(self, tensor: IndexedTensor, like: Tensor) -> None:
        super().__init__()
        device = like.device
        self._codebook: Tensor | None = torch.tensor(tensor.codebook).to(device, like.dtype)
        offsets = tensor.offsets()
        self.register_buffer("labels", _labels(tensor, device), persistent=False)
        self.register_buffer(
            "offsets",
            None if offsets is None else torch.tensor(offsets).to(device),
            persistent=False,
        )
        self.register_buffer(
            "scale",
            None if tensor.scale is None else torch.tensor(tensor.scale).to(device, like.dtype),
        )
        self.register_buffer("is_free", self._codebook != 0, persistent=False)
        self.register_buffer("fingerprint", _fingerprint(tensor).to(device))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *others: Any
    ) -> None:
        came = state_dict.get(f"{prefix}fingerprint")
        if came is not None and bool((came.cpu() - self.fingerprint.cpu()).abs().max() > 0.1):
            raise ValueError(
                f"{prefix}labels: expected a codebook for these labels, got one for others; "
                "parametrize the model by the compressed one that the state dict comes from"
            )
        super()._load_from_state_dict(state_dict, prefix, *others)

    def forward(self, codebook: Tensor) -> Tensor:
        index = self.labels.int() if self.offsets is None else self.labels + self.offsets
        centroids = torch.where(self.is_free, codebook, 0).flatten()
        weight: Tensor = _Lookup.apply(centroids, index)  # type: ignore[no-untyped-call]
        return weight if self.scale is None else weight * self.scale

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The codebook this was made with, once: any other weight has other labels."""
        if self._codebook is None:
            raise RuntimeError(
                "this weight is a codebook and labels: assign to its codebook, "
                "parametrizations.<name>.original, or compress the new weight"
            )
        codebook, self._codebook = self._codebook, None
        return codebook


def _labels(tensor: IndexedTensor, device: torch.device) -> Tensor:
    """uint8 where k allows, else int32: the dtypes that torch can index with or convert from."""
    dtype = np.uint8 if tensor.k <= 256 else np.int32
    return torch.tensor(tensor.labels.astype(dtype)).to(device)


def _fingerprint(tensor: IndexedTensor) -> Tensor:
    """32 bits by shape, labels, codebooks' numbers and zeros: no average of equal ones, in half
    precision neither, moves a quarter by a tenth."""
    crc = zlib.crc32(repr(tensor.shape).encode())
    for array in (tensor.labels.astype(np.uint32), tensor.offsets(), tensor.codebook == 0):
        if array is not None:
            crc = zlib.crc32(array.tobytes(), crc)
    return torch.tensor([1 + (crc >> shift & 3) / 4 for shift in range(0, 32, 2)])


def parametrize(model: nn.Module, tensors: Mapping[str, Exportable]) -> nn.Module:
    """Replace parameters of `model` by codebooks and labels, through torch.nn.utils.parametrize.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place. Parameters shared by several modules share one codebook.
    tensors : CompressedModel, or mapping of names to IndexedTensor or Clustering
        Names as in ``model.named_parameters()``; of a tied parameter any of its names.

    Returns
    -------
    torch.nn.Module
        `model`. For each ``layer.weight`` it now trains
        ``layer.parametrizations.weight.original``, the codebook (n, k), whose gradient is the sum
        over the weights of each centroid. ``state_dict()`` holds codebooks and no labels: it loads
        into a model that was parametrized by the same tensors. ``remove_parametrizations(layer,
        "weight")`` of torch.nn.utils.parametrize goes back to a dense weight.

    Raises
    ------
    ValueError
        For a name that is no parameter of the model, or another shape than its.
    """
    with model_lock():
        _parametrize(model, indexed(tensors))
    return model


def _parametrize(model: nn.Module, chosen: Mapping[str, IndexedTensor]) -> None:
    owners = places_by_name(model)
    distinct: dict[tuple[nn.Module, str], IndexedTensor] = {}
    for name, tensor in chosen.items():
        _check(name, tensor, owners)
        if distinct.setdefault(owners[name][0], tensor) is not tensor:
            raise ValueError(f"tensors[{name!r}]: another tensor is given for what it is tied to")
    places = {first: held for held in owners.values() for first in held[:1]}
    for first, tensor in distinct.items():
        shared: Tensor | None = None
        for module, attribute in places[first]:
            own = _detached_copy(module, attribute)
            torch_parametrize.register_parametrization(
                module, attribute, CodebookParametrization(tensor, own)
            )
            parametrizations: Any = module.parametrizations
            if shared is None:
                shared = parametrizations[attribute].original
            else:
                parametrizations[attribute].original = shared


def _detached_copy(module: nn.Module, attribute: str) -> Tensor:
    """A tensor of the module's own: parametrizing resizes it, and other modules may hold it."""
    held: Tensor = getattr(module, attribute)
    own = held.detach().clone()
    if not isinstance(held, nn.Parameter):
        module.register_buffer(attribute, own)
        return own
    parameter = nn.Parameter(own, requires_grad=held.requires_grad)
    module.register_parameter(attribute, parameter)
    return parameter


def indexed_tensors(model: nn.Module) -> dict[str, IndexedTensor]:
    """The codebooks and labels of a model that `parametrize` made, by parameter name.

    Tied parameters appear once, by the first of their names.
    """
    with model_lock():
        return _indexed_tensors(model)


def _indexed_tensors(model: nn.Module) -> dict[str, IndexedTensor]:
    found: dict[str, IndexedTensor] = {}
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for attribute, codebook, lookup in _lookups(module):
            if id(codebook) in seen:
                continue
            seen.add(id(codebook))
            found[f"{prefix}.{attribute}" if prefix else attribute] = _indexed(codebook, lookup)
    return found


def _lookups(module: nn.Module) -> Iterator[tuple[str, Tensor, CodebookParametrization]]:
    if not torch_parametrize.is_parametrized(module):
        return
    lists: Any = module.parametrizations
    for attribute, parametrizations in lists.items():
        if isinstance(parametrizations[0], CodebookParametrization):
            yield attribute, parametrizations.original, parametrizations[0]


def _indexed(codebook: Tensor, lookup: CodebookParametrization) -> IndexedTensor:
    values = torch.where(lookup.is_free, codebook.detach(), 0)
    labels = lookup.labels.cpu().numpy()
    return IndexedTensor(
        labels=labels if labels.dtype == np.uint8 else labels.view(np.uint32),
        codebook=_array(values),
        groups=None
        if lookup.offsets is None
        else (lookup.offsets // values.shape[1]).cpu().numpy(),
        scale=None if lookup.scale is None else _array(lookup.scale),
    )


def _array(values: Tensor) -> Any:
    values = values.detach().cpu()
    return (values if values.dtype in (torch.float32, torch.float64) else values.float()).numpy()


def places_by_name(model: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    """Every place a parameter or buffer is held at, by each of its names."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    names: dict[str, int] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for attribute, tensor in [
            *module.named_parameters(recurse=False, remove_duplicate=False),
            *module.named_buffers(recurse=False, remove_duplicate=False),
        ]:
            held = places.setdefault(id(tensor), [])
            if not any(module is other and attribute == name for other, name in held):
                held.append((module, attribute))
            names[f"{prefix}.{attribute}" if prefix else attribute] = id(tensor)
    return {name: places[number] for name, number in names.items()}


def _check(
    name: str, tensor: IndexedTensor, owners: Mapping[str, list[tuple[nn.Module, str]]]
) -> None:
    if name not in owners:
        raise ValueError(
            f"tensors: expected names of the model's parameters or buffers, got {name!r}"
        )
    module, attribute = owners[name][0]
    shape = tuple(getattr(module, attribute).shape)
    if tensor.shape != shape:
        raise ValueError(f"tensors[{name!r}]: expected shape {shape}, got {tensor.shape}")
