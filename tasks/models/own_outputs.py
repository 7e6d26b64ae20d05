"""Check of the outputs of an own module: one logit for each label, and no probabilities."""

import torch
from jaxtyping import Float
from torch import Tensor

import fastif
from fastif import InputError
from fastif.models.binary_logit import BinaryLogitObjective
from tasks.models.target_outputs import check_output_count, has_thresholds
from tasks.study.study import Study
from tasks.study.target_kind import CLASS, MULTI_LABEL, NUMBER

ROWS = 64
"""Number of training rows whose outputs are examined."""

ROUNDING = 1e-4
"""Deviation from one of sums of probabilities, in single precision and summed by any method."""


def check_outputs(study: Study, objective: fastif.Objective, examples: fastif.Examples) -> None:
    """Refuse a module with another number of outputs than labels, or with probabilities.

    The cross-entropy of probabilities is finite, has gradients and looks like a poor classifier,
    so nothing else would notice them. Logarithms of probabilities are logits.

    Raises:
        InputError: The outputs are not logits, one for each label.
    """
    batch = examples.take(torch.arange(min(ROWS, len(examples))))
    outputs = objective.outputs(objective.params, batch)
    where = f"model {study.model.factory}"
    if study.target == CLASS and outputs.shape[1] != len(study.labels):
        raise InputError(
            where,
            f"{len(study.labels)} outputs, one for each label of the study",
            f"{outputs.shape[1]}",
            "Correct `labels`, or return nn.BCEWithLogitsLoss() for a single logit and two labels.",
        )
    check_output_count(study, outputs.shape[1])
    if study.target == NUMBER:
        return
    if study.target == MULTI_LABEL or has_thresholds(study):
        if bool(((outputs >= 0) & (outputs <= 1)).all()):
            raise InputError(
                where,
                "logits, as nn.BCEWithLogitsLoss() takes them",
                "outputs between 0 and 1 in every row: probabilities",
                "Return the module without its sigmoid.",
            )
        return
    if isinstance(objective, BinaryLogitObjective):
        # A trained classifier with such logits would predict the second label for every row.
        if bool(((outputs[:, 1] >= 0) & (outputs[:, 1] <= 1)).all()):
            raise InputError(
                where,
                "logits, as nn.BCEWithLogitsLoss() takes them",
                "outputs between 0 and 1 in every row: probabilities",
                "Return the module without its sigmoid.",
            )
    elif _are_probabilities(outputs):
        raise InputError(
            where,
            "logits, as nn.CrossEntropyLoss() takes them",
            "outputs between 0 and 1 whose sum is 1 in every row: probabilities",
            "Return the module without its softmax, or the logarithms of its probabilities.",
        )


def _are_probabilities(outputs: Float[Tensor, "n c"]) -> bool:
    """Whether each row is a distribution over the labels."""
    sums_to_one = (outputs.sum(1) - 1).abs() <= ROUNDING
    return bool((outputs >= 0).all() and sums_to_one.all())
