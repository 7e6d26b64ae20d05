"""The problem that a model was trained on, by its configuration, and the loss for it."""

from transformers import PreTrainedModel

from fastif.errors import InputError
from fastif.losses import BinaryCrossEntropy, CrossEntropy, Loss, SmoothHinge, SquaredError

SINGLE, SEVERAL, REGRESSION = (
    "single_label_classification",
    "multi_label_classification",
    "regression",
)
LOSSES = {
    SINGLE: (CrossEntropy, SmoothHinge),
    SEVERAL: (BinaryCrossEntropy,),
    REGRESSION: (SquaredError,),
}
"""Losses of the library that were minimised by `problem_type`, the usual one first."""


def problem_of(model: PreTrainedModel) -> str | None:
    """The `problem_type` of a model; None if nothing says it.

    A single output unit is a regression, as transformers takes it to be.
    """
    stated = getattr(model.config, "problem_type", None)
    if stated is None and model.config.num_labels == 1:
        return REGRESSION
    return stated


def loss_of(model: PreTrainedModel, loss: Loss | None) -> Loss:
    """The loss that was minimised: the caller's, or the usual one of the model's `problem_type`.

    Raises:
        InputError: the caller's belongs to another problem.
    """
    problem = problem_of(model)
    fitting = LOSSES.get(problem or SINGLE, LOSSES[SINGLE])
    if loss is None:
        return fitting[0]()
    known = tuple(kind for kinds in LOSSES.values() for kind in kinds)
    if not isinstance(loss, known) or problem is None or isinstance(loss, fitting):
        return loss
    if model.config.num_labels == 1 and isinstance(loss, BinaryCrossEntropy):
        return loss
    raise InputError(
        f"model {model.config._name_or_path or type(model).__name__}",
        f"the loss of its problem_type {problem!r}, {' or '.join(k.__name__ for k in fitting)}",
        type(loss).__name__,
        "Take that loss, or a model that was trained with yours (correct problem_type in its "
        "configuration if it was).",
    )
