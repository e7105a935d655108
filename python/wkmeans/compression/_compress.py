"""`wkmeans.compress`: a model in, a compressed model out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wkmeans.compression._findings import Findings
from wkmeans.compression._fit import fit
from wkmeans.compression._floor import WeighedTensors, checked_floor
from wkmeans.compression._model import CompressedModel
from wkmeans.compression._plan import Budget, Options, make_budget, make_options
from wkmeans.compression._source import open_source
from wkmeans.compression._work import Progress, Work
from wkmeans.compression.budget.allocation import Choice

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def compress(
    model: Any,
    *,
    importances: Mapping[str, Any] | None = None,
    floor: float | None = None,
    bits: int | None = None,
    k: int | None = None,
    target_bytes: int | None = None,
    target_bits_per_weight: float | None = None,
    density: float | None = None,
    granularity: str | int = "tensor",
    solver: str | None = None,
    channel_scales: bool = False,
    keep_zeros: bool | None = None,
    codebook_dtype: Any = None,
    dense_dtype: Any = None,
    coding: str = "auto",
    include: Any = None,
    exclude: Any = None,
    min_size: int = 64,
    evaluate: Callable[[Any], Any] | None = None,
    progress: Progress | None = None,
    group: ProcessGroup | None = None,
    n_threads: int | None = None,
) -> CompressedModel:
    """Compress a network to codes and codebooks.

    Parameters
    ----------
    model : torch.nn.Module, mapping of tensors or arrays, path or list of paths
        A module, a state dict, or safetensors files: one, several, a directory of them, or the
        ``.index.json`` of a sharded checkpoint. Files are read one tensor at a time.
    importances : mapping, optional
        From names to ``(importance, quartic_importance)``, as `wkmeans.importance.estimate` gives
        it, or to an importance alone; each broadcastable to its tensor. Tensors without an entry
        stay dense. None: every weight counts 1.
    floor : float, optional
        What each importance is raised by, as a share of the mean of its tensor, and the quartic
        importance likewise: 0.1 by default. A slice along the first axis (an output, an expert, a
        token) whose importance is below a millionth of the tensor's mean was never seen by the
        examples: it counts as one of mean importance, and the report names it. ``floor=0`` takes
        importances as they are, the paper's raw objective. Costs are under those given.
    bits, k, target_bytes, target_bits_per_weight
        Exactly one of them: ``k`` codewords, or ``2**bits``, for each codebook; or the size of the
        file, in bytes or in bits for each weight of the model (dense tensors and metadata count). A
        size is never exceeded; it is shared out at one slope of cost against bytes.
    density : float, optional
        Exactly ``round(density * n)`` weights of each compressed tensor are kept, as
        `wkmeans.prune` chooses them; the others become zero, which is one of the k codewords.
    granularity : {"tensor", "channel"} or int
        One codebook for a tensor, for each entry of its first axis, or for so many consecutive
        weights of one (the last group of each may be shorter).
    solver : {"optimal", "entropy-constrained"}, optional
        Optimal codebooks of k codewords, or `wkmeans.entropy_constrained` ones, which weigh what
        labels cost to store at one price of a bit for all tensors. By default the latter where a
        size is asked for and each tensor has one codebook and no density, else the former.
    channel_scales : bool
        Divide each entry of the first axis by its root mean square s, and scale its importances by
        s^2 and s^4, before codebooks are shared; s is stored as float32.
    keep_zeros : bool, optional
        Weights that are exactly zero stay so. By default where a density is given.
    codebook_dtype : str or dtype, optional
        As `wkmeans.wkmeans`'s `centroid_dtype`; by default each tensor's own dtype.
    dense_dtype : str or dtype, optional
        Store floating-point tensors that stay dense in "float16", "bfloat16", "float32" or
        "float64". By default they stay as they are, as does any that would overflow.
    coding : {"auto", "packed", "ans"}
        Bit-packed codes, entropy-coded ones, or for each tensor the shorter.
    include, exclude : str or sequence of str, optional
        Patterns (``fnmatch``) of names. What `exclude` names stays dense. With `include`, only what
        it names is compressed, vectors and tiny tensors too; else matrices and beyond.
    min_size : int
        Tensors of fewer weights stay dense unless `include` names them.
    evaluate : callable, optional
        Called with the model, or the state dict, before and after; the report holds both answers.
    progress : callable, optional
        Called as ``progress(task, weights_done, weights_in_all)``.
    group : torch.distributed.ProcessGroup, optional
        Split the tensors over its ranks, which all call `compress` with the same model and get the
        same answer, the one that a single process gets. `progress` hears of this rank's share.
    n_threads : int, optional
        As for `wkmeans.wkmeans`.

    Returns
    -------
    CompressedModel
        Its report names each tensor that stayed dense, with the reason.

    Raises
    ------
    ValueError
        As `wkmeans.wkmeans`, and for a size that cannot be reached, naming the least that can.
    TypeError
        For a model of another kind, or dtypes that cannot be stored.
    """
    options = make_options(
        granularity=granularity,
        density=density,
        keep_zeros=keep_zeros,
        channel_scales=channel_scales,
        codebook_dtype=codebook_dtype,
        dense_dtype=dense_dtype,
        coding=coding,
        include=include,
        exclude=exclude,
        min_size=min_size,
        n_threads=n_threads,
    )
    k_min = 2 if options.density is not None else 1
    budget = make_budget(bits, k, target_bytes, target_bits_per_weight, k_min)
    source = open_source(model)
    work = Work(source, options, WeighedTensors(importances, checked_floor(floor)), progress, group)
    target = budget.bytes_for(sum(entry.size for entry in source.entries.values()))
    tensors = (
        work.build({name: Choice(_k_of(budget)) for name in work.weights_of})
        if target is None
        else fit(work, target, _solver(solver, budget, options))
    )
    if target is None and solver not in (None, "optimal"):
        raise ValueError(f"solver: expected 'optimal' with bits or k, got {solver!r}")
    findings = Findings(target_bytes=target, unseen=work.unseen)
    compressed = CompressedModel(
        tensors, aliases=source.aliases, framework=source.framework, findings=findings
    )
    if evaluate is None:
        return compressed
    before, after = evaluate(model), evaluate(_replica(model, compressed))
    return CompressedModel(
        tensors,
        aliases=source.aliases,
        framework=source.framework,
        findings=replace(findings, metric_before=before, metric_after=after),
    )


def _k_of(budget: Budget) -> int:
    assert budget.k is not None
    return budget.k


def _solver(solver: str | None, budget: Budget, options: Options) -> str:
    shared = options.granularity == "tensor" and options.density is None
    if solver is None:
        return "entropy-constrained" if shared and options.coding != "packed" else "optimal"
    if solver not in ("optimal", "entropy-constrained"):
        raise ValueError(f"solver: expected 'optimal' or 'entropy-constrained', got {solver!r}")
    if solver == "entropy-constrained" and not shared:
        raise ValueError(
            "solver: 'entropy-constrained' takes granularity='tensor' and no density, "
            f"got granularity={options.granularity!r} and density={options.density}"
        )
    return solver


def _replica(model: Any, compressed: CompressedModel) -> Any:
    if not hasattr(model, "named_parameters"):
        return compressed.state_dict()
    from copy import deepcopy

    return compressed.apply_to(deepcopy(model))
