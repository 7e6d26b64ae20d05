"""Parent run of an incremental run, found if the study has a section `[carry]`."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storage import RunRecord, RunStatus, Store, StoreError
from tasks.data.dataset import Table
from tasks.data.row_hashes import read_row_digests, row_digests
from tasks.study.night_sections import Carry
from tasks.study.study import Study

CARRIED = "carried"
"""Key in a run's record that holds its lineage; missing for a full run."""
MAY_CHANGE = ("train", "queries", "certificate", "groups", CARRIED)
"""Keys of a run's record that may differ between a run and its parent."""


@dataclass(frozen=True)
class Lineage:
    """Lineage of an incremental run.

    Attributes:
        parent: Run with the results to reuse; None if it was removed since.
        root: Full run at the start of the lineage; its curvature and selected settings are
            used.
        record_entry: Entry of the run's record, since the results depend on it: fingerprints of
            parent (`from`) and root, and the digest of the sketcher if there is one.
    """

    parent: RunRecord | None
    root: RunRecord
    record_entry: Mapping[str, str]

    @property
    def sketcher(self) -> str:
        """Digest of the sketcher; empty if there is none."""
        return self.record_entry.get("sketcher", "")


def find_lineage(
    study: Study, store: Store | None, parts: Mapping[str, object], train: Table
) -> Lineage | None:
    """Find the parent run of a planned run; None for a full run.

    A run of the same study and tables that exists keeps its lineage. Otherwise the parent is the
    newest finished run with the same settings, provided that enough training rows of its root
    remain.

    Args:
        study: Study file; a full run without the section `[carry]`.
        store: Store of the study; None if it does not exist yet.
        parts: Fingerprint inputs of the planned run, without its lineage.
        train: Training table of the planned run.
    """
    if study.carry is None or store is None or not study.candidates.may_reuse_queries:
        return None
    stored_inputs = json.loads(json.dumps(parts))  # in the form of JSON from the store
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
    """Return whether new training rows can be scored for old queries without new solves."""
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
        return None  # it was removed, and with it the rows of the curvature
    candidates = _read_candidates(store, parent)
    if candidates.get("chosen", {}).get("k", 0) is None:
        return None  # no k reached the target: the parent was a full scan with totals
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
    """Return the lineage with which an existing run was started."""
    if not isinstance(lineage_entry, Mapping):
        return None
    root = runs.get(str(lineage_entry["root"]))
    if root is None:
        raise StoreError(
            store.layout.root,
            expected="the full run that this incremental run is based on",
            got="no such run",
            remedy="Restore it, or remove this run and start a full run.",
        )
    return Lineage(runs.get(str(lineage_entry["from"])), root, dict(lineage_entry))


def _compute_row_overlap(store: Store, root: RunRecord, study: Study, train: Table) -> float:
    """Return the Jaccard index of two training tables as multisets of rows."""
    before = Counter(read_row_digests(store, root.run, "train"))
    now = Counter(row_digests(train, study.labels))
    return (before & now).total() / max(1, (before | now).total())


def _read_candidates(store: Store, record: RunRecord) -> dict:
    """Return the candidate settings in a finished run's row of table `runs`."""
    (candidates,) = store.scan("runs", record.run).select("candidates").collect()["candidates"]
    return json.loads(candidates)


def _find_sketcher(record: RunRecord, candidates: Mapping[str, object]) -> str:
    lineage_entry = record.parts.get(CARRIED)
    source = lineage_entry if isinstance(lineage_entry, Mapping) else candidates
    return str(source.get("sketcher", ""))


def _drop_changeable(parts: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in parts.items() if name not in MAY_CHANGE}


def find_ancestors_in_use(statuses: Iterable[RunStatus]) -> set[str]:
    """Return fingerprints of runs that others need: roots, and parents of unfinished runs."""
    ancestors = set()
    for status in statuses:
        lineage_entry = status.record.parts.get(CARRIED)
        if isinstance(lineage_entry, Mapping):
            ancestors |= {str(lineage_entry["root"])} | (
                {str(lineage_entry["from"])} if not status.finished else set()
            )
    return ancestors
