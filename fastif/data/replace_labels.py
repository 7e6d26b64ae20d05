"""Replacement of the labels of examples that hold them in memory."""

import copy
from typing import TypeVar

from jaxtyping import Shaped
from torch import Tensor

from fastif.data.arrays import check_label_count
from fastif.data.examples import LabeledExamples

AnyLabeled = TypeVar("AnyLabeled", bound=LabeledExamples)


def replace_labels(examples: AnyLabeled, labels: Shaped[Tensor, "n *t"]) -> AnyLabeled:
    """Return a view of the same examples with other labels.

    Raises:
        InputError: The number of labels differs from that of the examples.

    Examples:
        >>> import torch
        >>> from fastif import TensorExamples
        >>> rows = TensorExamples([[1.0], [2.0]], [0, 1])
        >>> replace_labels(rows, torch.tensor([1, 1])).take(torch.tensor([0]))["labels"]
        tensor([1])
    """
    check_label_count(len(examples), len(labels), type(examples).__name__)
    other = copy.copy(examples)
    object.__setattr__(other, "labels", labels)  # works for frozen dataclasses as well
    if (lookahead := getattr(examples, "lookahead", None)) is not None:
        # batches that were read ahead have the labels before
        object.__setattr__(other, "lookahead", copy.copy(lookahead))
    return other
