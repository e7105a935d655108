"""Which target belongs to which position of an output, and which positions count.

torch pairs the target at a position with the output there, and so do pairs ``(input, target)``.
Under ``labels`` a model says itself what they are: a causal language model takes its own tokens,
and scores each output against the token that follows. Whether it does shows in the loss that it
computes from them, so no list of model classes is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from wkmeans.importance.losses.losses import Loss
from wkmeans.importance.model.batches import TARGET_KEY, Batch
from wkmeans.importance.model.functional import FunctionalModel

# A model's own loss may be summed in another order, or rounded to its own dtype.
_TOLERANCE = 1e-4
# So many examples are compared: in one alone both alignments may give one loss.
_COMPARED = 4
_DECODER = "decoder_"
_MASK = "attention_mask"


class Alignment:
    """Brings batches into torch's convention: the target at a position is the output's there.

    ``loss`` is the estimate's, ``plain`` the same at temperature 1, as models compute theirs.
    """

    def __init__(self, model: FunctionalModel, loss: Loss, plain: Loss) -> None:
        self._model = model
        self._loss = loss
        self._plain = plain
        self._is_shifted: bool | None = None

    def completed(self, batch: Batch) -> Batch:
        """With the decoder's inputs, where a model makes them from its labels."""
        make = getattr(self._model.module, "prepare_decoder_input_ids_from_labels", None)
        if make is None or not batch.is_declared or batch.targets is None:
            return batch
        value = batch.inputs.value()
        if any(key in value for key in (f"{_DECODER}input_ids", f"{_DECODER}inputs_embeds")):
            return batch
        return replace(batch, inputs=batch.inputs.with_item(
            f"{_DECODER}input_ids", make(labels=batch.targets)
        ))  # fmt: skip

    def aligned(self, chunk: Batch, outputs: torch.Tensor, *, needs_targets: bool) -> Batch:
        """The chunk with a target for each position that counts, and the loss's mark elsewhere."""
        mark = self._loss.ignored
        if mark is None:
            return chunk  # the user's function reads outputs and targets as they are
        targets = chunk.targets
        if targets is not None and not self._loss.fits(outputs, targets):
            # What needs them says what it expected; Fisher looks for the marks alone.
            if needs_targets:
                return chunk
            targets = None
        if needs_targets and targets is not None and math.isnan(mark):
            _refuse_nan(targets)
        if targets is not None and chunk.is_declared:
            if self._shifts(chunk, outputs):
                targets = _following(targets, mark)
        elif targets is not None:
            self._refuse_own_tokens(chunk, targets)
        visible = _visible(chunk, outputs)
        if visible is not None and not bool(visible.all()):
            if targets is None:
                targets = self._loss.no_targets(outputs)
            elif targets is not chunk.targets:  # a target one position on is to be seen there
                visible = visible & _following(visible, False)
            targets = _marked(targets, visible, mark)
        return replace(chunk, targets=targets)

    def _shifts(self, chunk: Batch, outputs: torch.Tensor) -> bool:
        """Whether the model scores an output against the label that follows."""
        if self._is_shifted is None:
            self._is_shifted = self._compared(chunk, outputs)
        if self._is_shifted is None:  # no example told
            return outputs.ndim > 2 and _declares_shift(self._model.module)
        return self._is_shifted

    def _compared(self, chunk: Batch, outputs: torch.Tensor) -> bool | None:
        """Which alignment gives the model's own loss; ``None`` where it computes none."""
        left = [False, True] if outputs.ndim > 2 else [False]
        told = False
        for position in range(min(_COMPARED, len(chunk))):
            one = chunk[position : position + 1]
            labels = self._seen_labels(one, outputs[position : position + 1])
            own = self._model.own_loss(one.inputs, labels)
            if own is None:
                break
            loss, logits = own
            if not self._plain.fits(logits, labels) or not bool(loss.isfinite()):
                continue
            told = True
            losses = {shift: self._plain_loss(logits, labels, shift) for shift in left}
            matching = [s for s in left if abs(losses[s] - loss) <= _tolerance(loss)]
            if not matching:
                raise ValueError(_other_loss(position, float(loss), losses, self._loss.name))
            left = matching
        if not told:
            return None
        return left[0] if len(left) == 1 else _declares_shift(self._model.module)

    def _seen_labels(self, one: Batch, outputs: torch.Tensor) -> torch.Tensor:
        """Labels of an example without what is hidden, or follows what is, for both alignments."""
        visible = _visible(one, outputs)
        if visible is None or self._loss.ignored is None:
            return one.labelled
        before = torch.cat([visible[:, :1], visible[:, :-1]], 1)
        return _marked(one.labelled, visible & before, self._loss.ignored)

    def _plain_loss(self, logits: torch.Tensor, labels: torch.Tensor, shift: bool) -> torch.Tensor:
        mark = self._loss.ignored
        targets = _following(labels, mark) if shift and mark is not None else labels
        return self._plain.per_example(logits.double(), targets)[0]

    def _refuse_own_tokens(self, chunk: Batch, targets: torch.Tensor) -> None:
        """A causal model's own tokens as the targets of a pair are never what is meant."""
        if targets.ndim != 2 or targets.shape[1] < 2 or not _declares_shift(self._model.module):
            return
        for tensor in chunk.inputs.tensors:
            if tensor.shape == targets.shape and tensor.dtype == targets.dtype:
                counted = targets.ne(self._loss.ignored or 0)
                if bool(counted.any()) and torch.equal(tensor[counted], targets[counted]):
                    raise ValueError(
                        "batches: the targets are the input's own tokens, expected the token that "
                        f"follows each; pass a dict with them under {TARGET_KEY!r}, which the "
                        "model shifts by itself, or pairs (tokens[:, :-1], tokens[:, 1:])"
                    )


