"""Order of the labels that fits the stored predictions of the training rows."""

from storage import Store
from tasks.models.label_order import LabelReordering, find_better_label_order
from tasks.results.run_target import read_target
from tasks.study.target_kind import CLASS


def find_other_order(store: Store, run: str) -> LabelReordering | None:
    """Find an order of the labels that fits the predictions on the training rows better.

    Args:
        store: Store with the run.
        run: Name of the run; None is returned if its targets are not one class each.
    """
    if read_target(store.read_record(run)) != CLASS:
        return None
    rows = store.scan("train", run).select("label", "prediction").drop_nulls().collect()
    labels = sorted({*rows["label"].to_list(), *rows["prediction"].to_list()})
    position = {label: i for i, label in enumerate(labels)}
    given, predicted = (
        [position[label] for label in rows[name].to_list()] for name in rows.columns
    )
    return find_better_label_order(given, predicted, labels)
