"""Provenance of a model: differences between a study and the training record of its model.

For a model of `fastif train` all settings are recorded; see `tasks.models.training_record`.
Differences are reported with their consequences, since effects of the other rows may still be
valid. Only a different order of the labels is refused, since it would change the label of every
row.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from fastif import Examples, InputError
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

ModelTables = tuple[str, Examples, Examples]
"""Digest of a model, and the training rows and queries in its tokens."""

ADDED = (
    "the model was not trained on them, so minus their removal effect predicts the effect of "
    "adding them (column `trained` of the table train is false)"
)
GONE = (
    "they have no effects, n and the curvature do not include them, and effects of other rows "
    "assume that the model was trained without them"
)
RELABELLED = (
    "the model was trained on the earlier label, so minus their removal effect predicts the effect "
    "of adding the row with the present label"
)
CHANGED = "the training record may not apply to these files, and the column `trained` may be wrong"
UNREAD = "the rows and settings of the training are unknown and cannot be checked"


@dataclass(frozen=True)
class Provenance:
    """Comparison of a study with the training record of its model.

    Attributes:
        differences: All differences; empty if the model was trained as the study states.
        trained: Whether the model was trained on each row with its present label, [n]; None if
            unknown.
    """

    differences: tuple[TrainingDifference, ...]
    trained: Sequence[bool] | None

    def to_json(self) -> str:
        """Return JSON for the column `training` of the table `runs`."""
        count = None if self.trained is None else sum(self.trained)
        differences = [asdict(difference) for difference in self.differences]
        return json.dumps({"trained": count, "differences": differences})


def collect_provenance(
    study: Study, train: Table, models: Sequence[ModelTables]
) -> Provenance | None:
    """Compare every model of a study with its training record.

    Args:
        study: Present study file.
        train: Present training table.
        models: Digest and tokenized tables of each model.

    Returns:
        The differences; None if no model has a record.

    Raises:
        InputError: A model was trained with another order of the labels.
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
    # Checkpoints of one training have equal differences, reported once.
    differences = dict.fromkeys(
        difference for provenance in provenances for difference in provenance.differences
    )
    return Provenance(tuple(differences), trained)


def list_differences(known: Provenance | None) -> tuple[TrainingDifference, ...]:
    """Return all differences; empty without a record."""
    return () if known is None else known.differences


def parse_provenance(training: object) -> tuple[tuple[TrainingDifference, ...], int | None] | None:
    """Parse the column `training`: differences and number of trained rows; None if null."""
    if training is None:
        return None
    known = json.loads(str(training))
    return tuple(TrainingDifference(**fields) for fields in known["differences"]), known["trained"]


def describe_provenance(training: object, rows: object) -> Iterator[tuple[str, str]]:
    """Yield one line for a summary; nothing without a record.

    Examples:
        >>> list(describe_provenance('{"trained": 60, "differences": []}', 60))
        [('training record', 'agrees with the study; trained on 60 of 60 rows')]
    """
    parsed = parse_provenance(training)
    if parsed is not None:
        differences, count = parsed
        agreement = (
            f"differs from the study in {len(differences)} points"
            if differences
            else "agrees with the study"
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
    """Return the differences in rows, loss and training that are known without loading the model.

    Raises:
        InputError: The model was trained with another order of the labels.
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
        what = "the training record of the model is of an earlier version without settings"
        yield TrainingDifference(what, UNREAD + "; train the model again to check it")


def _compare_files(record: TrainingRecord, digest: str) -> Iterator[TrainingDifference]:
    if record.damage:
        yield TrainingDifference(f"{record.folder / record.damage}", UNREAD)
    elif record.model_digest != digest:
        what = f"the files in {record.folder} have changed since `fastif train`"
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
            "Restore that order, or train the model again.",
        )


def _has_moved(label: str, before: Sequence[str], now: Sequence[str]) -> bool:
    return before.index(label) != now.index(label)


def _compare_rows(
    record: TrainingRecord, study: Study, table: Table
) -> tuple[list[bool] | None, list[TrainingDifference]]:
    """Return which rows were trained on, and differences of added, relabelled and removed rows."""
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
            TrainingDifference(_format_count(added, "added after the training"), ADDED)
        )
    if relabelled:
        row_differences.append(
            TrainingDifference(
                _format_count(relabelled, "relabelled since the training"), RELABELLED
            )
        )
    if gone_count:
        what = f"{gone_count:,} rows of the training are missing from the table"
        row_differences.append(TrainingDifference(what, GONE))
    return trained, row_differences


def _take_match(counts: Counter, row: object) -> bool:
    """Return whether a match is left in the multiset, and remove it."""
    if counts[row] <= 0:
        return False
    counts[row] -= 1
    return True


def _format_count(names: Sequence[str], what: str) -> str:
    rows = "training row" if len(names) == 1 else "training rows"
    return f"{len(names):,} {rows} {what} ({join_some(names, MAX_SHOWN)})"
