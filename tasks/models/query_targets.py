"""Measure and target of each query: its label, or the label that the model predicts."""

from collections.abc import Sequence

import fastif
from fastif.data.examples import LabeledExamples
from fastif.losses.query_measure import LOG_PROBABILITY, LOSS, QUERY_MEASURES, QueryMeasure
from tasks.data.dataset import Table
from tasks.study.study import Study


def list_measures(study: Study, queries: Table) -> list[QueryMeasure]:
    """Return the measure of each query; "auto" is the loss where there is a label."""
    name = study.queries.measure
    if name != "auto":
        return [QUERY_MEASURES[name]] * len(queries)
    return [LOG_PROBABILITY if label is None else LOSS for label in queries.given_labels]


def get_common_measure(study: Study) -> QueryMeasure:
    """Return a measure with the function of all queries: both of "auto" have one function."""
    name = study.queries.measure
    return LOSS if name == "auto" else QUERY_MEASURES[name]


def needs_predictions(study: Study, queries: Table) -> bool:
    """Whether the target of a query is the predicted label."""
    return any(not measure.needs_label for measure in list_measures(study, queries))


def predict_labels(objective: fastif.Objective, queries: LabeledExamples) -> list[int]:
    """Return the predicted label of each query; the labels of the examples have no part in it."""
    outputs, _ = fastif.predict(objective, queries)
    return outputs.argmax(1).tolist()


def choose_targets(study: Study, queries: Table, predicted: Sequence[int]) -> list[int]:
    """Return the target of each query: the label where the measure needs one, else the prediction.

    Args:
        study: Study file, which names the measure.
        queries: Table of queries.
        predicted: Predicted label of each query, by the first model.
    """
    measures = list_measures(study, queries)
    return [
        label if measure.needs_label and label is not None else prediction
        for measure, label, prediction in zip(
            measures, queries.given_labels, predicted, strict=True
        )
    ]
