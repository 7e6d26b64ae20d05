"""What the record of a training says by now of a run that is shown again.

A run keeps what the record said when it was finished; the recipe of [training] and the record are
no part of what its numbers depend on, so that both may change afterwards.
"""

from collections.abc import Iterator

from storage import Store
from tasks.models.locate import model_folders
from tasks.models.provenance import (
    CHANGED,
    LENGTH,
    Difference,
    of_the_settings,
    told_provenance,
)
from tasks.models.training_record import read_record
from tasks.run.spec import Plan

NEED_THE_MODEL = (LENGTH, CHANGED)
"""Meanings of differences that are not looked for again: they need the model, or its tokens."""


def changed_since(store: Store, plan: Plan) -> Iterator[str]:
    """Differences that came, or went, since a run was finished, sentence by sentence.

    Raises:
        InputError: as `tasks.models.provenance.provenance_of`.
    """
    study, table = plan.inputs.study, plan.inputs.train
    facts = store.scan("runs", plan.record.run).collect().to_dicts()
    told = told_provenance(facts[0].get("training")) if facts else None
    before = told[0] if told else ()
    records = [read_record(folder) for folder in model_folders(study)]
    now: dict[Difference, None] = {}
    for record in records:
        now |= dict.fromkeys(of_the_settings(record, study, table) if record else ())
    for one in now:
        if one not in before:
            yield f"Since this run was finished: {one}"
    for one in before:
        if one not in now and one.means not in NEED_THE_MODEL and any(records):
            yield f"No longer so, though the run says it: {one.what}."
