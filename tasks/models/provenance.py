"""Whether a model was trained as its study says, and what it means for each number if not.

For a model of `fastif train` everything is known: `tasks.models.training_record`. What differs
does not make the effects of other rows wrong by itself, so it is told; an order of labels that
differs would give each row another label, so it is refused.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fastif import InputError
from tasks.data.dataset import Table
from tasks.models.locate import base_folder, model_digest, model_folders
from tasks.models.training_record import (
    TrainingRecord,
    contents_of,
    how_of,
    read_record,
)
from tasks.study.errors import listed, show
from tasks.study.study import Study

if TYPE_CHECKING:
    from tasks.run.context import Job

SHOWN = 5

ADDED = (
    "the model was not fitted to them, so minus their removal effect is the predicted effect of "
    "adding them, and nothing is removed (column `trained` of the table train is false)"
)
GONE = (
    "they have no effects here, n and the curvature lack them, and effects of other rows are as if "
    "the model had been trained without them"
)
RELABELLED = (
    "the model was fitted to the earlier label, so their removal effect is that of the label in "
    "the table: what adding the row with it would do, with the other sign"
)
LENGTH = (
    "a text beyond the shorter of the two is another text to the model, so its loss, gradient and "
    "effect are not those of the row that was trained on; set max_length as it was"
)
LOSS = (
    "gradients of training rows and the curvature are of another loss than was minimised, so "
    "effects do not predict a retraining of this model; set [loss] as it was"
)
PENALTY = "the curvature has another penalty on its diagonal than the loss that was minimised had"
RECIPE = (
    'whatever trains again (damping = "auto", validation, folds) makes another model than this; '
    "effects are of the model that is there"
)
CHANGED = (
    "what is known of the training need not hold for it: rows may count as trained on that "
    "it has not seen"
)
RENAMED = "each name stands for the output of the label that was in its place"
UNREAD = "which rows the model was trained on, and how, is not known: nothing of it is checked"


@dataclass(frozen=True)
class Difference:
    """One thing in which a study and the training of its model differ.

    Attributes:
        what: with both values.
        means: for the numbers of an audit.
    """

    what: str
    means: str

    def __str__(self) -> str:
        return f"{self.what}: {self.means}."


@dataclass(frozen=True)
class Provenance:
    """What the record beside a model says of a study.

    Attributes:
        differences: all that differs; empty where the model was trained as the study says.
        trained: of each training row, whether the model was fitted to it with its label; None
            where that is not known.
    """

    differences: tuple[Difference, ...]
    trained: Sequence[bool] | None

    def to_json(self) -> str:
        """For the column `training` of the table `runs`."""
        count = None if self.trained is None else sum(self.trained)
        differences = [asdict(one) for one in self.differences]
        return json.dumps({"trained": count, "differences": differences})


def provenance_of(job: "Job") -> Provenance | None:
    """Compare every model of a study with its record; None where no model has one.

    Raises:
        InputError: the labels stood in another order when a model was trained.
    """
    folders = model_folders(job.study)
    found = [
        _compared(record, member)
        for folder, member in zip(folders, job.members, strict=True)
        if (record := read_record(folder)) is not None
    ]
    if not found:
        return None
    known = [one.trained for one in found if one.trained is not None]
    trained = [all(row) for row in zip(*known, strict=True)] if known else None
    # Checkpoints of one training differ from a study alike: said once.
    differences = dict.fromkeys(one for each in found for one in each.differences)
    return Provenance(tuple(differences), trained)


def differences(known: Provenance | None) -> tuple[Difference, ...]:
    """All that differs; nothing where nothing is known."""
    return () if known is None else known.differences


def told_provenance(training: object) -> tuple[tuple[Difference, ...], int | None] | None:
    """Differences and trained rows of the column `training`; None where nothing is known."""
    if training is None:
        return None
    known = json.loads(str(training))
    return tuple(Difference(**one) for one in known["differences"]), known["trained"]


def provenance_evidence(training: object, rows: object) -> Iterator[tuple[str, str]]:
    """One line for a summary; nothing where nothing is known.

    >>> list(provenance_evidence('{"trained": 60, "differences": []}', 60))
    [('training record', 'agrees with the study; trained on 60 of 60 rows')]
    """
    told = told_provenance(training)
    if told is not None:
        differences, count = told
        agrees = f"differs in {len(differences)} points" if differences else "agrees with the study"
        of = "" if count is None else f"; trained on {count:,} of {rows:,} rows"
        yield "training record", agrees + of


def _compared(record: TrainingRecord, job: "Job") -> Provenance:
    study, table = job.study, job.plan.inputs.train
    if record.study is None:
        return Provenance(tuple(_of_an_old_record(record, job.digest)), None)
    _check_labels(record, study)
    trained, rows = _rows(record, study, table)
    differences = [
        *_of_the_files(record, job.digest),
        *rows,
        *_of_the_length(record.study["max_length"], job),
        *_of_the_loss(record.study, study, table),
        *_of_the_training(record.study, study),
    ]
    return Provenance(tuple(differences), trained)


def of_the_settings(record: TrainingRecord, study: Study, table: Table) -> list[Difference]:
    """The differences that are known without the model: of rows, loss and recipe.

    Raises:
        InputError: as `provenance_of`.
    """
    if record.study is None:
        return list(_of_an_old_record(record, record.model_digest))
    _check_labels(record, study)
    return [
        *_of_the_files(record, record.model_digest),
        *_rows(record, study, table)[1],
        *_of_the_loss(record.study, study, table),
        *_of_the_training(record.study, study),
    ]


def _of_an_old_record(record: TrainingRecord, digest: str) -> Iterator[Difference]:
    yield from _of_the_files(record, digest)
    if not record.damage:
        what = "the record beside the model is of an earlier version, which kept no settings"
        yield Difference(what, UNREAD + "; train the model again to have it checked")


def _of_the_files(record: TrainingRecord, digest: str) -> Iterator[Difference]:
    if record.damage:
        yield Difference(f"{record.folder / record.damage}", UNREAD)
    elif record.model_digest != digest:
        what = f"the files of {record.folder} are not those that `fastif train` wrote"
        yield Difference(what, CHANGED)


def _check_labels(record: TrainingRecord, study: Study) -> None:
    assert record.study is not None
    before = list(record.study["labels"])
    moved = [one for one in study.labels if one in before and _moved(one, before, study.labels)]
    if moved or len(before) != len(study.labels):
        raise InputError(
            "labels",
            f"{before}, the order of the model's outputs when {record.folder} was trained",
            f"{list(study.labels)}",
            "Put them into that order, or train the model again.",
        )


def _moved(label: str, before: Sequence[str], now: Sequence[str]) -> bool:
    return before.index(label) != now.index(label)


def _rows(
    record: TrainingRecord, study: Study, table: Table
) -> tuple[list[bool] | None, list[Difference]]:
    """Which rows were trained on, and those that were added, relabelled, or are gone."""
    assert record.study is not None
    if record.study["table"] == table.digest:
        return [True] * len(table), []
    if record.rows is None:
        return None, []
    now = contents_of(study, table)
    left = Counter(record.rows.rows())
    trained = [_took(left, row) for row in now.rows()]
    unmatched = left + Counter()
    contents = Counter(content for content, _ in unmatched.elements())
    added, relabelled = [], []
    for name, (content, _), fits in zip(table.ids, now.rows(), trained, strict=True):
        if not fits:
            (relabelled if _took(contents, content) else added).append(name)
    gone = contents.total()
    found = []
    if added:
        found.append(Difference(_counted(added, "came after the training"), ADDED))
    if relabelled:
        found.append(Difference(_counted(relabelled, "had another label in training"), RELABELLED))
    if gone:
        what = f"{gone:,} rows that the model was trained on are not in the table"
        found.append(Difference(what, GONE))
    return trained, found


def _took(left: Counter, row: object) -> bool:
    """Whether there was one left, which is taken."""
    if left[row] <= 0:
        return False
    left[row] -= 1
    return True


def _counted(names: Sequence[str], what: str) -> str:
    rows = "training row" if len(names) == 1 else "training rows"
    return f"{len(names):,} {rows} {what} ({listed(names, SHOWN)})"


def _of_the_length(before: int, job: "Job") -> Iterator[Difference]:
    """Told only where a text is another for it."""
    now = job.study.model.max_length
    cut = [
        int((t.truncated | (t.lengths > before)).sum()) for t in (job.train_texts, job.query_texts)
    ]
    if now != before and any(cut):
        what = f"[model] max_length is {now}, and was {before} in training"
        yield Difference(f"{what} ({cut[0]} training rows and {cut[1]} queries are longer)", LENGTH)


def _of_the_loss(known: Mapping[str, Any], study: Study, table: Table) -> Iterator[Difference]:
    for name, value in study.loss.shape.items():
        yield from _differing(f"[loss] {name}", known["loss"].get(name), value, LOSS)
    if study.loss.class_weights == "balanced" == known["loss"].get("class_weights"):
        weights = study.loss.made(table.labels, len(study.labels)).class_weights
        numbers = None if weights is None else [float(weight) for weight in weights]
        name = 'the numbers of class_weights = "balanced", which follow the rows,'
        yield from _differing(name, known["class_weights"], numbers, LOSS)
    before = [known["weight_decay"], known["weight_decay_kind"]]
    now = [study.weight_decay, study.loss.weight_decay_kind]
    coupled = "coupled" in (before[1], now[1])
    # A study of a finished model that says nothing of a decay beside the loss loses nothing.
    if coupled or study.loss.weight_decay is not None or study.training is not None:
        yield from _differing(
            "weight_decay with its kind", before, now, PENALTY if coupled else RECIPE
        )


def _of_the_training(known: Mapping[str, Any], study: Study) -> Iterator[Difference]:
    if list(study.labels) != known["labels"]:
        yield from _differing("labels", known["labels"], list(study.labels), RENAMED)
    if study.training is None:
        return
    for name, value in how_of(study).items():
        yield from _differing(f"[training] {name}", known["training"].get(name), value, RECIPE)
    if _is_at_hand(study):
        base = model_digest(base_folder(study))
        yield from _differing("the digest of [training] base", known["base"], base, RECIPE)


def _differing(name: str, before: object, now: object, means: str) -> Iterator[Difference]:
    if before != now:
        yield Difference(f"{name} is {show(now)}, and was {show(before)} in training", means)


def _is_at_hand(study: Study) -> bool:
    """Whether the base is on this machine: nothing is fetched to be compared."""
    base = study.training.base if study.training else ""
    return base.startswith("package:") or study.resolve(base).is_dir()
