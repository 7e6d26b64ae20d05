"""The recall that a run stored, read back."""

import json

from fastif.evaluation.recall import Recall
from storage import Store


def recall_of(store: Store, run: str) -> list[Recall]:
    """What the row of a finished run says; empty if it was not measured."""
    (told,) = store.scan("runs", run).select("recall").collect()["recall"].to_list()
    return [Recall(**one) for one in json.loads(told or "[]")]
