"""Which earlier run a night goes on from, where its study says `[carry]`."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storage import RunRecord, RunStatus, Store, StoreError
from tasks.data.dataset import Table
from tasks.data.row_hashes import row_digests, stored_row_digests
from tasks.study.methods import by_sketches
from tasks.study.sections import (
    AnyCandidates,
    Auto,
    Carry,
    FullScan,
)
from tasks.study.study import Study

CARRIED = "carried"
"""Part of a run's record that names the run it goes on from; absent for one from nothing."""
MAY_CHANGE = ("train", "queries", "certificate", "groups", CARRIED)


@dataclass(frozen=True)
class Lineage:
    """Where a run goes on from.

    Attributes:
        base: the run whose answers are taken over; None if it was forgotten since.
        root: the run from nothing at the start of the line: its curvature and its choices hold.
        part: of the run's record, since its answers depend on it: fingerprints of both, and the
            digest of what makes the sketches if there are some.
    """

    base: RunRecord | None
    root: RunRecord
    part: Mapping[str, str]

    @property
    def sketcher(self) -> str:
        """Digest of what makes the sketches; empty if there are none."""
        return self.part.get("sketcher", "")


def lineage_of(
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
    if study.carry is None or store is None or not carries_queries(study.candidates):
        return None
    asked = json.loads(json.dumps(parts))  # as it would come back from the store
    statuses = store.runs()
    runs = {status.record.fingerprint: status.record for status in statuses}
    for record in runs.values():
        mine = dict(record.parts)
        begun = mine.pop(CARRIED, None)
        if mine == asked:
            return _known(store, runs, begun)
    for status in statuses:
        if status.whole and _without(status.record.parts) == _without(asked):
            return _from(store, status.record, runs, study, asked, train)
    return None


def carries_queries(candidates: AnyCandidates) -> bool:
    """Whether the answer of one query stands alone, so that it can be taken over."""
    if isinstance(candidates, FullScan):
        return not candidates.totals
    return not isinstance(candidates, Auto)


def carries_rows(study: Study) -> bool:
    """Whether new training rows can be scored for old queries without solving these again."""
    return by_sketches(study.candidates) and study.loss.class_weights is None


def _from(
    store: Store,
    base: RunRecord,
    runs: Mapping[str, RunRecord],
    study: Study,
    asked: Mapping[str, object],
    train: Table,
) -> Lineage | None:
    begun = base.parts.get(CARRIED)
    root = runs.get(begun["root"]) if isinstance(begun, Mapping) else base
    if root is None:
        return None  # it was forgotten, and with it the rows that the curvature is of
    told = _told(store, base)
    if told.get("chosen", {}).get("k", 0) is None:
        return None  # no number of candidates was enough: it was a full scan with its sums
    sketcher = _sketcher(base, told) if by_sketches(study.candidates) else ""
    if by_sketches(study.candidates) and not (sketcher and store.part("sketcher", sketcher)):
        return None
    part = {"from": base.fingerprint, "root": root.fingerprint}
    lineage = Lineage(base, root, part | ({"sketcher": sketcher} if sketcher else {}))
    if base.parts["train"] == asked["train"]:
        return lineage
    carry: Carry = study.carry  # type: ignore[assignment]
    if not carries_rows(study) or _share(store, root, study, train) < carry.least:
        return None
    return lineage


def _known(store: Store, runs: Mapping[str, RunRecord], begun: object) -> Lineage | None:
    """What a run that is there began with."""
    if not isinstance(begun, Mapping):
        return None
    root = runs.get(str(begun["root"]))
    if root is None:
        raise StoreError.at(
            store.layout.root,
            expected="the first night of the line that this run goes on",
            got="no such run",
            remedy="Put it back, or remove this run and begin anew.",
        )
    return Lineage(runs.get(str(begun["from"])), root, dict(begun))


def _share(store: Store, root: RunRecord, study: Study, train: Table) -> float:
    """Training rows that two tables have in common, of all that either has."""
    before = Counter(stored_row_digests(store, root.run, "train"))
    now = Counter(row_digests(train, study.labels))
    return (before & now).total() / max(1, (before | now).total())


def _told(store: Store, record: RunRecord) -> dict:
    """What a finished run says of its candidates."""
    (told,) = store.scan("runs", record.run).select("candidates").collect()["candidates"]
    return json.loads(told)


def _sketcher(record: RunRecord, told: Mapping[str, object]) -> str:
    begun = record.parts.get(CARRIED)
    known = begun if isinstance(begun, Mapping) else told
    return str(known.get("sketcher", ""))


def _without(parts: Mapping[str, object]) -> dict[str, object]:
    return {name: part for name, part in parts.items() if name not in MAY_CHANGE}


def needed(statuses: Iterable[RunStatus]) -> set[str]:
    """Fingerprints of runs that others go on from: their first nights, and what is not done yet."""
    found = set()
    for status in statuses:
        begun = status.record.parts.get(CARRIED)
        if isinstance(begun, Mapping):
            found |= {str(begun["root"])} | ({str(begun["from"])} if not status.finished else set())
    return found
