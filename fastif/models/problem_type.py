"""Problem type of a model by its configuration, and the loss that belongs to it."""

from typing import Any

from fastif.errors import InputError
from fastif.losses import (
    BinaryCrossEntropy,
    BinaryFocalLoss,
    CrossEntropy,
    FocalLoss,
    Huber,
    Loss,
    SampleWeighted,
    SmoothHinge,
    SquaredError,
)

SINGLE_LABEL, MULTI_LABEL, REGRESSION = (
    "single_label_classification",
    "multi_label_classification",
    "regression",
)
LOSSES = {
    SINGLE_LABEL: (CrossEntropy, SmoothHinge, FocalLoss),
    MULTI_LABEL: (BinaryCrossEntropy, BinaryFocalLoss),
    REGRESSION: (SquaredError, Huber),
}
"""Losses of the library by `problem_type`, the usual one first."""


def read_problem_type(model: Any) -> str | None:
    """Return the `problem_type` of a model; None if the configuration has none.

    One output unit means regression, as in transformers.
    """
    problem = getattr(model.config, "problem_type", None)
    if problem is None and model.config.num_labels == 1:
        return REGRESSION
    return problem


def select_loss(model: Any, loss: Loss | None) -> Loss:
    """Return the given loss, or the usual one of the model's `problem_type`.

    Raises:
        InputError: If the given loss belongs to another problem type.
    """
    problem = read_problem_type(model)
    suitable = LOSSES.get(problem or SINGLE_LABEL, LOSSES[SINGLE_LABEL])
    if loss is None:
        return suitable[0]()
    known = tuple(kind for kinds in LOSSES.values() for kind in kinds)
    plain = loss.loss if isinstance(loss, SampleWeighted) else loss
    if not isinstance(plain, known) or problem is None or isinstance(plain, suitable):
        return loss
    if model.config.num_labels == 1 and isinstance(plain, LOSSES[MULTI_LABEL]):
        return loss
    raise InputError(
        f"model {model.config._name_or_path or type(model).__name__}",
        f"the loss of its problem_type {problem!r}, {' or '.join(k.__name__ for k in suitable)}",
        type(plain).__name__,
        "Use that loss, or a model that was trained with yours (correct problem_type in its "
        "configuration if it was).",
    )