def _refuse_nan(targets: torch.Tensor) -> None:
    """The mark of what does not count is ours to set."""
    bad = targets.isnan().nonzero()
    if len(bad):
        raise ValueError(
            f"batches: expected finite targets, got nan at index {tuple(bad[0].tolist())}"
        )


def _visible(chunk: Batch, outputs: torch.Tensor) -> torch.Tensor | None:
    """``(examples, positions)``, what the attention mask shows; ``None`` where there is none."""
    value = chunk.inputs.value()
    if not isinstance(value, Mapping):
        return None
    # An encoder's mask says nothing of the decoder's positions.
    has_decoder = any(isinstance(key, str) and key.startswith(_DECODER) for key in value)
    mask = value.get(_DECODER + _MASK if has_decoder else _MASK)
    if not isinstance(mask, torch.Tensor) or outputs.ndim < 3 or mask.shape != outputs.shape[:2]:
        return None
    return mask != 0


def _following(values: torch.Tensor, last: float) -> torch.Tensor:
    """What is one position on; ``last`` where nothing is."""
    return torch.cat([values[:, 1:], torch.full_like(values[:, :1], last)], 1)


def _marked(targets: torch.Tensor, visible: torch.Tensor, mark: float) -> torch.Tensor:
    rest = targets.ndim - visible.ndim
    if math.isnan(mark) and not targets.is_floating_point():
        targets = targets.double()
    return targets.masked_fill(~visible.reshape(*visible.shape, *[1] * rest), mark)


def _declares_shift(module: Any) -> bool:
    names = (str(getattr(module, "loss_type", "")), type(module).__name__)
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)


def _tolerance(loss: torch.Tensor) -> float:
    precision = 4 * torch.finfo(loss.dtype).eps
    return max(_TOLERANCE, precision) * max(1.0, abs(float(loss)))


def _other_loss(position: int, own: float, losses: Mapping[bool, torch.Tensor], name: str) -> str:
    mine = f"{float(losses[False]):.6g}" if False in losses else ""
    if True in losses:
        following = f"{float(losses[True]):.6g} of those one position on"
        mine = f"{mine}, {following}" if mine else following
    return (
        f"model: its own loss of example {position} is {own:.6g}, expected loss {name!r} of its "
        f"output and labels, got {mine}; pass loss= as a function (output, labels) -> per-example "
        f"losses that is the model's, or pairs (input, target) to take {name!r} as it stands"
    )
