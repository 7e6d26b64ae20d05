"""Targets as tensors, losses of queries and predictions, by the kind of target of a study."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.binary_cross_entropy import BinaryCrossEntropy
from fastif.losses.cross_entropy import CrossEntropy
from fastif.losses.loss import Loss
from fastif.losses.measure import Measure
from fastif.losses.sample_weighted import SampleWeighted, weight_targets
from fastif.losses.token_cross_entropy import TokenCrossEntropy
from fastif.losses.unweighted import Unweighted
from fastif.models.problem_type import MULTI_LABEL as MULTI_LABEL_PROBLEM
from fastif.models.problem_type import REGRESSION, SINGLE_LABEL
from tasks.data.table import Table
from tasks.data.target_text import UNTAGGED, Target
from tasks.study.loss import KINDS_OF_TARGET, TrainingLoss
from tasks.study.study import Study
from tasks.study.target_kind import MULTI_LABEL, NUMBER, ONE_CLASS, ORDINAL, SOFT_LABEL, TAGS

NUMERIC_LOSSES = ("squared", "huber")
"""Kinds of losses whose outputs are numbers."""


def make_targets(study: Study, table: Table) -> Shaped[Tensor, "n *t"]:
    """Return the targets of a table as the study's losses expect them.

    Class numbers [n]; numbers [n 1]; or numbers of each label [n c]. With weights of rows these
    are the first column, 1 for queries.

    Raises:
        InputError: A row has no target.
    """
    targets = make_plain_targets(study, table.targets, table.focus)
    return weight_rows(study, targets, table.weights)


def weight_rows(
    study: Study, targets: Shaped[Tensor, "n *t"], weights: Sequence[float] | None = None
) -> Shaped[Tensor, "n *t"]:
    """Return targets with the weights of rows in front, if the study has weights; 1 for queries."""
    if study.train.weight is None:
        return targets
    ones = torch.ones(len(targets), dtype=torch.float64)
    return weight_targets(targets, ones if weights is None else torch.tensor(weights).double())


def make_plain_targets(
    study: Study, targets: Sequence[Target], focus: Sequence[int] | None = None
) -> Shaped[Tensor, "n *t"]:
    """Return targets as a tensor without weights of rows; see `make_targets`.

    Args:
        study: Study file.
        targets: Target of each row.
        focus: Position of the one label that each row is about; the others are missing, NaN.
    """
    if has_ranks(study):
        return torch.tensor(list(targets), dtype=torch.float32)[:, None]
    if study.target in ONE_CLASS:
        return torch.tensor(list(targets), dtype=torch.long)
    rows = [list(row) if isinstance(row, tuple) else [row] for row in targets]
    numbers = torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(study.labels))
    if focus is None:
        return numbers
    chosen = torch.tensor(list(focus), dtype=torch.long)[:, None]
    return torch.full_like(numbers, torch.nan).scatter(1, chosen, numbers.gather(1, chosen))


def has_thresholds(study: Study) -> bool:
    """Whether the outputs are thresholds between ordered classes, one less than classes."""
    return study.target == ORDINAL and get_loss_kind(study) == "ordinal"


def has_ranks(study: Study) -> bool:
    """Whether the single output is a number, the rank of an ordered class from 0."""
    return study.target == ORDINAL and get_loss_kind(study) in NUMERIC_LOSSES


def get_loss_kind(study: Study) -> str:
    """Return the kind of the study's loss: that of `[loss]`, or the usual one of the target."""
    return study.loss.kind or KINDS_OF_TARGET[study.target][0]


def has_margins(study: Study) -> bool:
    """Whether a row's margin is defined: one class a row, with an output for each class."""
    return study.target in ONE_CLASS and get_loss_kind(study) in ("cross-entropy", "focal")


def count_outputs(study: Study) -> int:
    """Return the number of outputs of the study's model."""
    if has_ranks(study):
        return 1
    return len(study.labels) - (1 if has_thresholds(study) else 0)


def check_output_count(study: Study, outputs: int | None) -> None:
    """Refuse a model with another number of outputs than the study's labels need.

    Raises:
        InputError: It has another number.
    """
    expected = count_outputs(study)
    if outputs == expected:
        return
    what = "one for each label of the study"
    if has_thresholds(study):
        what = "one for each threshold between the ordered labels"
    if has_ranks(study):
        what = "the rank of the ordered label"
    raise InputError(
        f"model {study.model.factory or study.model.path}",
        f"{expected} outputs, {what}",
        f"{outputs}",
        "Correct `labels`, or use the model that was trained on them.",
    )


def get_problem_type(study: Study) -> str:
    """Return the problem type of the study's model, in the words of transformers."""
    if has_ranks(study):
        return REGRESSION
    return {MULTI_LABEL: MULTI_LABEL_PROBLEM, NUMBER: REGRESSION}.get(study.target, SINGLE_LABEL)


def get_new_problem_type(study: Study) -> str | None:
    """Return the problem type for the configuration of a new head; None for one class a row."""
    problem_type = get_problem_type(study)
    return None if problem_type == SINGLE_LABEL and study.target in ONE_CLASS else problem_type


def make_head_names(study: Study) -> list[str]:
    """Return names for the outputs of a new head: labels, thresholds between them, or the rank."""
    if has_thresholds(study):
        return [f"above {label}" for label in study.labels[:-1]]
    return ["rank"] if has_ranks(study) else list(study.labels)


