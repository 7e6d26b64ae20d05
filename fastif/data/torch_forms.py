"""Conversion of torch's losses and data sets; those without an equivalent are refused."""

from typing import Any

from torch import nn
from torch.utils.data import DataLoader, Dataset

from fastif.data.arrays import format_type_name
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.losses import CrossEntropy, Loss, Measure

ExamplesLike = Examples | Any
"""Examples; anything else is refused with a remedy, see `as_examples`."""

REPLACEMENTS = {
    nn.CrossEntropyLoss: "fastif.CrossEntropy(label_smoothing, class_weights)",
    nn.NLLLoss: "fastif.CrossEntropy() and a model that returns logits",
    nn.BCEWithLogitsLoss: 'fastif.BinaryCrossEntropy(pos_weight, reduction="mean")',
    nn.BCELoss: 'fastif.BinaryCrossEntropy(reduction="mean") and a model that returns logits',
    nn.MSELoss: 'fastif.SquaredError(reduction="mean")',
    nn.HuberLoss: 'fastif.losses.Huber(delta, reduction="mean")',
    nn.SmoothL1Loss: 'fastif.losses.Huber(1.0, reduction="mean") for beta = 1, 1/beta of its Huber',
    nn.HingeEmbeddingLoss: "fastif.SmoothHinge()",
    nn.MultiMarginLoss: "fastif.SmoothHinge()",
}
"""Equivalents of torch's losses, which average over other quantities."""


def as_loss(loss: object) -> Loss:
    """Return the loss; a plain `nn.CrossEntropyLoss` becomes `CrossEntropy`.

    Raises:
        InputError: The value is another loss of torch, or no loss.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, nn.CrossEntropyLoss) and _is_plain(loss):
        return CrossEntropy(loss.label_smoothing)
    raise InputError(
        "loss",
        "a loss of fastif, with one value for each example",
        format_type_name(loss),
        _suggest_replacement(loss),
    )


def as_measure(measure: object) -> Measure | None:
    """Return the measure of queries, converted as by `as_loss`; None stays None.

    Raises:
        InputError: The value is neither a loss nor a measure.
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
    """Return the examples unchanged, or refuse other forms of data.

    Raises:
        InputError: The value is a torch data set, a data loader, or no examples.
    """
    if isinstance(examples, Examples):
        return examples
    remedy = "Give fastif.TensorExamples(inputs, labels), or a subclass of fastif.Examples."
    if isinstance(examples, DataLoader):
        remedy = "A data loader may shuffle and change rows; give " + remedy[5:]
    elif isinstance(examples, Dataset):
        remedy = "Give fastif.TensorExamples(*dataset.tensors), or a subclass of fastif.Examples."
    raise InputError(
        where, "fastif.Examples, which are read by position", format_type_name(examples), remedy
    )
