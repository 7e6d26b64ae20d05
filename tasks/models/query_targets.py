"""Measure and target of each query: its label, or the label that the model predicts."""

from collections.abc import Sequence

from jaxtyping import Shaped
from torch import Tensor

import fastif
from fastif.data.examples import LabeledExamples
from fastif.losses.measure import Measure
from fastif.losses.query_measure import (
    HUBER_LOSS,
    LOG_PROBABILITY,
    LOSS,
    QUERY_MEASURES,
    SQUARED_ERROR,
    QueryMeasure,
)
from tasks.data.dataset import Table
from tasks.data.target_text import Target
from tasks.models.row_predictions import make_row_targets, predict_rows
from tasks.models.target_outputs import (
    get_loss_kind,
    has_ranks,
    make_query_loss,
    unweight,
    weight_rows,
)
from tasks.study.study import Study
from tasks.study.target_kind import NUMBER, SOFT_LABEL


def list_measures(study: Study, queries: Table) -> list[QueryMeasure]:
    """Return the measure of each query; "auto" is the loss where there is a label."""
    common = get_common_measure(study)
    if study.target == NUMBER or has_ranks(study) or study.queries.measure != "auto":
        return [common] * len(queries)
    return [LOG_PROBABILITY if label is None else LOSS for label in queries.given_labels]


def get_common_measure(study: Study) -> QueryMeasure:
    """Return a measure with the sign and unit of all queries; both of "auto" have one function."""
    if study.target == NUMBER or has_ranks(study):
        return HUBER_LOSS if get_loss_kind(study) == "huber" else SQUARED_ERROR
    name = study.queries.measure
    return LOSS if name == "auto" else QUERY_MEASURES[name]


def make_measure_function(study: Study) -> Measure:
    """Return the function of outputs and targets whose effects are explained for every query."""
    measure = get_common_measure(study)
    is_of_loss = measure in (LOSS, LOG_PROBABILITY, SQUARED_ERROR, HUBER_LOSS)
    return make_query_loss(study) if is_of_loss else unweight(study, measure.function)


def needs_predictions(study: Study, queries: Table) -> bool:
    """Whether the target of a query is the predicted label."""
    return any(not measure.needs_label for measure in list_measures(study, queries))


def predict_queries(
    study: Study, objective: fastif.Objective, queries: LabeledExamples
) -> list[Target]:
    """Return the predicted target of each query; the labels of the examples have no part in it."""
    outputs, _ = fastif.predict(objective, queries)
    return predict_rows(study, outputs, queries, fastif.all_ids(queries))


def choose_targets(
    study: Study, queries: Table, predicted: Sequence[Target], examples: LabeledExamples
) -> Shaped[Tensor, "q *t"]:
    """Return the target of each query: the label where the measure needs one, else the prediction.

    Args:
        study: Study file, which names the measure.
        queries: Table of queries.
        predicted: Predicted target of each query, by the first model.
        examples: Queries as inputs of the model.
    """
    measures = list_measures(study, queries)
    targets = [
        label if measure.needs_label and label is not None else _choose_class(study, prediction)
        for measure, label, prediction in zip(
            measures, queries.given_labels, predicted, strict=True
        )
    ]
    ids = fastif.all_ids(examples)
    return weight_rows(study, make_row_targets(study, targets, queries.focus, examples, ids))


def _choose_class(study: Study, prediction: Target) -> Target:
    """Return the most probable class of predicted probabilities, with all of the probability.

    At the predicted probabilities themselves the cross-entropy has no gradient.
    """
    if study.target != SOFT_LABEL or not isinstance(prediction, tuple):
        return prediction
    best = prediction.index(max(prediction))
    return tuple(float(place == best) for place in range(len(prediction)))
