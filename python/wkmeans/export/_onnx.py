"""ONNX: dense initializers become ``Gather(codebook, Cast(labels))``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wkmeans.compression.tensors.exportable import Tensor, indexed
from wkmeans.compression.tensors.indexed import IndexedTensor
from wkmeans.export._matching import matches

if TYPE_CHECKING:
    import onnx

_OPSET_OF_UINT4 = 21


def to_onnx(model: onnx.ModelProto, tensors: Mapping[str, Tensor]) -> onnx.ModelProto:
    """A copy of an ONNX model whose weights are codebooks and labels.

    Parameters
    ----------
    model : onnx.ModelProto
        As ``torch.onnx.export`` makes it: initializers bear the names of the parameters. One that
        the exporter renamed, transposed, stacked or reordered by rows (as it does a recurrent
        layer's) is found by its values, if `model` was exported with the compressed weights in
        place.
    tensors : CompressedModel, or mapping of names to IndexedTensor or Clustering

    Returns
    -------
    onnx.ModelProto
        Each initializer is computed by nodes of the standard operators Cast, Gather and, where
        there are several codebooks or scales, Add and Mul. Labels take 4 bits a weight up to k = 16
        in opset 21 and later, else 8 up to k = 256, else 32. Runtimes that fold constants (ONNX
        Runtime does) run as fast as with the dense weights.

    Warns
    -----
    UserWarning
        Of tensors that no initializer matches while others are found. They stay dense;
        ``metadata_props`` has the reason of each under ``wkmeans.dense:NAME``.

    Raises
    ------
    ValueError
        Where no initializer matches any of the tensors, or one of a tensor's name has another
        shape.
    ImportError
        Without onnx (``pip install wkmeans[export]``).
    """
    onnx_module()
    result = type(model)()
    result.CopyFrom(model)
    dense = {initializer.name: initializer for initializer in result.graph.initializer}
    packs = any(
        o.domain in ("", "ai.onnx") and o.version >= _OPSET_OF_UINT4 for o in model.opset_import
    )
    found, left_dense = matches(indexed(tensors), _floats(dense))
    nodes: list[Any] = []
    constants: list[Any] = []
    for match in found:
        initializer, laid_out = dense[match.initializer], match.tensor
        result.graph.initializer.remove(initializer)
        for entry in _lookup(initializer, laid_out, packs):
            (nodes if hasattr(entry, "op_type") else constants).append(entry)
        for value in [v for v in result.graph.input if v.name == initializer.name]:
            result.graph.input.remove(value)  # up to IR version 3 initializers were inputs as well
    result.graph.initializer.extend(constants)
    body = list(result.graph.node)
    del result.graph.node[:]
    result.graph.node.extend([*nodes, *body])
    for name, reason in left_dense.items():
        result.metadata_props.add(key=f"wkmeans.dense:{name}", value=reason)
    if left_dense:
        names = ", ".join(map(repr, left_dense))
        warnings.warn(f"left dense, {next(iter(left_dense.values()))}: {names}", stacklevel=2)
    return result


def _floats(initializers: Mapping[str, Any]) -> dict[str, Any]:
    """The values of those that weights can be."""
    to_array = onnx_module().numpy_helper.to_array
    arrays = {name: to_array(initializer) for name, initializer in initializers.items()}
    return {name: array for name, array in arrays.items() if array.dtype.kind not in "iub"}


def onnx_module() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ImportError("ONNX export needs onnx: pip install wkmeans[export]") from error
    return onnx


def _lookup(initializer: Any, tensor: IndexedTensor, packs: bool) -> Iterator[Any]:
    """Constants and nodes that compute one initializer."""
    onnx = onnx_module()
    types = onnx.TensorProto
    name = initializer.name
    made = onnx.helper.make_node

    def constant(role: str, array: Any) -> Any:
        return onnx.numpy_helper.from_array(np.ascontiguousarray(array), f"{name}.{role}")

    values = onnx.helper.tensor_dtype_to_np_dtype(initializer.data_type)
    codebooks = constant("codebook", tensor.codebook.ravel().astype(values))
    labels = _stored_labels(f"{name}.labels", tensor, packs)
    steps = [
        made("Cast", [labels.name], [f"{name}.index"], name=f"{name}.Cast", to=types.INT32),
    ]
    offsets = tensor.offsets()
    if offsets is not None:
        added = constant("offsets", offsets.astype(np.int32))
        yield added
        steps.append(
            made("Add", [f"{name}.index", added.name], [f"{name}.entry"], name=f"{name}.Add")
        )
    gathered = name if tensor.scale is None else f"{name}.unscaled"
    index = steps[-1].output[0]
    steps.append(made("Gather", [codebooks.name, index], [gathered], name=f"{name}.Gather", axis=0))
    if tensor.scale is not None:
        factor = constant("scale", tensor.scale.astype(values))
        yield factor
        steps.append(made("Mul", [gathered, factor.name], [name], name=f"{name}.Mul"))
    yield from (labels, codebooks, *steps)


def _stored_labels(name: str, tensor: IndexedTensor, packs: bool) -> Any:
    onnx = onnx_module()
    types = onnx.TensorProto
    if packs and tensor.k <= 16:
        flat = tensor.labels.ravel().astype(np.uint8)
        flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
        packed = flat[0::2] | flat[1::2] << 4  # the first of a pair in the low bits
        return onnx.helper.make_tensor(name, types.UINT4, tensor.shape, packed.tobytes(), raw=True)
    # Cast from 16 bits unsigned is not implemented everywhere; from these it is.
    dtype = np.uint8 if tensor.k <= 256 else np.int32
    return onnx.numpy_helper.from_array(np.ascontiguousarray(tensor.labels.astype(dtype)), name)