def get_output_names(study: Study) -> Sequence[str] | None:
    """Return the names of the model's outputs; None for thresholds or ranks of ordered classes."""
    return None if has_thresholds(study) or has_ranks(study) else study.labels


def make_training_loss(study: Study, table: Table) -> Loss:
    """Return the loss of training of the study, with weights of rows if it names their column.

    Raises:
        InputError: balanced class weights, but a label without training rows.
    """
    loss = study.loss.build(table.targets, len(study.labels), study.target)
    return loss if study.train.weight is None else SampleWeighted(loss)


def compute_class_weights(study: Study, table: Table) -> Sequence[float] | None:
    """Return the class weights of the study's loss, computed from the rows if they are balanced."""
    if study.loss.class_weights != "balanced":
        return study.loss.class_weights
    return study.loss.compute_class_weights(table.labels, len(study.labels))


def count_factor_columns(study: Study) -> int:
    """Return the number of columns of the factor of the loss Hessian, by which passes are counted.

    The softmax of C classes has C - 1 of them, and tags of words so many a word; losses of
    independent outputs have one an output.
    """
    is_softmax = has_margins(study) or study.target in (SOFT_LABEL, TAGS)
    return len(study.labels) - 1 if is_softmax else count_outputs(study)


def make_query_loss(study: Study) -> Measure:
    """Return the loss of a query: that of training, without weights, smoothing and focusing."""
    return unweight(study, make_plain_loss(study))


def make_plain_loss(study: Study) -> Loss:
    """Return the loss of a row by its target alone, without a weight."""
    if has_margins(study) or study.target == SOFT_LABEL:
        return CrossEntropy()
    if study.target == TAGS:
        return TokenCrossEntropy()
    if study.target == MULTI_LABEL:
        reduction = study.loss.reduction or "mean"
        return BinaryCrossEntropy(None, reduction, skip_missing=study.queries.by_label)
    kept = study.loss.model_dump(include={"huber_delta", "ordinal_kind", "reduction"})
    return TrainingLoss(kind=study.loss.kind, **kept).build((), len(study.labels), study.target)


def unweight(study: Study, measure: Measure) -> Measure:
    """Return a measure of queries as one of targets with a weight, if the study has weights."""
    return measure if study.train.weight is None else Unweighted(measure)


def predict_targets(study: Study, outputs: Float[Tensor, "b c"]) -> list[Target]:
    """Return the predicted target of each row: classes, label sets, probabilities or numbers."""
    outputs = outputs.detach().cpu()
    if has_thresholds(study):
        return count_passed(study, outputs).tolist()
    if has_ranks(study):
        ranks = outputs[:, 0].nan_to_num(0.0)
        return ranks.round().clamp(0, len(study.labels) - 1).long().tolist()
    if study.target in ONE_CLASS:
        return outputs.argmax(1).tolist()
    if study.target == NUMBER:
        return [row[0] if len(row) == 1 else tuple(row) for row in outputs.tolist()]
    if study.target == MULTI_LABEL:
        return [tuple(row) for row in (outputs > 0).double().tolist()]
    return [tuple(row) for row in outputs.softmax(1).tolist()]


def count_passed(study: Study, outputs: Float[Tensor, "b k"]) -> Int[Tensor, " b"]:
    """Return the ordered class of each row: the number of thresholds that are passed.

    Conditional thresholds (CORN) pass where the product of the probabilities up to them exceeds
    one half.
    """
    if study.loss.ordinal_kind == "corn":
        return (outputs.sigmoid().cumprod(1) > 0.5).sum(1)
    return (outputs > 0).sum(1)


def compute_accuracy(
    study: Study, targets: Sequence[Target], predicted: Sequence[Target]
) -> float | None:
    """Return the share of rows whose target is predicted; None for numbers."""
    pairs = zip(targets, predicted, strict=True)
    correct = [is_predicted(study, target, prediction) for target, prediction in pairs]
    return None if None in correct else sum(map(bool, correct)) / len(correct)


def round_prediction(study: Study, prediction: Target) -> Target:
    """Return a prediction with the digits that single precision has, as it is displayed."""
    if study.target not in (NUMBER, SOFT_LABEL):
        return prediction
    values = prediction if isinstance(prediction, tuple) else (prediction,)
    digits = tuple(float(f"{value:.6g}") for value in values)
    return digits if isinstance(prediction, tuple) else digits[0]


def is_predicted(
    study: Study, given: Target | None, prediction: Target, focus: int | None = None
) -> bool | None:
    """Whether the predicted target equals the given one; None without, or for numbers.

    Of probabilities the most probable classes are compared, of several labels with a focus this
    label alone, and of tags those of all words that have one and are read.
    """
    if given is None or study.target == NUMBER:
        return None
    if study.target == SOFT_LABEL and isinstance(given, tuple) and isinstance(prediction, tuple):
        return given.index(max(given)) == prediction.index(max(prediction))
    if study.target == TAGS and isinstance(given, tuple) and isinstance(prediction, tuple):
        return _are_predicted(given, prediction)
    if focus is not None and isinstance(given, tuple) and isinstance(prediction, tuple):
        return given[focus] == prediction[focus]
    return given == prediction


def _are_predicted(given: Sequence[float], prediction: Sequence[float]) -> bool | None:
    """Whether all given tags are predicted; None if no tag has a prediction."""
    pairs = [pair for pair in zip(given, prediction, strict=True) if UNTAGGED not in pair]
    return all(tag == other for tag, other in pairs) if pairs else None
