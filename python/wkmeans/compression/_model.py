"""`CompressedModel`: all tensors of a network, compressed or dense, and the file they make."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wkmeans._files.output import check_output, write_file
from wkmeans._files.safetensors import size_in_bytes
from wkmeans._model_lock import model_lock
from wkmeans._wrappers import plain_names
from wkmeans.compression._findings import Findings
from wkmeans.compression._loading import load_state
from wkmeans.compression._report import Report, tensor_report
from wkmeans.compression.format import file as _file
from wkmeans.compression.format import shards as _shards
from wkmeans.compression.format.plain import plain_file
from wkmeans.compression.tensors.dtypes import as_torch, packed_as_torch
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor

if TYPE_CHECKING:
    from torch import nn


class CompressedModel(Mapping[str, "CompressedTensor | DenseTensor"]):
    """Compressed tensors by name, those that stayed dense among them.

    A tied tensor is found under each of its names and stored once.
    """

    def __init__(
        self,
        tensors: Mapping[str, CompressedTensor | DenseTensor],
        *,
        aliases: Mapping[str, str] | None = None,
        framework: str = "numpy",
        left_out: Mapping[str, str] | None = None,
        inputs: Iterable[Path] = (),
        findings: Findings | None = None,
    ) -> None:
        self._tensors = dict(tensors)
        self._aliases = dict(aliases or {})
        self._framework = framework
        self._left_out = dict(left_out or {})
        self._inputs = tuple(inputs)
        self._findings = Findings() if findings is None else findings

    def __getitem__(self, name: str) -> CompressedTensor | DenseTensor:
        return self._tensors[self._aliases.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        yield from self._tensors
        yield from self._aliases

    def __len__(self) -> int:
        return len(self._tensors) + len(self._aliases)

    def __repr__(self) -> str:
        compressed = sum(isinstance(t, CompressedTensor) for t in self._tensors.values())
        return f"CompressedModel({len(self._tensors)} tensors, {compressed} of them compressed)"

    @property
    def aliases(self) -> dict[str, str]:
        """Further names of tied tensors, and the name each is stored under."""
        return dict(self._aliases)

    @property
    def left_out(self) -> dict[str, str]:
        """What belonged to the model and is no tensor of it, and why."""
        return dict(self._left_out)

    @property
    def findings(self) -> Findings:
        """What compressing it showed, for the report; a file does not hold it."""
        return self._findings

    def with_findings(self, findings: Findings) -> CompressedModel:
        """The same tensors, with something else to report."""
        return self._with(self._tensors, findings)

    def with_tensors(
        self, tensors: Mapping[str, CompressedTensor | DenseTensor]
    ) -> CompressedModel:
        """Others in place of some tensors, and the same to report."""
        return self._with(self._tensors | dict(tensors), self._findings)

    def _with(
        self, tensors: Mapping[str, CompressedTensor | DenseTensor], findings: Findings | None
    ) -> CompressedModel:
        return CompressedModel(
            tensors,
            aliases=self._aliases,
            framework=self._framework,
            left_out=self._left_out,
            inputs=self._inputs,
            findings=findings,
        )

    @property
    def framework(self) -> str:
        """What `state_dict` gives unless told otherwise: "torch" or "numpy"."""
        return self._framework

    def state_dict(self, framework: str | None = None) -> dict[str, Any]:
        """Dense tensors by name, in the dtypes and shapes of the original.

        Parameters
        ----------
        framework : {"torch", "numpy"}, optional
            By default what the model was made of. Tied tensors are one tensor here too.

        Raises
        ------
        FormatError
            Where entropy-coded words of a hostile file turn out not to decode.
        """
        framework = self._framework if framework is None else framework
        if framework not in ("torch", "numpy"):
            raise ValueError(f"framework: expected 'torch' or 'numpy', got {framework!r}")
        dense: dict[str, Any] = {}
        for name, tensor in self._tensors.items():
            dense[name] = _dense(name, tensor, framework)
        return dense | {alias: dense[name] for alias, name in self._aliases.items()}

    def apply_to(self, model: nn.Module, *, keep_codes: bool = False) -> nn.Module:
        """Load the dense tensors into `model`, in place, and return it.

        Wrappers (`torch.compile`, data parallelism, averaging) are looked through. A tied parameter
        is loaded under any of its names.

        Parameters
        ----------
        model : torch.nn.Module
        keep_codes : bool, default False
            Leave weights packed codes and codebooks in memory: linear layers multiply from them, on
            a CPU by a kernel, embeddings unpack the rows that they look up, other layers the weight
            that they are about to use. Recurrent layers and codebooks of more than 256 centroids
            become dense. Products of half-precision codebooks without scales, and of float32 ones,
            come from codes; sums are single precision.

        Raises
        ------
        RuntimeError
            Where names or shapes differ, before anything is loaded.
        """
        dense = self.state_dict("torch")
        with model_lock():
            load_state(model, dense)
            if keep_codes:
                from wkmeans.compression.coded.modules import keep_codes as replace_by_codes

                replace_by_codes(model, self._by_names_of(model))
        return model

    def _by_names_of(self, model: nn.Module) -> dict[str, CompressedTensor | DenseTensor]:
        """The tensors by the names that a module's parameters have, wrapped or not."""
        held = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
        plain = plain_names(model, dict(held))
        return {name: self[known] for name, known in plain.items() if known and known in self}

    def parametrize(self, model: nn.Module) -> nn.Module:
        """Load everything into `model`, in place, with codebooks as parameters, and return it.

        What it then trains is codebooks (n, k) in place of compressed weights, through
        torch.nn.utils.parametrize; ``state_dict()`` holds codebooks, no labels. `tuned` makes a
        compressed model of it again. See `wkmeans.export.parametrize`.
        """
        from wkmeans.compression.tensors.parametrization import parametrize

        with model_lock():
            self.apply_to(model)
            parametrize(model, self._by_names_of(model))
        return model

    def tuned(self, model: nn.Module) -> CompressedModel:
        """This model with the codebooks and dense tensors of one that `parametrize` made.

        Codebooks are rounded to the dtype they are stored in. Costs stay what compression cost.
        """
        from wkmeans.compression.tensors.tuned import tuned_tensors

        with model_lock():
            tensors = tuned_tensors(self._tensors, self._aliases, model)
        return self._with(tensors, None)

    def to_bytes(self) -> bytes:
        """The contents of the file that `save` writes."""
        return b"".join(_file.serialize(self._contents()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all; `wkmeans.load` gives the same bits back.

        The format is described in docs/format.md. A symbolic link is followed, a pipe or a device
        is written into.

        Raises
        ------
        ValueError
            Where `path` is a file that this model was compressed from.
        """
        check_output(Path(path), self._inputs)
        write_file(Path(path), _file.serialize(self._contents()))

    def save_shards(self, folder: str | os.PathLike[str], most_bytes: int) -> list[Path]:
        """Write ``model.safetensors``, or several files and their index where it would be larger.

        They are named as Hugging Face's libraries name them; ``wkmeans.load(folder)`` reads them
        all. What a folder holds of a model saved before is removed.

        Parameters
        ----------
        folder : path
            There already.
        most_bytes : int
            What the tensors in one file take, unless a single one takes more.

        Returns
        -------
        list of path
            The files written.

        Raises
        ------
        ValueError
            Where one of them, or what is removed, is a file that this model was compressed from.
        """
        where = Path(folder)
        files = _shards.serialize(self._contents(), most_bytes)
        former = _shards.former(where, files)
        for path in (*(where / name for name in files), *former):
            check_output(path, self._inputs, "folder")
        for name, parts in files.items():
            write_file(where / name, parts)
        for path in former:
            path.unlink()
        return [where / name for name in files]

    def save_dense(self, path: str | os.PathLike[str]) -> None:
        """Write the dense tensors as a plain safetensors file, whole or not at all.

        Tied tensors are written once, with their further names in the metadata, as safetensors'
        ``save_model`` writes them.
        """
        check_output(Path(path), self._inputs)
        write_file(Path(path), plain_file(self._contents()))

    def _contents(self) -> _file.Contents:
        return _file.Contents(self._tensors, self._aliases, self._framework, self._left_out)

    @property
    def nbytes(self) -> int:
        """Bytes of the file that `save` writes."""
        return _file.serialized_size(self._contents())

    def report(self) -> Report:
        """Sizes and costs of each tensor and of the file: ``print`` it, or take ``to_json()``."""
        cost = sum(t.cost for t in self._tensors.values() if isinstance(t, CompressedTensor))
        total = self.nbytes
        tensors = self._tensors.values()
        found = self._findings
        return Report(
            tensors=tuple(
                replace(
                    tensor_report(name, t, cost),
                    unseen=found.unseen.get(name, ()),
                    weighed=found.weighed.get(name),
                )
                for name, t in self._tensors.items()
            ),
            aliases=self.aliases,
            left_out=self.left_out,
            original_bytes=sum(size_in_bytes(t.dtype, t.shape) for t in tensors),
            bytes=total,
            container_bytes=total - sum(t.nbytes for t in tensors),
            n_weights=sum(t.size for t in tensors),
            cost=cost,
            metric=found.metric,
            metric_before=found.metric_before,
            metric_after=found.metric_after,
            target_bytes=found.target_bytes,
            divergence=found.divergence,
            divergence_unweighted=found.divergence_unweighted,
            tried=dict(found.tried),
            notes=found.notes,
        )


def _dense(name: str, tensor: CompressedTensor | DenseTensor, framework: str) -> Any:
    if framework == "numpy":
        return tensor.dequantize()
    if isinstance(tensor, DenseTensor) and tensor.packed_shape is not None:
        return packed_as_torch(name, tensor.values, tensor.dtype, tensor.shape)
    return as_torch(tensor.dequantize(), is_fresh=isinstance(tensor, CompressedTensor))


def load(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> CompressedModel:
    """Read what `CompressedModel.save` or `save_shards` wrote.

    Everything is checked before anything is decoded, and what is held in memory is the file itself:
    tensors are decoded when `dequantize`, `labels` or `state_dict` asks for them.

    Parameters
    ----------
    path : path or sequence of paths
        A file, a folder of one or of several and their index, or the several files.

    Raises
    ------
    FormatError
        Where a file is damaged, forged, or not a compressed model, or two hold one tensor.
    OSError
        Where one is missing or cannot be read.
    """
    given = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not given:
        raise ValueError("path: expected at least one file, got none")
    contents = _shards.read([Path(one) for one in given])
    return CompressedModel(
        contents.tensors,
        aliases=contents.aliases,
        framework=contents.framework,
        left_out=contents.left_out,
    )
