"""Statements of a training loss that are easily confused, to compare their gradients."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Shaped
from torch import Tensor

from fastif.losses import (
    BinaryCrossEntropy,
    BinaryFocalLoss,
    CrossEntropy,
    FocalLoss,
    Huber,
    Loss,
    SampleWeighted,
    SquaredError,
    balanced_weights,
)

SMOOTHING, GAMMA, DELTA = 0.1, 2.0, 1.0
"""Usual settings of label smoothing, focal loss and Huber loss."""


@dataclass(frozen=True)
class LossStatement:
    """Statement of a training loss, as a user would make it.

    Attributes:
        name: Words for users, such as "label smoothing of 0.1".
        loss: Loss of an example.
        penalty: L2 penalty of training, see `Objective`.
    """

    name: str
    loss: Loss
    penalty: float = 0.0


def list_alternatives(
    stated: LossStatement, targets: Shaped[Tensor, "n *t"], outputs: int
) -> list[LossStatement]:
    """List statements that differ from the stated one in one setting.

    Without a penalty a constant factor of the loss cannot be seen in its gradient, so sum and mean
    over the outputs are distinguished with a penalty only.

    Args:
        stated: Statement of the user.
        targets: Targets of all training rows, for balanced weights.
        outputs: Number of outputs of the model.

    Examples:
        >>> stated = LossStatement("as stated", CrossEntropy())
        >>> labels = torch.tensor([0, 0, 1])
        >>> [statement.name for statement in list_alternatives(stated, labels, 2)]
        ['label smoothing of 0.1', 'balanced class weights', 'a focal loss with gamma 2']
    """
    loss = stated.loss
    if isinstance(loss, SampleWeighted):
        inner = replace(stated, loss=loss.loss)
        has_classes = loss.loss.class_targets and targets.shape[1] == 2
        plain = targets[:, 1].long() if has_classes else targets[:, 1:]
        others = list_alternatives(inner, plain, outputs)
        weighted = [replace(other, loss=SampleWeighted(other.loss)) for other in others]
        return [LossStatement("equal weights of all rows", _Unweighted(loss.loss)), *weighted]
    return [
        replace(stated, name=name, loss=other)
        for name, other in _vary(loss, targets, outputs, stated.penalty)
        if other != loss
    ]


def _vary(
    loss: Loss, targets: Shaped[Tensor, "n *t"], outputs: int, penalty: float
) -> Iterator[tuple[str, Loss]]:
    if isinstance(loss, (CrossEntropy, FocalLoss)):
        yield from _vary_softmax(loss, targets, outputs)
    elif isinstance(loss, (BinaryCrossEntropy, BinaryFocalLoss)):
        yield from _vary_binary(loss, targets, outputs)
    elif isinstance(loss, SquaredError):
        yield f"a Huber loss with delta {DELTA:g}", Huber(DELTA, loss.reduction)
    elif isinstance(loss, Huber):
        yield "the squared error", SquaredError(loss.reduction)
    if (
        penalty
        and outputs > 1
        and isinstance(loss, (BinaryCrossEntropy, BinaryFocalLoss, SquaredError, Huber))
    ):
        other = "sum" if loss.reduction == "mean" else "mean"
        yield f"the {other} over the outputs", replace(loss, reduction=other)


def _vary_softmax(
    loss: CrossEntropy | FocalLoss, targets: Shaped[Tensor, "n *t"], outputs: int
) -> Iterator[tuple[str, Loss]]:
    weights, is_focal = loss.class_weights, isinstance(loss, FocalLoss)
    smoothing = 0.0 if isinstance(loss, FocalLoss) else loss.label_smoothing
    if smoothing:
        yield "no label smoothing", CrossEntropy(0.0, weights)
    elif not is_focal:
        yield f"label smoothing of {SMOOTHING:g}", CrossEntropy(SMOOTHING, weights)
    if weights is not None:
        yield "equal class weights", replace(loss, class_weights=None)
    elif not targets.is_floating_point():
        counts = torch.bincount(targets, minlength=outputs)
        if bool((counts > 0).all()) and bool((counts != counts[0]).any()):
            balanced = balanced_weights(targets, outputs)
            yield "balanced class weights", replace(loss, class_weights=balanced)
    if is_focal:
        yield "the cross-entropy", CrossEntropy(0.0, weights)
    elif not targets.is_floating_point() and not smoothing:
        yield f"a focal loss with gamma {GAMMA:g}", FocalLoss(GAMMA, weights)


def _vary_binary(
    loss: BinaryCrossEntropy | BinaryFocalLoss, targets: Shaped[Tensor, "n *t"], outputs: int
) -> Iterator[tuple[str, Loss]]:
    if isinstance(loss, BinaryFocalLoss):
        yield "the binary cross-entropy", BinaryCrossEntropy(reduction=loss.reduction)
        return
    if loss.pos_weight is not None:
        yield "no weight of positive labels", replace(loss, pos_weight=None)
        return
    share = targets.reshape(len(targets), -1).double().nanmean(0)
    if bool(((share > 0) & (share < 1)).all()):
        weights = ((1 - share) / share).tolist()
        yield "positive labels weighted by negatives / positives", replace(loss, pos_weight=weights)
    if bool(((targets == 0) | (targets == 1)).all()):
        focal = BinaryFocalLoss(GAMMA, reduction=loss.reduction)
        yield f"a focal loss with gamma {GAMMA:g}", focal


@dataclass(frozen=True)
class _Unweighted(SampleWeighted):
    """Loss of targets with a weight in the first column, which is ignored."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs, self._split(targets)[1])
