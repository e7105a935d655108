"""`CodedWeight`: packed codes and codebooks, multiplied from or unpacked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import wkmeans._core as _core
from wkmeans._kernels.arrays import Array
from wkmeans._kernels.codes import from_labels
from wkmeans._kernels.threads import resolve_n_threads
from wkmeans.compression.lattice.scales import scale_of
from wkmeans.compression.lattice.tensor import LatticeTensor
from wkmeans.compression.tensors.dtypes import as_torch
from wkmeans.compression.tensors.tensor import CompressedTensor

MAX_K = 256
_UNPACKED_AT_ONCE = 1 << 20
# Double precision stays dense: codebooks are held in single.
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def fits(tensor: Any) -> bool:
    """Whether a tensor of a compressed model can stay codes."""
    return (
        isinstance(tensor, CompressedTensor)
        and len(tensor.shape) >= 2
        and tensor.size > 0
        and tensor.codebook.shape[1] <= MAX_K
        and tensor.dtype in DTYPES
    )


class CodedWeight(nn.Module):
    """A weight as rows of packed codes, codebooks, and scales of rows and columns.

    Parameters
    ----------
    tensor : CompressedTensor
        One that `fits`. Entropy-coded labels are decoded here, once.
    transposed : bool
        Rows are those of the transpose: what a layer that computes ``x @ weight`` multiplies by.
    """

    codes: Tensor
    tables: Tensor
    row_scale: Tensor | None
    column_scale: Tensor | None

    def __init__(self, tensor: CompressedTensor, *, transposed: bool = False) -> None:
        super().__init__()
        labels, row_scale, column_scale = _matrix(tensor, transposed)
        group = None if tensor.layout.shared else tensor.layout.group
        centroids = _centroids(tensor)
        matrix = from_labels(labels, centroids, group=group)
        self.register_buffer("codes", torch.from_numpy(matrix.codes))
        self.register_buffer("tables", torch.from_numpy(matrix.tables))
        self.register_buffer("row_scale", row_scale)
        self.register_buffer("column_scale", column_scale)
        self.shape = tensor.shape
        self._table_dtype = centroids.dtype
        self.dtype = DTYPES[tensor.dtype]
        self._transposed = transposed
        self._matrix_shape = matrix.shape
        self._bits, self._group, self._shared = matrix.bits, matrix.group, group is None
        self._kernel: _core.PackedMatrix | None = matrix.kernel
        self._kernel_codes = self.codes.data_ptr()

    def dense(self) -> Tensor:
        """The weight, unpacked: the values that `CompressedTensor.dequantize` gives."""
        values = self._unpacked()
        return (values.T if self._transposed else values).reshape(self.shape)

    def rows(self, index: Tensor) -> Tensor:
        """Some rows of the matrix, unpacked, ``(*index.shape, columns)``."""
        chosen = index.reshape(-1)
        columns = self._matrix_shape[1]
        labels = self._labels(chosen)
        tables = self.tables.view(self._table_dtype)
        if self._shared:
            values = tables[: 1 << self._bits][labels]
        else:
            groups = -(-columns // self._group)
            of_column = torch.arange(columns, device=labels.device) // self._group
            book = chosen[:, None] * groups + of_column
            values = tables[(book << self._bits) + labels]
        values = self._scaled(values, chosen)
        return values.to(self.dtype).reshape(*index.shape, columns)

    def product(self, inputs: Tensor) -> Tensor:
        """``inputs @ matrix.T``, from codes where the kernel can, else from the unpacked weight."""
        if not self._multiplies_from_codes(inputs):
            return nn.functional.linear(inputs, self._unpacked().to(inputs.dtype))
        flat = inputs.detach().reshape(-1, inputs.shape[-1]).float()
        if self.column_scale is not None:
            flat = flat * self.column_scale.float()
        answer = torch.from_numpy(
            self._from_codes().multiply(flat.contiguous().numpy(), resolve_n_threads(None))
        )
        if self.row_scale is not None:
            answer = answer * self.row_scale.float()
        return answer.to(inputs.dtype).reshape(*inputs.shape[:-1], -1)

    def _unpacked(self) -> Tensor:
        """The matrix, some rows at a time: on the way each bit takes bytes."""
        count, columns = self._matrix_shape
        step = max(1, _UNPACKED_AT_ONCE // columns)
        rows = torch.arange(count, device=self.codes.device)
        return torch.cat([self.rows(some) for some in torch.split(rows, step)])

    def _multiplies_from_codes(self, inputs: Tensor) -> bool:
        """On the CPU, without gradients; scaled half-precision weights are rounded one by one."""
        scaled = self.row_scale is not None or self.column_scale is not None
        return (
            self.codes.device.type == "cpu"
            and inputs.device.type == "cpu"
            and inputs.dtype in DTYPES.values()
            and not (torch.is_grad_enabled() and inputs.requires_grad)
            and not (scaled and self.dtype is not torch.float32)
        )

    def _from_codes(self) -> _core.PackedMatrix:
        """The kernel's view of the buffers, anew where these have been moved or copied."""
        if self._kernel is None or self._kernel_codes != self.codes.data_ptr():
            rows, columns = self._matrix_shape
            self._kernel = _core.PackedMatrix(
                self.codes.numpy(),
                rows,
                columns,
                self._bits,
                self.tables.numpy(),
                str(self._table_dtype).removeprefix("torch."),
                self._group,
                self._shared,
            )
            self._kernel_codes = self.codes.data_ptr()
        return self._kernel

    def _labels(self, rows: Tensor) -> Tensor:
        count, columns = self._matrix_shape
        row_bytes = -(-columns * self._bits // 8)
        packed = self.codes[: count * row_bytes].reshape(count, row_bytes)[rows]
        eight = torch.arange(8, device=packed.device, dtype=torch.uint8)
        bits = (packed[:, :, None] >> eight) & 1
        bits = bits.reshape(len(packed), -1)[:, : columns * self._bits]
        places = 1 << torch.arange(self._bits, device=packed.device)
        return (bits.reshape(len(packed), columns, self._bits) * places).sum(-1)

    def _scaled(self, values: Tensor, rows: Tensor) -> Tensor:
        if self.row_scale is not None:
            values = values.to(self.row_scale.dtype) * self.row_scale[rows][:, None]
        if self.column_scale is not None:
            values = values * self.column_scale
        return values

    def _apply(self, fn: Any, recurse: bool = True) -> CodedWeight:
        """Moves with its module, and keeps its dtypes: codes and codebooks are what they are."""
        device = fn(torch.empty(0, device=self.codes.device)).device
        return super()._apply(lambda buffer: buffer.to(device), recurse)  # type: ignore[no-untyped-call,no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kernel": None}

    def extra_repr(self) -> str:
        return f"{self.shape}, {self._bits} bits"


def _centroids(tensor: CompressedTensor) -> Tensor:
    """Codebooks as numbers, in half precision where they are stored so."""
    if tensor.codebook_scale is None and tensor.codebook.dtype.name in ("float16", "bfloat16"):
        halves: Tensor = as_torch(tensor.codebook)
        return halves
    return torch.from_numpy(tensor.centroid_values())


def _matrix(
    tensor: CompressedTensor, transposed: bool
) -> tuple[Array, Tensor | None, Tensor | None]:
    """Labels as a matrix, and the scales of its rows and columns."""
    if isinstance(tensor, LatticeTensor):
        labels = tensor.encoded.decode()
        exponents = tensor.encoded.row_exponents, tensor.encoded.column_exponents
        scales = [torch.from_numpy(scale_of(each)) for each in exponents]
        flipped = tensor.transposed != transposed
        rows, columns = reversed(scales) if flipped else scales
        return labels.T if flipped else labels, rows, columns
    labels = tensor.labels.reshape(tensor.layout.n_channels, -1)
    scale = None if tensor.channel_scale is None else torch.tensor(tensor.channel_scale)
    if not transposed:
        return labels, scale, None
    if not tensor.layout.shared:
        raise ValueError("transposed: expected one codebook for the tensor")
    return labels.T, None, scale
