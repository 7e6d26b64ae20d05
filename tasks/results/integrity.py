"""Integrity check of a store: every file against its checksum, and repair of what is damaged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from storage import Store, StoreError
from tasks.mislabels.annotations import KIND as VERDICTS
from tasks.mislabels.stored_samples import KIND as DRAWS
from tasks.run.lookup import TRAIN
from tasks.run.selection_names import SelectionName

ARTIFACTS: Final = "artifacts"
IRREPLACEABLE_KINDS: Final = frozenset({VERDICTS, DRAWS, "sketcher", *SelectionName})
"""Kinds of artifacts that cannot be recomputed: annotations, samples, and choices of a run."""


@dataclass(frozen=True)
class IntegrityReport:
    """Result of the check of one run, or of all artifacts of a store.

    Attributes:
        name: Name that is displayed.
        run: Name of the run; empty for the artifacts.
        state: Summary in a few words.
        problems: Descriptions of the problems, one for each file.
        unfinished: Whether it is a run with missing shards.
        damaged: Keys of a run's damaged commits, or (kind, digest) of damaged artifacts.
    """

    name: str
    run: str
    state: str
    problems: tuple[str, ...] = ()
    unfinished: bool = False
    damaged: tuple[tuple[str, ...], ...] = field(default=())

    @property
    def is_repairable(self) -> bool:
        """Whether all or some of the damage can be computed again."""
        return bool(self.run) or any(pair[0] not in IRREPLACEABLE_KINDS for pair in self.damaged)


def check_integrity(store: Store, run: str | None = None) -> Iterator[IntegrityReport]:
    """Check every run and every artifact of a store, or a single run."""
    names, orphaned = ([run], []) if run else store.list_names()
    for name in names:
        yield _check_run(store, name)
    for name in orphaned:
        got = f"{store.layout.record(name)}: missing, though the run has commits"
        yield IntegrityReport(name, "", count_problems(1), (got,))
    if run is None:
        yield _check_artifacts(store)


def _check_run(store: Store, name: str) -> IntegrityReport:
    try:
        status = store.read_status(name)
        store.read_sequence(name)
        damaged = store.find_damaged(name)
    except StoreError as error:
        if not store.layout.record(name).exists():
            raise  # the store has no such run
        return IntegrityReport(name, "", count_problems(1), (f"{error}",))
    problems = [problem for file_problems in damaged.values() for problem in file_problems]
    problems += _find_missing_sequence(store, name)
    missing = [shard.key for shard in store.find_missing(name, status.record.list_shards())]
    keys = [key for key in missing if key not in damaged]
    if status.was_finished and TRAIN not in damaged and not store.is_committed(name, TRAIN):
        keys.append(TRAIN)
    if status.was_finished and keys:
        problems += [f"{store.layout.manifest(name, key)}: missing" for key in keys]
    count = f"{status.done} of {status.planned} shards"
    if problems:
        state = f"{count_problems(len(problems))}, {count}"
    else:
        state = "intact" if status.is_intact else f"not finished, {count}; these are intact"
    damaged_keys = tuple((key,) for key in damaged) or tuple(
        (key,) for key in keys if status.was_finished
    )
    return IntegrityReport(
        name, name, state, tuple(problems), not status.was_finished, damaged_keys
    )


def _find_missing_sequence(store: Store, name: str) -> list[str]:
    """Report a run that has no sequence number although an older run has one: it sorts wrongly.

    Stores of earlier versions have runs without numbers, all older than those with one.
    """
    if store.read_sequence(name):
        return []
    created_times = [
        created for other in store.list_names()[0] if (created := _read_created(store, other))
    ]
    if not created_times or min(created_times) > store.read_record(name).created:
        return []
    return [f"{store.layout.order(name)}: missing; the run's next audit writes it again"]


def _read_created(store: Store, name: str) -> str:
    """Creation time of a run with a sequence number; empty for others and unreadable records."""
    try:
        return store.read_record(name).created if store.read_sequence(name) else ""
    except StoreError:
        return ""


def _check_artifacts(store: Store) -> IntegrityReport:
    damaged = store.find_damaged_artifacts()
    problems = tuple(problem for file_problems in damaged.values() for problem in file_problems)
    state = count_problems(len(problems)) if problems else "intact"
    return IntegrityReport(ARTIFACTS, "", state, problems, False, tuple(damaged))


def count_problems(count: int) -> str:
    """Return the number of problems in words.

    >>> count_problems(1), count_problems(2)
    ('1 problem', '2 problems')
    """
    return f"{count} problem{'s' if count != 1 else ''}"


def describe_repair(reports: Sequence[IntegrityReport]) -> Iterator[str]:
    """Yield what repairs the damage that was found; nothing if there is none.

    Args:
        reports: Reports of one check of the store.
    """
    kinds = {pair[0] for report in reports if not report.run for pair in report.damaged}
    if any(report.damaged and report.run for report in reports):
        yield "Damaged runs: `fastif verify --repair`, then `fastif audit`, which computes them."
    if kinds - IRREPLACEABLE_KINDS:
        yield (
            "Damaged artifacts: `fastif verify --repair` removes them; they are computed again "
            "when needed."
        )
    if kinds & IRREPLACEABLE_KINDS:
        names = ", ".join(sorted(kinds & IRREPLACEABLE_KINDS))
        yield (
            f"Not repairable ({names}): restore these files from a backup, or remove their folders "
            "to continue without them."
        )


def repair_run(store: Store, report: IntegrityReport) -> str:
    """Withdraw the damaged commits of a run, so that the next audit computes them again."""
    store.withdraw(report.run, [key for (key,) in report.damaged])
    return (
        f"{len(report.damaged)} commits withdrawn; the next audit of the same model, tables and "
        "settings computes them again."
    )


def repair_artifacts(store: Store, report: IntegrityReport) -> str:
    """Remove damaged artifacts that can be recomputed; keep those that cannot."""
    recomputable = [pair for pair in report.damaged if pair[0] not in IRREPLACEABLE_KINDS]
    for kind, digest in recomputable:
        store.remove_artifact(kind, digest)
    kept_count = len(report.damaged) - len(recomputable)
    note = (
        f" {kept_count} cannot be recomputed: restore these files from a backup."
        if kept_count
        else ""
    )
    return f"{len(recomputable)} artifacts removed; they are computed again when needed.{note}"
