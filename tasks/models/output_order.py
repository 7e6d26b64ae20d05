"""Order of the outputs of a model of several labels or soft labels, compared with the study's."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import fastif
from fastif.losses.binary_cross_entropy import BinaryCrossEntropy
from tasks.data.dataset import Table
from tasks.models.target_outputs import make_plain_targets
from tasks.study.errors import join_some
from tasks.study.study import Study
from tasks.study.target_kind import MULTI_LABEL, SOFT_LABEL

SAMPLED_ROWS = 128
LEAST_GAIN = 0.1
"""Least share of the loss by which another order has to be better."""


def find_better_output_order(
    outputs: Float[Tensor, "n c"], targets: Float[Tensor, "n c"], labels: Sequence[str]
) -> list[str] | None:
    """Return the order of labels that fits the outputs clearly better than the given one, or None.

    It is the assignment of labels to outputs with the least binary cross-entropy (Kuhn, 1955).

    Args:
        outputs: Outputs of the model.
        targets: Numbers from 0 to 1 of each label.
        labels: Label names in the order of the study.

    Examples:
        >>> outputs = torch.tensor([[4.0, -4.0], [-4.0, 4.0]])
        >>> find_better_output_order(outputs, torch.tensor([[0.0, 1.0], [1.0, 0.0]]), ["a", "b"])
        ['b', 'a']
        >>> find_better_output_order(outputs, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), ["a", "b"])
    """
    loss = BinaryCrossEntropy()
    losses = torch.stack(
        [
            torch.stack([loss(output[:, None], target).mean() for target in targets.T])
            for output in outputs.T
        ]
    )
    _, assigned = linear_sum_assignment(losses.cpu().numpy())
    given, best = float(losses.diagonal().sum()), float(losses[range(len(losses)), assigned].sum())
    if best > (1 - LEAST_GAIN) * given:
        return None
    return [labels[int(place)] for place in assigned]


def list_order_notes(
    study: Study, objective: fastif.Objective, examples: fastif.Examples, table: Table
) -> list[str]:
    """Return a note if a sample of the training rows fits another order of the labels better.

    Of classes the predictions of all rows are compared after the audit.

    Args:
        study: Study file.
        objective: Model and loss.
        examples: Training rows as inputs of the model.
        table: Training rows.
    """
    if study.target not in (MULTI_LABEL, SOFT_LABEL):
        return []
    generator = torch.Generator().manual_seed(0)
    ids = torch.randperm(len(table), generator=generator)[:SAMPLED_ROWS]
    outputs, _ = fastif.predict(objective, examples, ids=ids)
    targets = make_plain_targets(study, [table.targets[i] for i in ids.tolist()])
    order = find_better_output_order(outputs, targets.to(outputs.device), study.labels)
    if order is None:
        return []
    return [
        f"labels: the outputs of the model fit the order {join_some(order)} better than that of "
        "the study: correct labels if the model was trained in that order"
    ]
