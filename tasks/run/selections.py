"""Selected settings of a study (damping, rows, candidate method, k), each stored as an artifact."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from fastif.evaluation.estimator import Estimator
from fastif.evaluation.select_damping import DampingSelection
from fastif.evaluation.select_estimator import EstimatorSelection, EstimatorTrial
from fastif.evaluation.select_k import KSelection, KTrial
from fastif.evaluation.select_precision import PrecisionSelection, PrecisionTrial
from storage import Store
from tasks.run.agreement import parse_agreement
from tasks.run.budget_selection import make_budget_record, parse_budget_selection
from tasks.run.method_choice import MethodEstimate, MethodSelection
from tasks.run.rows_selection import RowsSelection
from tasks.run.selection_names import SelectionName
from tasks.study.any_candidates import AnyCandidates
from tasks.study.candidates import FullScanSection

Record = dict[str, Any]
Selection = TypeVar("Selection")

MIN_QUERIES = 16
"""Minimum number of queries on which k is selected; `check` if that is larger."""
SECTION_ADAPTER: TypeAdapter[AnyCandidates] = TypeAdapter(AnyCandidates)


@dataclass(frozen=True)
class SelectionKind(Generic[Selection]):
    """Storage format of one kind of selection.

    Attributes:
        name: Kind of its artifacts, and stem of the JSON file in each.
        key: Key of its record in a JSON column of the table `runs`.
        parse: Function that converts a record to a selection.
        make_record: Function that converts a selection to a record.
    """

    name: str
    key: str
    parse: Callable[[Record], Selection]
    make_record: Callable[[Selection], Record]

    def read(self, store: Store, digest: str) -> Selection | None:
        """Read a selection from the store; None if it has not been made."""
        artifact = store.find_artifact(self.name, digest)
        if artifact is None:
            return None
        return self.parse(json.loads((artifact / f"{self.name}.json").read_text("utf-8")))

    def write(self, store: Store, digest: str, selection: Selection) -> None:
        """Write a selection with all values that were tried; an existing one is kept."""
        text = json.dumps(self.make_record(selection), indent=1) + "\n"

        def write(folder: Path) -> None:
            (folder / f"{self.name}.json").write_text(text, "utf-8")

        store.write_artifact(self.name, digest, write)

    def parse_column(self, column: str) -> Selection | None:
        """Parse a JSON column of the table `runs`; None if nothing was selected."""
        record = json.loads(column).get(self.key)
        return None if record is None else self.parse(record)


def apply_k_selection(candidates: AnyCandidates, selection: KSelection | None) -> AnyCandidates:
    """Return the section with the selected k, or a full scan if no k reached the target."""
    method = candidates.target_method
    if method is None or selection is None:
        return candidates
    k = selection.k
    return FullScanSection() if k is None else method.model_copy(update={"k": k})


def _parse_damping(record: Record) -> DampingSelection:
    dampings, agreement = (tuple(record.pop(name)) for name in ("dampings", "agreement"))
    by_query = tuple(record.pop("by_query", ()))  # missing in records of older versions
    return DampingSelection(**record, dampings=dampings, agreement=agreement, by_query=by_query)


def _parse_estimator(record: Record) -> EstimatorSelection:
    trials = tuple(
        EstimatorTrial(**{**trial, "estimator": _parse_one_estimator(trial["estimator"])})
        for trial in record["trials"]
    )
    estimator = _parse_one_estimator(record["estimator"])
    return EstimatorSelection(**{**record, "estimator": estimator, "trials": trials})


def _parse_one_estimator(record: Record) -> Estimator:
    sequences = {name: tuple(record[name]) for name in ("models", "dampings")}
    return Estimator(**{**record, **sequences})


def _parse_k(record: Record) -> KSelection:
    tried = tuple(KTrial(**trial) for trial in record.pop("tried"))
    return KSelection(**record, tried=tried)


def _parse_precision(record: Record) -> PrecisionSelection:
    trials = tuple(PrecisionTrial(**trial) for trial in record.pop("trials"))
    return PrecisionSelection(**record, trials=trials)


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


DAMPING = SelectionKind(SelectionName.DAMPING, "chosen", _parse_damping, asdict)
METHOD = SelectionKind(SelectionName.METHOD, "method", _parse_method, _make_method_record)
ROWS = SelectionKind(
    SelectionName.ROWS, "rows_choice", lambda record: RowsSelection(**record), asdict
)
BUDGET = SelectionKind(SelectionName.BUDGET, "budget", parse_budget_selection, make_budget_record)
AGREEMENT = SelectionKind(SelectionName.AGREEMENT, "agreement", parse_agreement, asdict)
ESTIMATOR = SelectionKind(SelectionName.ESTIMATOR, "estimator", _parse_estimator, asdict)
PRECISION = SelectionKind(SelectionName.PRECISION, "precision_choice", _parse_precision, asdict)
K = SelectionKind(SelectionName.K, "chosen", _parse_k, asdict)
