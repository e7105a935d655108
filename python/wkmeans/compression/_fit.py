"""The search for a model of a size asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from wkmeans.compression._report import USED
from wkmeans.compression._work import Tensors, Work
from wkmeans.compression.budget.allocation import (
    Choice,
    Chooser,
    codebook_size_chooser,
    curve_ks,
    entropy_constrained_chooser,
    richest_k,
    shared_out,
    smallest_k,
)
from wkmeans.compression.tensors.tensor import CompressedTensor, DenseTensor

_AIM = 0.999  # of the budget
_ROUNDS = 6
_ROUNDS_BEFORE_FINE_ONES = 3  # which cost a tenth of the others
_FINE_ROUNDS = 8
_LARGEST_EXPONENT = 200.0  # of 2, in a factor of prices: no size changes beyond
_EXPONENTS = [i / 2 for i in range(-12, 13)]  # of 2, in the prices tried for each small tensor
_FEW_WEIGHTS = 1 << 17
"""Tensors of so many weights together, the smallest first, are measured whole at every k."""


def fit(work: Work, target: int, solver: str) -> Tensors:
    """The largest model found that a file of `target` bytes holds.

    Samples choose, whole tensors are measured, and the difference corrects the next choice. Where
    choices jump across the target, the nearest of them is then solved for other prices of a bit.
    """
    if not work.weights_of:
        return _checked_size(work.build({}), target, work)
    samples = work.samples()  # after which the tensors to compress are known
    search = _Search(work, target)
    choose: Chooser = (
        entropy_constrained_chooser(samples, work.n_weights, target, work.options)
        if solver == "entropy-constrained"
        else codebook_size_chooser(samples, work.n_weights, target, work.options)
    )
    if solver == "entropy-constrained":
        _correct_allowance(search, choose, _ROUNDS_BEFORE_FINE_ONES)
        _correct_prices(search)
    else:
        _correct_allowance(search, choose, _ROUNDS)
    return search.answer()


class _Search:
    """What has been built, and what of it comes nearest to the target."""

    def __init__(self, work: Work, target: int) -> None:
        self.work = work
        self.target = target
        self.nearest: tuple[int, Mapping[str, Choice]] | None = None
        self._best: tuple[int, Tensors] | None = None
        self._last: Tensors = {}
        self._small = _small(work)
        self._built: dict[str, list[CompressedTensor | DenseTensor]] = {n: [] for n in self._small}

    @property
    def is_done(self) -> bool:
        return self._best is not None and self._best[0] >= USED * self.target

    def size_of(self, choices: Mapping[str, Choice]) -> int:
        """Bytes of the file that these choices make, all tensors whole."""
        self._last = tensors = self.work.build(choices)
        size = _size(tensors, self.work)
        for name in self._small:
            self._built[name].append(tensors[name])
        if size <= self.target and (self._best is None or size > self._best[0]):
            self._best = size, tensors
        if self.nearest is None or abs(size - self.target) < abs(self.nearest[0] - self.target):
            self.nearest = size, choices
        return size

    def answer(self) -> Tensors:
        if self._best is None:  # the smallest choices of all may still fit
            self.size_of(_smallest(self.work))
        if self._best is None:
            return _checked_size(self._last, self.target, self.work)
        if not self.is_done and self._small:
            self._share_anew(*self._best)
        return self._best[1] if self.is_done else _with_dense(*self._best, self.target, self.work)

    def _share_anew(self, size: int, tensors: Tensors) -> None:
        """Choose among all that was built of small tensors, and more choices of each.

        What samples and one price for all give goes by jumps there, over the size asked for too.
        """
        work = self.work
        for choices in self._more_choices():
            for name, tensor in work.made(choices).items():
                self._built[name].append(tensor)
        curves = {
            name: [(float(t.nbytes), _cost(t), i) for i, t in enumerate(self._built[name])]
            for name in self._small
        }
        of_values = {
            name: [point for point in points if not _is_one_value(self._built[name][point[2]])]
            for name, points in curves.items()
        }
        spared = {name: points or curves[name] for name, points in of_values.items()}
        others = size - sum(tensors[name].nbytes for name in self._small)
        budget = float(self.target - others)
        for _ in range(_ROUNDS):
            fits = sum(min(points)[0] for points in spared.values()) <= budget
            try:
                shared = shared_out(spared if fits else curves, budget)
            except ValueError:
                return
            found = {name: self._built[name][i] for name, (_, _, i) in shared.items()}
            size = _size({**tensors, **found}, work)
            if size <= self.target:
                if _harm(found) < _harm({name: tensors[name] for name in self._small}):
                    self._best = size, {**tensors, **found}
                return
            budget -= size - self.target

    def _more_choices(self) -> Iterator[dict[str, Choice]]:
        """Codebooks of every size, and at prices about those that came nearest to the target."""
        work = self.work
        for k in curve_ks(richest_k(work.n_weights, self.target), work.options):
            yield dict.fromkeys(self._small, Choice(k))
        if self.nearest is None:
            return
        priced = {name: self.nearest[1][name] for name in self._small}
        if all(choice.price is not None for choice in priced.values()):
            for exponent in _EXPONENTS:
                yield {name: _repriced(c, 2.0**exponent) for name, c in priced.items()}


def _small(work: Work) -> list[str]:
    """Tensors that may be built at every k."""
    found, n = [], 0
    for name, entry in sorted(work.weights_of.items(), key=lambda item: item[1].size):
        n += entry.size
        if n <= _FEW_WEIGHTS:
            found.append(name)
    return found


def _cost(tensor: CompressedTensor | DenseTensor) -> float:
    return tensor.cost if isinstance(tensor, CompressedTensor) else 0.0


def _is_one_value(tensor: CompressedTensor | DenseTensor) -> bool:
    return isinstance(tensor, CompressedTensor) and tensor.k == 1


def _harm(tensors: Tensors) -> tuple[int, float]:
    """How many are reduced to one value, which no cost tells the whole of, and the cost of all."""
    return sum(map(_is_one_value, tensors.values())), sum(map(_cost, tensors.values()))


def _with_dense(size: int, tensors: Tensors, target: int, work: Work) -> Tensors:
    """Tensors that cost most for what they save stay as they are, where there is room for them."""
    if work.options.prunes:
        return tensors
    savings = []
    for name, tensor in tensors.items():
        if isinstance(tensor, CompressedTensor) and tensor.cost > 0:
            dense = work.as_it_is(name, "the size asked for has room for it as it is")
            saved = max(dense.nbytes - tensor.nbytes, 1)
            if saved <= target - size:
                savings.append((-tensor.cost / saved, name, dense))
    for _, name, dense in sorted(savings, key=lambda one: one[:2]):
        changed = {**tensors, name: dense}
        if _size(changed, work) <= target:
            tensors = changed
    return tensors


def _correct_allowance(search: _Search, choose: Chooser, rounds: int) -> None:
    """Ask for what samples say fits, and for more or less by what whole tensors say."""
    work, target = search.work, search.target
    allowance = _AIM * target - work.dense_bytes
    fits, exceeds = -math.inf, math.inf
    for _ in range(rounds):
        try:
            choices = choose(max(allowance, 1.0))
        except ValueError:  # smaller than any choice
            choices = _smallest(work)
        size = search.size_of(choices)
        if search.is_done:
            return
        fits, exceeds = (allowance, exceeds) if size <= target else (fits, allowance)
        allowance += _AIM * target - size
        if not fits < allowance < exceeds:
            allowance = (fits + exceeds) / 2


def _correct_prices(search: _Search) -> None:
    """From the codebooks nearest to the target, all prices of a bit times one factor."""
    assert search.nearest is not None
    size, choices = search.nearest
    exponent = 0.0
    too_low, enough = -math.inf, math.inf  # exponents of 2
    for _ in range(_FINE_ROUNDS):
        if search.is_done:
            return
        if size > search.target:
            too_low = exponent
        else:
            enough = exponent
        if math.isinf(enough - too_low):
            # At high resolution four times the price saves a bit a weight.
            bits = 8 * (size - _AIM * search.target) / search.work.n_weights
            exponent += math.copysign(max(4 * abs(bits), 0.05), bits)
        else:
            exponent = (too_low + enough) / 2
        if abs(exponent) > _LARGEST_EXPONENT:
            return
        size = search.size_of({name: _repriced(c, 2.0**exponent) for name, c in choices.items()})


def _repriced(choice: Choice, factor: float) -> Choice:
    if choice.price is None:
        return choice
    price = replace(choice.price, multiplier=factor * choice.price.multiplier)
    return replace(choice, price=price)


def _smallest(work: Work) -> dict[str, Choice]:
    return {name: Choice(smallest_k(work.options)) for name in work.weights_of}


def _checked_size(tensors: Tensors, target: int, work: Work) -> Tensors:
    size = _size(tensors, work)
    if size > target:
        raise ValueError(
            "target_bytes, target_bits_per_weight: expected at least "
            f"{_size(work.build(_smallest(work)), work)} bytes for the file, got {target}"
        )
    return tensors


def _size(tensors: Tensors, work: Work) -> int:
    return work.model(tensors).nbytes
