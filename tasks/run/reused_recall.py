"""The recall that a run stored, read back."""

import json

from fastif.evaluation.recall import Recall
from storage import Store


def read_recall(store: Store, run: str) -> list[Recall]:
    """What the row of a finished run says; empty if it was not measured."""
    (stored,) = store.scan("runs", run).select("recall").collect()["recall"].to_list()
    return [Recall(**fields) for fields in json.loads(stored or "[]")]
