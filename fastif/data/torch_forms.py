"""Losses and examples given in torch's form: taken over where they mean the same, or refused."""

from typing import Any

from torch import nn
from torch.utils.data import DataLoader, Dataset

from fastif.data.arrays import format_type_name
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.losses import CrossEntropy, Loss, Measure

ExamplesLike = Examples | Any
"""Examples, where something else is refused in words; see `as_examples`."""

REPLACEMENTS = {
    nn.CrossEntropyLoss: "fastif.CrossEntropy(label_smoothing, class_weights)",
    nn.NLLLoss: "fastif.CrossEntropy() and a model that returns logits",
    nn.BCEWithLogitsLoss: "fastif.BinaryCrossEntropy(pos_weight), which sums over the outputs",
    nn.BCELoss: "fastif.BinaryCrossEntropy() and a model that returns logits",
    nn.MSELoss: "fastif.SquaredError(), which sums over the outputs",
    nn.HingeEmbeddingLoss: "fastif.SmoothHinge()",
    nn.MultiMarginLoss: "fastif.SmoothHinge()",
}
"""What is taken in the place of torch's losses, whose means are over other things."""


def as_loss(loss: object) -> Loss:
    """The loss; a plain `nn.CrossEntropyLoss` is `CrossEntropy`.

    Raises:
        InputError: it is another loss of torch, or no loss.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, nn.CrossEntropyLoss) and _is_plain(loss):
        return CrossEntropy(loss.label_smoothing)
    raise InputError(
        "loss",
        "a loss of fastif, a number for each example",
        format_type_name(loss),
        _suggest_replacement(loss),
    )


def as_measure(measure: object) -> Measure | None:
    """What is asked of a query; likewise, and None stays None.

    Raises:
        InputError: it is neither a loss nor a measure.
    """
    return measure if measure is None or isinstance(measure, Measure) else as_loss(measure)


def _is_plain(loss: nn.CrossEntropyLoss) -> bool:
    is_unweighted = loss.weight is None and loss.ignore_index == -100
    return is_unweighted and loss.reduction in ("mean", "none")


def _suggest_replacement(loss: object) -> str:
    replacement = next(
        (text for kind, text in REPLACEMENTS.items() if isinstance(loss, kind)), None
    )
    return f"Give {replacement or 'fastif.CrossEntropy(), or a subclass of fastif.losses.Loss'}."


def as_examples(examples: object, where: str) -> Examples:
    """The examples themselves.

    Raises:
        InputError: they are a data set of torch, or anything else.
    """
    if isinstance(examples, Examples):
        return examples
    remedy = "Give fastif.TensorExamples(inputs, labels), or a subclass of fastif.Examples."
    if isinstance(examples, DataLoader):
        remedy = "A loader may shuffle and change rows; give " + remedy[5:]
    elif isinstance(examples, Dataset):
        remedy = "Give fastif.TensorExamples(*dataset.tensors), or a subclass of fastif.Examples."
    raise InputError(
        where, "examples that can be taken by position", format_type_name(examples), remedy
    )
