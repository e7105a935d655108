"""Softmax cross-entropy over one or many positions, with its curvature in closed form."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from wkmeans.importance.first.seeds import Seeds
from wkmeans.importance.losses.losses import Loss, LossFunction, Probes

IGNORED = -100  # torch's ignore_index: a position that has no target


class CrossEntropy(Loss):
    """Cross-entropy on logits ``(examples, *positions, classes)`` with class indices as targets.

    Without positions it is a classifier. With them each example's loss is the mean over its
    positions, or, ``per_token``, each position is a loss of its own. Positions whose target is
    -100 do not count.
    """

    name = "cross_entropy"
    has_probes = True
    ignored = IGNORED

    def __init__(self, temperature: float, *, per_token: bool = False) -> None:
        super().__init__(_mean_cross_entropy, temperature)
        self.__dict__["per_token"] = per_token  # of a frozen dataclass

    per_token: bool

    def untempered(self) -> Loss:
        """At temperature 1, of an example."""
        return CrossEntropy(1.0)

    def check(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Require logits, and targets that name one of their classes."""
        _check_logits(outputs)
        if not self.fits(outputs, targets):
            raise ValueError(
                f'targets: expected class indices for loss "cross_entropy", shape '
                f"{tuple(outputs.shape[:-1])}, got {targets.dtype} of shape "
                f"{tuple(targets.shape)} (classes are the outputs' last dimension; for other "
                "targets give a function)"
            )
        n_classes = outputs.shape[-1]
        if targets.numel() and _are_within(targets, n_classes):
            return
        unknown = (targets < 0) | (targets >= n_classes)
        if outputs.ndim > 2:
            unknown &= targets != IGNORED
        outside = unknown.nonzero()
        if len(outside):
            first = tuple(outside[0].tolist())
            where = first[0] if len(first) == 1 else first
            raise ValueError(
                f"targets: expected class indices from 0 to {n_classes - 1}, got "
                f"{int(targets[first])} at index {where}"
            )

    def fits(self, outputs: torch.Tensor, targets: torch.Tensor) -> bool:
        """Whether they are class indices, one for each row of logits."""
        return targets.shape == outputs.shape[:-1] and not targets.is_floating_point()

    def no_targets(self, outputs: torch.Tensor) -> torch.Tensor:
        """Class 0 everywhere."""
        return torch.zeros(outputs.shape[:-1], dtype=torch.long, device=outputs.device)

    def n_factors(self, outputs: torch.Tensor) -> int:
        """One fewer than classes, for each position."""
        return outputs[0, ..., 0].numel() * (outputs.shape[-1] - 1)

    def count(self, outputs: torch.Tensor, targets: torch.Tensor | None) -> int:
        """Examples, or the tokens that have a target."""
        return int(_counted(outputs, targets).sum()) if self.per_token else len(outputs)

    def n_losses(self, outputs: torch.Tensor) -> int:
        """One, or one for each token."""
        return outputs[0, ..., 0].numel() if self.per_token else 1

    def one(self, position: int) -> LossFunction:
        """The loss of a token, or of the example."""
        if not self.per_token:
            return self.per_example

        def of_token(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            logits = _positions(outputs, keep_last=True)[:, position] / self.temperature
            labels = _positions(targets)[:, position].long()
            return functional.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)

        return of_token

    def rough_curvature_seeds(
        self, outputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> Seeds:
        """Four probes of the mean over positions."""
        return CrossEntropy(self.temperature)._curvature(
            outputs, targets, Probes(4, generator), spread=False
        )

    def gradient_seeds(self, outputs: torch.Tensor, targets: torch.Tensor, probes: Probes) -> Seeds:
        """``(p - y) / T``, in double: a confident float32 softmax rounds ``1 - p`` to zero."""
        p = self._probabilities(outputs)
        y = _positions(targets).clamp(min=0).long().unsqueeze(-1)
        others = p.scatter(-1, y, 0.0)
        complement = others.sum(-1, keepdim=True)  # 1 - p without its rounding
        seeds = others.scatter_(-1, y, -complement) / self.temperature
        return self._at_positions(seeds.unsqueeze(2), outputs, targets, probes, spread=True)

    def curvature_seeds(
        self, outputs: torch.Tensor, targets: torch.Tensor, probes: Probes
    ) -> Seeds:
        """The same as Fisher's: the Hessian ``(diag p - p p') / T^2`` does not see the label."""
        return self._curvature(outputs, targets, probes, spread=False)

    def fisher_seeds(
        self, outputs: torch.Tensor, targets: torch.Tensor | None, probes: Probes
    ) -> Seeds:
        """Eq. 6, ``sum_c (df_c / dw)^2 / f_c``, as a square root of ``diag p - p p'``."""
        _check_logits(outputs)
        return self._curvature(outputs, targets, probes, spread=True)

    def _curvature(
        self, outputs: torch.Tensor, targets: torch.Tensor | None, probes: Probes, *, spread: bool
    ) -> Seeds:
        p = self._probabilities(outputs)
        if probes.count is None:
            return self._at_positions(_cholesky(p) / self.temperature, outputs, targets, probes)
        signs = probes.signs((*p.shape[:2], probes.count, p.shape[2]), outputs)
        # Unbiased, and its relative variance is at most 2 whatever p is: e -> sqrt(p) e - p (..).
        root = p.sqrt().unsqueeze(2) * signs
        seeds = root - p.unsqueeze(2) * (p.sqrt().unsqueeze(2) * signs).sum(-1, keepdim=True)
        seeds = seeds / self.temperature
        if self.per_token and not spread:  # each token's own curvature
            return self._at_positions(
                seeds / math.sqrt(probes.count), outputs, targets, Probes(), are_probes=True
            )
        weights = self._position_weights(outputs, targets).sqrt() / math.sqrt(probes.count)
        together = (seeds * weights[:, :, None, None]).transpose(1, 2)
        return Seeds(_shaped(together, outputs), are_probes=True)

    def _at_positions(
        self,
        seeds: torch.Tensor,
        outputs: torch.Tensor,
        targets: torch.Tensor | None,
        probes: Probes,
        *,
        spread: bool = False,
        are_probes: bool = False,
    ) -> Seeds:
        """Seeds ``(examples, positions, seeds, classes)`` as those of one loss, or of each token.

        ``spread``: one gradient for each token becomes, for a mean over tokens, one in all; for
        tokens with ``probes``, sums under random signs, whose squares have the right mean.
        """
        if outputs.ndim == 2:
            return Seeds(seeds[:, 0], are_probes=are_probes)
        n, n_positions = seeds.shape[:2]
        weights = self._position_weights(outputs, targets)
        if spread and not self.per_token:
            whole = seeds * weights[:, :, None, None]  # a gradient: linear in the weight
            return Seeds(_shaped(whole.transpose(1, 2), outputs))
        if spread and probes.count is not None:
            signs = probes.signs((n, n_positions, probes.count, 1), outputs)
            mixed = seeds * signs * (weights / math.sqrt(probes.count))[:, :, None, None]
            return Seeds(_shaped(mixed.transpose(1, 2), outputs), are_probes=True)
        seeds = seeds * weights.sqrt()[:, :, None, None]
        if outputs.ndim > 3:
            raise ValueError(
                f"model: expected outputs (examples, positions, classes), got shape "
                f"{tuple(outputs.shape)}; flatten the positions, or pass probes"
            )
        groups = n_positions if self.per_token else 1
        return Seeds(seeds, at_positions=True, n_groups=groups, are_probes=are_probes)

    def _position_weights(
        self, outputs: torch.Tensor, targets: torch.Tensor | None
    ) -> torch.Tensor:
        """What each position's loss is multiplied by, ``(examples, positions)``."""
        counted = _counted(outputs, targets).double()
        return counted if self.per_token else counted / counted.sum(1, keepdim=True).clamp(min=1)

    def _probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        """``(examples, positions, classes)``, float64."""
        logits = outputs.detach().double() / self.temperature
        return _positions(logits.softmax(-1), keep_last=True)


def _check_logits(outputs: torch.Tensor) -> None:
    if outputs.ndim < 2:
        raise ValueError(
            f'model: expected outputs (examples, classes) for loss "cross_entropy", or (examples, '
            f"positions, classes), got shape {tuple(outputs.shape)}"
        )


def _are_within(targets: torch.Tensor, n_classes: int) -> bool:
    lowest, highest = torch.aminmax(targets)
    return int(lowest) >= 0 and int(highest) < n_classes


def _positions(tensor: torch.Tensor, *, keep_last: bool = False) -> torch.Tensor:
    """``(examples, *positions)`` as ``(examples, positions)``, 1 where there are none."""
    rest = tensor.shape[-1:] if keep_last else ()
    return tensor.reshape(len(tensor), -1, *rest)


def _shaped(seeds: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """``(examples, seeds, positions, classes)`` as ``(examples, seeds, *output)``."""
    return seeds.reshape(*seeds.shape[:2], *outputs.shape[1:])


def _counted(outputs: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
    if targets is None or outputs.ndim == 2:
        n_positions = outputs[0, ..., 0].numel()
        return torch.ones(len(outputs), n_positions, dtype=torch.bool, device=outputs.device)
    return _positions(targets) != IGNORED


def _cholesky(p: torch.Tensor) -> torch.Tensor:
    """Vectors ``(..., C - 1, C)`` with ``sum_j v_j v_j' = diag p - p p'`` (Tanabe, Sagae 1992).

    With ``q_j`` the mass after class ``j``, ``v_jj^2 = p_j q_j / q_(j-1)`` and ``v_ji = -v_jj p_i /
    q_j`` behind it. Nothing is divided by a probability, and no mass is a difference.
    """
    mass = p.flip(-1).cumsum(-1).flip(-1)  # q_(j-1), a sum of small numbers where it is small
    after = mass[..., 1:]
    diagonal = (p[..., :-1] * _ratio(after, mass[..., :-1])).sqrt()
    behind = -diagonal.unsqueeze(-1) * _ratio(p.unsqueeze(-2), after.unsqueeze(-1))
    identity = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)[:-1]
    return behind.triu(1) + diagonal.unsqueeze(-1) * identity


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    return torch.where(whole > 0, part / whole.where(whole > 0, 1.0), 0.0)


def _mean_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    losses = functional.cross_entropy(
        logits.movedim(-1, 1), targets.long(), reduction="none", ignore_index=IGNORED
    ).reshape(len(logits), -1)
    counted = (targets != IGNORED).reshape(len(logits), -1)
    return losses.sum(1) / counted.sum(1).clamp(min=1)
