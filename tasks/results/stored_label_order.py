"""Order of the labels that fits the stored predictions of the training rows."""

import polars as pl

from storage import Store
from tasks.models.label_order import LabelReordering, find_better_label_order
from tasks.results.run_target import read_target
from tasks.study.target_kind import CLASS, NO_TAG, TAGS


def find_other_order(store: Store, run: str) -> LabelReordering | None:
    """Find an order of the labels that fits the predictions on the training rows better.

    Args:
        store: Store with the run.
        run: Name of the run; None is returned if its targets are neither one class each nor tags.
    """
    kind = read_target(store.read_record(run))
    if kind not in (CLASS, TAGS):
        return None
    rows = store.scan("train", run).select("label", "prediction").drop_nulls().collect()
    if kind == TAGS:  # one row a word with both
        words = rows.with_columns(pl.all().str.split(" ")).explode("label", "prediction")
        rows = words.filter(pl.all_horizontal(pl.all() != NO_TAG))
    labels = sorted({*rows["label"].to_list(), *rows["prediction"].to_list()})
    position = {label: i for i, label in enumerate(labels)}
    given, predicted = (
        [position[label] for label in rows[name].to_list()] for name in rows.columns
    )
    return find_better_label_order(given, predicted, labels)
