"""Which earlier run a night goes on from, where its study says `[carry]`."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storage import RunRecord, RunStatus, Store, StoreError
from tasks.data.dataset import Table
from tasks.data.row_hashes import read_row_digests, row_digests
from tasks.study.sections import Carry
from tasks.study.study import Study

CARRIED = "carried"
"""Part of a run's record that names the run it goes on from; absent for one from nothing."""
MAY_CHANGE = ("train", "queries", "certificate", "groups", CARRIED)


@dataclass(frozen=True)
class Lineage:
    """Where a run goes on from.

    Attributes:
        parent: the run whose answers are taken over; None if it was forgotten since.
        root: the run from nothing at the start of the line: its curvature and its choices hold.
        record_entry: of the run's record, since its answers depend on it: fingerprints of both, and
            the digest of what makes the sketches if there are some.
    """

    parent: RunRecord | None
    root: RunRecord
    record_entry: Mapping[str, str]

    @property
    def sketcher(self) -> str:
        """Digest of what makes the sketches; empty if there are none."""
        return self.record_entry.get("sketcher", "")


def find_lineage(
    study: Study, store: Store | None, parts: Mapping[str, object], train: Table
) -> Lineage | None:
    """The run to go on from; None to begin from nothing.

    A run of the same study and tables that is there goes on as it began. Else it is the newest
    finished one that asks the same of other tables, if enough of its root's training rows are left.

    Args:
        study: with the section `[carry]`; without it None.
        store: of the study; None if there is none yet.
        parts: of the run that is planned, without its lineage.
        train: its training rows.
    """
    if study.carry is None or store is None or not study.candidates.may_reuse_queries:
        return None
    stored_inputs = json.loads(json.dumps(parts))  # as it would come back from the store
    statuses = store.list_runs()
    runs = {status.record.fingerprint: status.record for status in statuses}
    for record in runs.values():
        other_inputs = dict(record.parts)
        lineage_entry = other_inputs.pop(CARRIED, None)
        if other_inputs == stored_inputs:
            return _restore_lineage(store, runs, lineage_entry)
    for status in statuses:
        if status.is_intact and _drop_changeable(status.record.parts) == _drop_changeable(
            stored_inputs
        ):
            return _make_lineage(store, status.record, runs, study, stored_inputs, train)
    return None


def may_reuse_rows(study: Study) -> bool:
    """Whether new training rows can be scored for old queries without solving these again."""
    return study.candidates.has_sketch_scores and study.loss.class_weights is None


def _make_lineage(
    store: Store,
    parent: RunRecord,
    runs: Mapping[str, RunRecord],
    study: Study,
    inputs: Mapping[str, object],
    train: Table,
) -> Lineage | None:
    lineage_entry = parent.parts.get(CARRIED)
    root = runs.get(lineage_entry["root"]) if isinstance(lineage_entry, Mapping) else parent
    if root is None:
        return None  # it was forgotten, and with it the rows that the curvature is of
    candidates = _read_candidates(store, parent)
    if candidates.get("chosen", {}).get("k", 0) is None:
        return None  # no number of candidates was enough: it was a full scan with its sums
    sketcher = _find_sketcher(parent, candidates) if study.candidates.has_sketch_scores else ""
    if study.candidates.has_sketch_scores and not (
        sketcher and store.find_artifact("sketcher", sketcher)
    ):
        return None
    record_entry = {"from": parent.fingerprint, "root": root.fingerprint}
    lineage = Lineage(parent, root, record_entry | ({"sketcher": sketcher} if sketcher else {}))
    if parent.parts["train"] == inputs["train"]:
        return lineage
    carry: Carry = study.carry  # type: ignore[assignment]
    if not may_reuse_rows(study) or _compute_row_overlap(store, root, study, train) < carry.least:
        return None
    return lineage


def _restore_lineage(
    store: Store, runs: Mapping[str, RunRecord], lineage_entry: object
) -> Lineage | None:
    """What a run that is there began with."""
    if not isinstance(lineage_entry, Mapping):
        return None
    root = runs.get(str(lineage_entry["root"]))
    if root is None:
        raise StoreError(
            store.layout.root,
            expected="the first night of the line that this run goes on",
            got="no such run",
            remedy="Put it back, or remove this run and begin anew.",
        )
    return Lineage(runs.get(str(lineage_entry["from"])), root, dict(lineage_entry))


def _compute_row_overlap(store: Store, root: RunRecord, study: Study, train: Table) -> float:
    """Training rows that two tables have in common, of all that either has."""
    before = Counter(read_row_digests(store, root.run, "train"))
    now = Counter(row_digests(train, study.labels))
    return (before & now).total() / max(1, (before | now).total())


def _read_candidates(store: Store, record: RunRecord) -> dict:
    """What a finished run says of its candidates."""
    (candidates,) = store.scan("runs", record.run).select("candidates").collect()["candidates"]
    return json.loads(candidates)


def _find_sketcher(record: RunRecord, candidates: Mapping[str, object]) -> str:
    lineage_entry = record.parts.get(CARRIED)
    source = lineage_entry if isinstance(lineage_entry, Mapping) else candidates
    return str(source.get("sketcher", ""))


def _drop_changeable(parts: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in parts.items() if name not in MAY_CHANGE}


def find_ancestors_in_use(statuses: Iterable[RunStatus]) -> set[str]:
    """Fingerprints of runs that others go on from: their first nights, and what is not done yet."""
    ancestors = set()
    for status in statuses:
        lineage_entry = status.record.parts.get(CARRIED)
        if isinstance(lineage_entry, Mapping):
            ancestors |= {str(lineage_entry["root"])} | (
                {str(lineage_entry["from"])} if not status.finished else set()
            )
    return ancestors
