"""Changes of the training record since a run was finished.

A run stores its comparison with the training record. The results of a run do not depend on that
record or on `[training]`, so both can change afterwards.
"""

from collections.abc import Iterator

from storage import Store
from tasks.models.compare_training import LENGTH, TrainingDifference
from tasks.models.locate import find_model_folders
from tasks.models.provenance import CHANGED, compare_settings, parse_provenance
from tasks.models.training_record import read_record
from tasks.run.spec import RunPlan

REQUIRES_MODEL = (LENGTH, CHANGED)
"""Kinds of differences that are not checked again, since they need the model or its tokens."""


def find_changes_since(store: Store, plan: RunPlan) -> Iterator[str]:
    """Yield one sentence for each difference that appeared or disappeared since the run finished.

    Raises:
        InputError: see `tasks.models.provenance.collect_provenance`.
    """
    study, table = plan.inputs.study, plan.inputs.train
    facts = store.scan("runs", plan.record.run).collect().to_dicts()
    provenance = parse_provenance(facts[0].get("training")) if facts else None
    recorded = provenance[0] if provenance else ()
    records = [read_record(folder) for folder in find_model_folders(study)]
    current: dict[TrainingDifference, None] = {}
    for record in records:
        current |= dict.fromkeys(compare_settings(record, study, table) if record else ())
    for difference in current:
        if difference not in recorded:
            yield f"Since this run was finished: {difference}"
    for difference in recorded:
        if difference not in current and difference.means not in REQUIRES_MODEL and any(records):
            yield f"Recorded in the run, but no longer true: {difference.what}."
