"""Refusals and limits of a flip set: what no prediction is made for, and what limits one."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.attribution.attributor import Attributor
from fastif.data.examples import Examples
from fastif.data.targets import find_targets
from fastif.errors import InputError
from fastif.losses import (
    BinaryCrossEntropy,
    BinaryFocalLoss,
    Huber,
    OrdinalCrossEntropy,
    SampleWeighted,
    SquaredError,
)

WHERE = "flip set"

NO_CLASSIFIERS = (
    BinaryCrossEntropy,
    BinaryFocalLoss,
    Huber,
    OrdinalCrossEntropy,
    SampleWeighted,
    SquaredError,
)
"""Losses whose outputs are not one for each class, or whose targets have a weight."""

HIGH_LEVERAGE = 0.5
"""Leverage from which a note tells that the step is long."""

UNCONVERGED = 0.05
"""Relative gradient after the last Newton step from which a note tells it."""

UNRELIABLE_RESIDUAL = 0.01
"""Relative residual of the solves from which a note tells it."""


def find_labels(train: Examples) -> Shaped[Tensor, "n *t"]:
    """Return the labels of all training examples, read in batches if only these hold them."""
    labels = find_targets(train)
    if labels is not None:
        return labels
    taken = [train.take_targets(ids)["labels"] for ids in torch.arange(len(train)).split(256)]
    return torch.cat(taken)


def check_flip(
    attributor: Attributor,
    labels: Shaped[Tensor, "n *t"],
    outputs: Float[Tensor, " c"],
    max_rows: int,
) -> None:
    """Refuse a model without classes by number, and a number of rows out of range.

    Raises:
        InputError: `max_rows` is below 1, the model has one output or a loss that is none of
            classes, or the labels are not class numbers.
    """
    if max_rows < 1:
        raise InputError("max_rows", "1 or more", f"{max_rows}", "Leave it out for the default.")
    loss = attributor.objective.loss
    is_classifier = not isinstance(loss, NO_CLASSIFIERS) and len(outputs) > 1
    if not is_classifier or labels.is_floating_point() or labels.dim() != 1:
        raise InputError(
            WHERE,
            "a classifier of two or more classes, with one class number as label of each row",
            f"{len(outputs)} outputs, {type(loss).__name__}, labels of shape {list(labels.shape)}",
            "Give a model with one output for each class and a loss such as CrossEntropy.",
        )
    if not bool(torch.isfinite(outputs).all()):
        raise InputError(
            "query",
            "finite outputs of the model",
            "NaN or infinity",
            "Look at the query and at the model: no prediction can be explained without outputs.",
        )


def list_limits(
    obstacle: str | None,
    leverage: float,
    residuals: tuple[float, float],
    left_out: int,
    rivals: tuple[int, int],
) -> tuple[str, ...]:
    """Return sentences on what limits the prediction of a flip set.

    Args:
        obstacle: Reason why the curvature of the rows is not removed with them; None if it is.
        leverage: Leverage of the rows together.
        residuals: Largest relative residual of the solves, and that of the last Newton step.
        left_out: Number of training rows without a finite gradient.
        rivals: Number of competing classes, and how many of them were corrected.
    """
    limits = []
    if obstacle is not None:
        limits.append(f"The curvature of the rows stays in the step: {obstacle}.")
    if not leverage < HIGH_LEVERAGE:
        limits.append(
            f"The leverage of the rows together is {leverage:.2g}: near 1 they alone determine a "
            "direction of the parameters, and the prediction is uncertain."
        )
    if not residuals[0] < UNRELIABLE_RESIDUAL:
        limits.append(
            f"The relative residual of the linear systems is {residuals[0]:.2g}: the effects are "
            "not exact. Raise the damping, or use the dual solver."
        )
    if not residuals[1] < UNCONVERGED:
        limits.append(
            f"After the last Newton step the gradient is {residuals[1]:.2g} of that before the "
            "first: the steps have not converged, and the predicted margin is uncertain."
        )
    if left_out:
        limits.append(f"{left_out} training rows without a finite gradient are in no set.")
    if rivals[0] > rivals[1]:
        limits.append(
            f"Of {rivals[0]} competing classes the {rivals[1]} with the smallest sets to first "
            "order were corrected to second order."
        )
    return tuple(limits)
