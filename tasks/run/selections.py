"""What was chosen for a study: the damping, the method, k; each a part of its store."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from fastif.evaluation.select_damping import DampingSelection
from fastif.evaluation.select_k import KSelection, KTrial
from storage import Store
from tasks.run.method_choice import MethodEstimate, MethodSelection
from tasks.study.any_candidates import AnyCandidates
from tasks.study.candidates import FullScanSection

Record = dict[str, Any]
Selection = TypeVar("Selection")

MIN_QUERIES = 16
"""Queries that k is chosen on, or `check` if that is more."""
SECTION_ADAPTER: TypeAdapter[AnyCandidates] = TypeAdapter(AnyCandidates)


@dataclass(frozen=True)
class SelectionKind(Generic[Selection]):
    """A kind of choice: how one is written to the store, and found in the row of a run.

    Attributes:
        name: of its parts, and of the JSON file in each.
        key: of its record in a column of the table `runs`.
        parse: from its record.
        make_record: the reverse.
    """

    name: str
    key: str
    parse: Callable[[Record], Selection]
    make_record: Callable[[Selection], Record]

    def read(self, store: Store, digest: str) -> Selection | None:
        """What was chosen, if it has been."""
        artifact = store.find_artifact(self.name, digest)
        if artifact is None:
            return None
        return self.parse(json.loads((artifact / f"{self.name}.json").read_text("utf-8")))

    def write(self, store: Store, digest: str, selection: Selection) -> None:
        """Keep a choice with all that was tried; one that is there stays."""
        text = json.dumps(self.make_record(selection), indent=1) + "\n"

        def write(folder: Path) -> None:
            (folder / f"{self.name}.json").write_text(text, "utf-8")

        store.write_artifact(self.name, digest, write)

    def parse_column(self, column: str) -> Selection | None:
        """The choice in a column of the table `runs`; None if nothing was left to choose."""
        record = json.loads(column).get(self.key)
        return None if record is None else self.parse(record)


def apply_k_selection(candidates: AnyCandidates, selection: KSelection | None) -> AnyCandidates:
    """The section with what was chosen; as it is if nothing was."""
    method = candidates.target_method
    if method is None or selection is None:
        return candidates
    k = selection.k
    return FullScanSection() if k is None else method.model_copy(update={"k": k})


def _parse_damping(record: Record) -> DampingSelection:
    dampings, agreement = (tuple(record.pop(name)) for name in ("dampings", "agreement"))
    by_query = tuple(record.pop("by_query", ()))  # an older version kept none
    return DampingSelection(**record, dampings=dampings, agreement=agreement, by_query=by_query)


def _parse_k(record: Record) -> KSelection:
    tried = tuple(KTrial(**trial) for trial in record.pop("tried"))
    return KSelection(**record, tried=tried)


def _parse_method(record: Record) -> MethodSelection:
    offers = (
        MethodEstimate(
            **{**offer, "candidates": SECTION_ADAPTER.validate_python(offer["candidates"])}
        )
        for offer in record.pop("offers")
    )
    return MethodSelection(**record, offers=tuple(offers))


def _make_method_record(selection: MethodSelection) -> Record:
    offers = [
        {**vars(offer), "candidates": offer.candidates.model_dump(mode="json")}
        for offer in selection.offers
    ]
    return {**asdict(selection), "offers": offers}


DAMPING = SelectionKind("damping", "chosen", _parse_damping, asdict)
METHOD = SelectionKind("method", "method", _parse_method, _make_method_record)
K = SelectionKind("candidates", "chosen", _parse_k, asdict)
