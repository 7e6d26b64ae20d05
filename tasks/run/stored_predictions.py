"""Predicted labels of the queries in the store: the targets of measures that need no label.

All processes of a run, on any machine, read one list, so that a near tie of two labels has one
target.
"""

import json
from dataclasses import replace
from pathlib import Path

from fastif.data.replace_labels import replace_labels
from storage import Store, compute_fingerprint
from tasks.data.target_text import Target
from tasks.models.query_targets import choose_targets, needs_predictions, predict_queries
from tasks.run.context import RunContext
from tasks.run.spec import RunPlan, find_existing_store

KIND, FILE = "predictions", "predictions.json"


def predictions_digest(plan: RunPlan) -> str:
    """Return the cache key of the predicted labels: the first model and the queries."""
    parts = plan.record.parts
    names = ("mathematics", "model", "queries", "labels", "max_length")
    known = {name: parts[name] for name in names} | {k: parts[k] for k in ("target",) if k in parts}
    return compute_fingerprint({"predictions": known})


def read_predictions(store: Store, plan: RunPlan) -> list[Target] | None:
    """Read the predicted labels of the queries; None if they are not stored."""
    artifact = store.find_artifact(KIND, predictions_digest(plan))
    if artifact is None:
        return None
    stored = json.loads((artifact / FILE).read_text("utf-8"))
    return [tuple(row) if isinstance(row, list) else row for row in stored]


def write_predictions(store: Store, plan: RunPlan, predicted: list[Target]) -> None:
    """Write the predicted labels of the queries; an intact artifact is kept."""

    def write(folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(predicted) + "\n", "utf-8")

    store.write_artifact(KIND, predictions_digest(plan), write)


def resolve_targets(context: RunContext) -> RunContext:
    """Return the context with the target of each query: its label, or the predicted label.

    Predictions are read from the store, or computed if it has none yet.
    """
    study, queries = context.study, context.plan.inputs.queries
    if not needs_predictions(study, queries):
        return context
    store = find_existing_store(study)
    predicted = None if store is None else read_predictions(store, context.plan)
    if predicted is None:
        predicted = predict_queries(study, context.objective, context.query_examples)
    targets = choose_targets(study, queries, predicted, context.query_examples)
    examples = replace_labels(context.query_examples, targets)
    return replace(context, query_examples=examples, predicted=tuple(predicted))
