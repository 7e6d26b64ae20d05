"""Whether a model was trained as its study says, and what it means for each number if not.

For a model of `fastif train` everything is known: `tasks.models.training_record`. What differs
does not make the effects of other rows wrong by itself, so it is told; an order of labels that
differs would give each row another label, so it is refused.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from fastif import InputError, TextExamples
from tasks.data.dataset import Table
from tasks.models.compare_training import (
    TrainingDifference,
    compare_loss,
    compare_max_length,
    compare_training,
)
from tasks.models.locate import find_model_folders
from tasks.models.training_record import (
    TrainingRecord,
    make_content_table,
    read_record,
)
from tasks.study.errors import join_some
from tasks.study.study import Study

MAX_SHOWN = 5

ModelTables = tuple[str, TextExamples, TextExamples]
"""Digest of a model, the training rows and the queries as its tokens."""

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
CHANGED = (
    "what is known of the training need not hold for it: rows may count as trained on that "
    "it has not seen"
)
UNREAD = "which rows the model was trained on, and how, is not known: nothing of it is checked"


@dataclass(frozen=True)
class Provenance:
    """What the record beside a model says of a study.

    Attributes:
        differences: all that differs; empty where the model was trained as the study says.
        trained: of each training row, whether the model was fitted to it with its label; None
            where that is not known.
    """

    differences: tuple[TrainingDifference, ...]
    trained: Sequence[bool] | None

    def to_json(self) -> str:
        """For the column `training` of the table `runs`."""
        count = None if self.trained is None else sum(self.trained)
        differences = [asdict(difference) for difference in self.differences]
        return json.dumps({"trained": count, "differences": differences})


def collect_provenance(
    study: Study, train: Table, models: Sequence[ModelTables]
) -> Provenance | None:
    """Compare every model of a study with its record; None where no model has one.

    Args:
        study: what is asked for now.
        train: the training rows of now.
        models: of each model its digest and both tables as tokens.

    Raises:
        InputError: the labels stood in another order when a model was trained.
    """
    folders = find_model_folders(study)
    provenances = [
        _compare_with_record(record, study, train, model)
        for folder, model in zip(folders, models, strict=True)
        if (record := read_record(folder)) is not None
    ]
    if not provenances:
        return None
    known_rows = [
        provenance.trained for provenance in provenances if provenance.trained is not None
    ]
    trained = [all(row) for row in zip(*known_rows, strict=True)] if known_rows else None
    # Checkpoints of one training differ from a study alike: said once.
    differences = dict.fromkeys(
        difference for provenance in provenances for difference in provenance.differences
    )
    return Provenance(tuple(differences), trained)


def list_differences(known: Provenance | None) -> tuple[TrainingDifference, ...]:
    """All that differs; nothing where nothing is known."""
    return () if known is None else known.differences


def parse_provenance(training: object) -> tuple[tuple[TrainingDifference, ...], int | None] | None:
    """Differences and trained rows of the column `training`; None where nothing is known."""
    if training is None:
        return None
    known = json.loads(str(training))
    return tuple(TrainingDifference(**fields) for fields in known["differences"]), known["trained"]


def describe_provenance(training: object, rows: object) -> Iterator[tuple[str, str]]:
    """One line for a summary; nothing where nothing is known.

    >>> list(describe_provenance('{"trained": 60, "differences": []}', 60))
    [('training record', 'agrees with the study; trained on 60 of 60 rows')]
    """
    parsed = parse_provenance(training)
    if parsed is not None:
        differences, count = parsed
        agreement = (
            f"differs in {len(differences)} points" if differences else "agrees with the study"
        )
        trained_rows = "" if count is None else f"; trained on {count:,} of {rows:,} rows"
        yield "training record", agreement + trained_rows


def _compare_with_record(
    record: TrainingRecord, study: Study, table: Table, model: ModelTables
) -> Provenance:
    digest, *texts = model
    if record.study is None:
        return Provenance(tuple(_compare_old_record(record, digest)), None)
    _check_labels(record, study)
    trained, rows = _compare_rows(record, study, table)
    differences = [
        *_compare_files(record, digest),
        *rows,
        *compare_max_length(record.study["max_length"], study.model.max_length, texts),
        *compare_loss(record.study, study, table),
        *compare_training(record.study, study),
    ]
    return Provenance(tuple(differences), trained)


def compare_settings(
    record: TrainingRecord, study: Study, table: Table
) -> list[TrainingDifference]:
    """The differences that are known without the model: of rows, loss and recipe.

    Raises:
        InputError: as `collect_provenance`.
    """
    if record.study is None:
        return list(_compare_old_record(record, record.model_digest))
    _check_labels(record, study)
    return [
        *_compare_files(record, record.model_digest),
        *_compare_rows(record, study, table)[1],
        *compare_loss(record.study, study, table),
        *compare_training(record.study, study),
    ]


def _compare_old_record(record: TrainingRecord, digest: str) -> Iterator[TrainingDifference]:
    yield from _compare_files(record, digest)
    if not record.damage:
        what = "the record beside the model is of an earlier version, which kept no settings"
        yield TrainingDifference(what, UNREAD + "; train the model again to have it checked")


def _compare_files(record: TrainingRecord, digest: str) -> Iterator[TrainingDifference]:
    if record.damage:
        yield TrainingDifference(f"{record.folder / record.damage}", UNREAD)
    elif record.model_digest != digest:
        what = f"the files of {record.folder} are not those that `fastif train` wrote"
        yield TrainingDifference(what, CHANGED)


def _check_labels(record: TrainingRecord, study: Study) -> None:
    assert record.study is not None
    before = list(record.study["labels"])
    moved_labels = [
        label
        for label in study.labels
        if label in before and _has_moved(label, before, study.labels)
    ]
    if moved_labels or len(before) != len(study.labels):
        raise InputError(
            "labels",
            f"{before}, the order of the model's outputs when {record.folder} was trained",
            f"{list(study.labels)}",
            "Put them into that order, or train the model again.",
        )


def _has_moved(label: str, before: Sequence[str], now: Sequence[str]) -> bool:
    return before.index(label) != now.index(label)


def _compare_rows(
    record: TrainingRecord, study: Study, table: Table
) -> tuple[list[bool] | None, list[TrainingDifference]]:
    """Which rows were trained on, and those that were added, relabelled, or are gone."""
    assert record.study is not None
    if record.study["table"] == table.digest:
        return [True] * len(table), []
    if record.rows is None:
        return None, []
    now = make_content_table(study, table)
    unmatched_counts = Counter(record.rows.rows())
    trained = [_take_match(unmatched_counts, row) for row in now.rows()]
    unmatched = unmatched_counts + Counter()
    contents = Counter(content for content, _ in unmatched.elements())
    added, relabelled = [], []
    for name, (content, _), is_trained in zip(table.ids, now.rows(), trained, strict=True):
        if not is_trained:
            (relabelled if _take_match(contents, content) else added).append(name)
    gone_count = contents.total()
    row_differences = []
    if added:
        row_differences.append(
            TrainingDifference(_format_count(added, "came after the training"), ADDED)
        )
    if relabelled:
        row_differences.append(
            TrainingDifference(
                _format_count(relabelled, "had another label in training"), RELABELLED
            )
        )
    if gone_count:
        what = f"{gone_count:,} rows that the model was trained on are not in the table"
        row_differences.append(TrainingDifference(what, GONE))
    return trained, row_differences


def _take_match(counts: Counter, row: object) -> bool:
    """Whether there was one left, which is taken."""
    if counts[row] <= 0:
        return False
    counts[row] -= 1
    return True


def _format_count(names: Sequence[str], what: str) -> str:
    rows = "training row" if len(names) == 1 else "training rows"
    return f"{len(names):,} {rows} {what} ({join_some(names, MAX_SHOWN)})"
