"""ONNX: dense initializers become ``Gather(codebook, Cast(labels))``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wkmeans.compression.tensors.exportable import Tensor, indexed
from wkmeans.compression.tensors.indexed import IndexedTensor

if TYPE_CHECKING:
    import onnx

_OPSET_OF_UINT4 = 21


def to_onnx(model: onnx.ModelProto, tensors: Mapping[str, Tensor]) -> onnx.ModelProto:
    """A copy of an ONNX model whose weights are codebooks and labels.

    Parameters
    ----------
    model : onnx.ModelProto
        As ``torch.onnx.export`` makes it: initializers bear the names of the parameters. One that
        the exporter renamed or transposed is found by its values, if `model` was exported with the
        compressed weights in place.
    tensors : CompressedModel, or mapping of names to IndexedTensor or Clustering

    Returns
    -------
    onnx.ModelProto
        Each initializer is computed by nodes of the standard operators Cast, Gather and, where
        there are several codebooks or scales, Add and Mul. Labels take 4 bits a weight up to k = 16
        in opset 21 and later, else 8 up to k = 256, else 32. Runtimes that fold constants (ONNX
        Runtime does) run as fast as with the dense weights.

    Raises
    ------
    ValueError
        For tensors that no initializer matches, or whose shape is another.
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
    nodes: list[Any] = []
    constants: list[Any] = []
    for name, tensor in indexed(tensors).items():
        initializer, laid_out = _matched(name, tensor, dense)
        result.graph.initializer.remove(initializer)
        del dense[initializer.name]
        for entry in _lookup(initializer, laid_out, packs):
            (nodes if hasattr(entry, "op_type") else constants).append(entry)
        for value in [v for v in result.graph.input if v.name == initializer.name]:
            result.graph.input.remove(value)  # up to IR version 3 initializers were inputs as well
    result.graph.initializer.extend(constants)
    body = list(result.graph.node)
    del result.graph.node[:]
    result.graph.node.extend([*nodes, *body])
    return result


def onnx_module() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ImportError("ONNX export needs onnx: pip install wkmeans[export]") from error
    return onnx


def _matched(
    name: str, tensor: IndexedTensor, dense: Mapping[str, Any]
) -> tuple[Any, IndexedTensor]:
    """The initializer that stands for a tensor, and the tensor laid out as it is."""
    if name in dense:
        shape = tuple(dense[name].dims)
        if shape != tensor.shape:
            raise ValueError(f"tensors[{name!r}]: expected shape {shape}, got {tensor.shape}")
        return dense[name], tensor
    for candidate in _layouts(tensor):
        values = candidate.dequantize().astype(np.float32)
        for initializer in dense.values():
            if tuple(initializer.dims) == candidate.shape and np.array_equal(
                onnx_module().numpy_helper.to_array(initializer), values
            ):
                return initializer, candidate
    raise ValueError(f"tensors: expected names or values of the model's initializers, got {name!r}")


def _layouts(tensor: IndexedTensor) -> Iterator[IndexedTensor]:
    yield tensor
    if len(tensor.shape) == 2:

        def transposed(array: Any) -> Any:
            return None if array is None else np.broadcast_to(array, tensor.shape).T

        yield IndexedTensor(
            tensor.labels.T, tensor.codebook, transposed(tensor.groups), transposed(tensor.scale)
        )


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
