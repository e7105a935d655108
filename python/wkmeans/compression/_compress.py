"""`wkmeans.compress`: a model in, a compressed model out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wkmeans._model_lock import model_lock
from wkmeans._wrappers import unwrapped
from wkmeans.compression._build import Request, build
from wkmeans.compression._floor import checked_floor
from wkmeans.compression._model import CompressedModel
from wkmeans.compression._plan import make_budget, make_options
from wkmeans.compression._work import Progress
from wkmeans.compression.source import open_source

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def compress(
    model: Any,
    *,
    importances: Mapping[str, Any] | None = None,
    calibration: Iterable[Any] | None = None,
    loss: str = "cross_entropy",
    forward: Callable[[Any, Any], Any] | None = None,
    method: str = "auto",
    tune: bool = True,
    floor: float | None = None,
    bits: int | None = None,
    k: int | None = None,
    target_bytes: int | None = None,
    target_bits_per_weight: float | None = None,
    density: float | None = None,
    pattern: tuple[int, int] | None = None,
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
    """Compress a network to labels and codebooks.

    Parameters
    ----------
    model : torch.nn.Module, mapping of tensors or arrays, path or list of paths
        A module, a state dict, or safetensors files: one, several, a folder with a checkpoint, or
        the ``.index.json`` of a sharded one. Files are read one tensor at a time; in a folder the
        index decides which, and the report names what is left out. What wraps a module
        (`torch.compile`, data parallelism, averaging) does not show in the tensors' names. In
        files, where nothing tells parameters from buffers, a tensor that is not finite stays dense.
    importances : mapping, optional
        From names to a tuple ``(importance, quartic_importance)``, as `wkmeans.importance.estimate`
        gives it, or to an importance alone; each broadcastable to its tensor. Tensors
        without an entry stay dense. None: every weight counts 1. Of matrices, as
        `wkmeans.importance.estimate_matrices` gives them, the diagonals. With `calibration` a layer
        under its whole matrix goes by that alone.
    calibration : iterable of batches, optional
        Examples, of which labels are not needed: each batch an input tensor, a dict of them, or a
        pair ``(input, target)``. What is worth trying is tried, and what has the least divergence
        of outputs on a fifth of the examples, held out, is returned: never more than plain
        unweighted rounding of the same size. The report has both. `model` is a torch.nn.Module.
        Without `importances` they are Fisher's, from 2 to 16 random probes where an example has
        more than 64 outputs.
    loss : {"cross_entropy", "mse"}
        What outputs are: logits, whose divergence is the Kullback-Leibler divergence of their
        softmax, or values, whose divergence is the relative squared error.
    forward : function (model, input) -> output, optional
        How to call the model where ``model(input)`` is not it.
    method : {"auto", "matrix", "diagonal", "unweighted"}
        With calibration: one thing beside plain rounding; or the whole matrix, and diagonals where
        it cannot be had or does not help.
    tune : bool, default True
        With calibration and ``k`` or ``bits``: after "auto" and "matrix", move centroids, and
        vectors that stay dense, by derivatives of the outputs' divergence on the examples that are
        not held out, labels as they are. Kept where held-out outputs diverge less; costs stay those
        before. It takes 4 epochs, 1 where there are more than 2^25 weights, and 300 steps at most.
    floor : float, optional
        What each importance is raised by, as a share of the mean of its tensor, and the quartic
        importance likewise: 1 by default. A slice along the first axis (an output, an expert, a
        token) whose importance is below a millionth of the tensor's mean was never seen by the
        examples: it counts as one of mean importance, and the report names it. ``floor=0`` takes
        importances as they are, the paper's raw objective. Costs are under those given. Under a
        whole importance matrix outputs have one importance each, raised by .02 by default.
    bits, k, target_bytes, target_bits_per_weight
        Exactly one of them: ``k`` centroids, or ``2**bits``, for each codebook; or the size of the
        file, in bytes or in bits for each weight of the model (dense tensors and metadata count). A
        size is never exceeded; it is shared out at one slope of cost against bytes.
    density : float, optional
        Exactly ``round(density * n)`` weights of each compressed tensor are kept, as
        `wkmeans.prune` chooses them; the others become zero, which is one of the k centroids.
    pattern : (int, int), optional
        The n weights of largest cost of every m along each entry of the first axis are kept, in
        place of a density; tensors whose entries are no whole groups stay dense. With calibration
        what is kept makes up for what is pruned, as `wkmeans.compensate` has it.
    granularity : {"tensor", "channel"} or int
        One codebook for a tensor, for each entry of its first axis, or for so many consecutive
        weights of one (the last group of each may be shorter).
    solver : {"optimal", "entropy-constrained"}, optional
        Optimal codebooks of k centroids, or `wkmeans.entropy_constrained` ones, which weigh what
        labels cost to store at one price of a bit for all tensors. By default the latter where a
        size is asked for and each tensor has one codebook and none is pruned, else the former.
    channel_scales : bool
        Divide each entry of the first axis by its root mean square s, and scale its importances by
        s^2 and s^4, before codebooks are shared; s is stored as float32.
    keep_zeros : bool, optional
        Weights that are exactly zero stay so. By default where weights are pruned.
    codebook_dtype : str or dtype, optional
        As `wkmeans.wkmeans`'s `centroid_dtype`; by default each tensor's own dtype.
    dense_dtype : str or dtype, optional
        Store floating-point tensors that stay dense in "float16", "bfloat16", "float32" or
        "float64". By default they stay as they are, as does any that would overflow. With
        calibration and a size, and neither this nor `include`, parameters of one dimension and
        statistics of batch normalisation keep as many bits of their mantissas as pay, 3 or more,
        which leaves more bytes to weights; reasons in the report say how many. Other buffers, and
        all of plain rounding, stay as they are.
    coding : {"auto", "packed", "ans"}
        Bit-packed labels, entropy-coded ones, or for each tensor the shorter.
    include, exclude : str or sequence of str, optional
        Names, or patterns (``fnmatch``) of names; each has to name something. What `exclude` names
        stays dense. With `include`, only what it names is compressed, vectors, tiny tensors and
        buffers too; else parameters of two dimensions and more.
    min_size : int
        Tensors of fewer weights stay dense unless `include` names them.
    evaluate : callable, optional
        Called with the model, or the state dict, before and after; the report holds both answers.
        Other threads wait meanwhile before they run a model within `wkmeans` or change one.
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
    OSError
        Where a file of a checkpoint is missing or cannot be read.
    """
    if isinstance(model, CompressedModel):
        raise TypeError(
            "model: expected a model that is not compressed, got a CompressedModel; its "
            "state_dict() is a plain one"
        )
    diagonals = getattr(importances, "diagonals", None)
    if diagonals is not None:
        importances = diagonals()
    options = make_options(
        granularity=granularity,
        density=density,
        pattern=pattern,
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
    k_min = 2 if options.prunes else 1
    budget = make_budget(bits, k, target_bytes, target_bits_per_weight, k_min)
    request = Request(options, budget, solver, progress, group)
    if calibration is None:
        if method != "auto":
            raise ValueError(f"method: expected calibration batches to judge by, got {method!r}")
        source = open_source(model)
        compressed = build(source, request, importances, checked_floor(floor))
    else:
        compressed = _calibrated(
            model, request, calibration, loss, forward, method, tune, importances, floor
        )
    if evaluate is None:
        return compressed
    with model_lock():  # under which no other thread has lent the model other tensors
        before, after = evaluate(model), evaluate(_replica(model, compressed))
    return compressed.with_findings(
        replace(compressed.findings, metric_before=before, metric_after=after)
    )


def _calibrated(
    model: Any,
    request: Request,
    batches: Iterable[Any],
    loss: str,
    forward: Callable[[Any, Any], Any] | None,
    method: str,
    tune: bool,
    importances: Mapping[str, Any] | None,
    floor: float | None,
) -> CompressedModel:
    try:
        from wkmeans.compression.calibration.search import Calibration, calibrated
    except ImportError as error:
        raise ImportError("calibration needs PyTorch: pip install 'wkmeans[torch]'") from error
    calibration = Calibration(batches, loss, forward, method, tune)
    chosen = None if floor is None else checked_floor(floor)
    return calibrated(
        unwrapped(model), open_source(model), request, calibration, importances, chosen
    )


def _replica(model: Any, compressed: CompressedModel) -> Any:
    if not hasattr(model, "named_parameters"):
        return compressed.state_dict()
    from copy import deepcopy

    return compressed.apply_to(deepcopy(model))
