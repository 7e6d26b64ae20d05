"""The number of candidates that was chosen for a study: a part of its store, and in words."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from fastif.evaluation.select_k import CandidateChoice, Rung
from storage import Store
from tasks.study.sections import (
    AnyCandidates,
    FullScan,
    Knn,
    Sketches,
)

KIND, FILE = "candidates", "candidates.json"
MIN_ASKED = 16
"""Queries that k is chosen on, or `check` if that is more."""


def read_candidate_choice(store: Store, digest: str) -> CandidateChoice | None:
    """What was chosen, if it has been."""
    part = store.part(KIND, digest)
    return None if part is None else _choice(json.loads((part / FILE).read_text("utf-8")))


def write_candidate_choice(store: Store, digest: str, choice: CandidateChoice) -> None:
    """Keep a choice with all that was tried."""

    def write(folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(choice), indent=1) + "\n", "utf-8")

    store.write_part(KIND, digest, write)


def target_of(candidates: AnyCandidates) -> Knn | Sketches | None:
    """The method whose k is chosen by its recall; None if k is given."""
    if isinstance(candidates, Knn | Sketches) and candidates.target_recall is not None:
        return candidates
    return None


def settled(candidates: AnyCandidates, choice: CandidateChoice | None) -> AnyCandidates:
    """The section with what was chosen; as it is if nothing was."""
    method = target_of(candidates)
    if method is None or choice is None:
        return candidates
    return FullScan() if choice.k is None else method.model_copy(update={"k": choice.k})


def told_candidate_choice(candidates: str) -> CandidateChoice | None:
    """The choice in the column `candidates` of the table `runs`; None if k was given."""
    known = json.loads(candidates).get("chosen")
    return None if known is None else _choice(known)


def enough_evidence(choice: CandidateChoice) -> str:
    """What was chosen and why, for a summary.

    >>> rung = Rung(50, 0.97, 0.8, 1.0)
    >>> enough_evidence(CandidateChoice(50, 0.95, 100, 16, (Rung(20, 0.8, 0.6, 0.9), rung)))
    'k = 50, the first that holds 0.95 of the top 100: 0.97 (0.80 - 1.00) on 16 queries'
    >>> enough_evidence(CandidateChoice(None, 0.99, 100, 16, (rung,)))
    'all rows, since no k up to 50 holds 0.99 of the top 100'
    """
    top = f"{choice.target:g} of the top {choice.at}"
    if choice.k is None:
        return f"all rows, since no k up to {_last(choice)} holds {top}"
    last = choice.tried[-1]
    reached = f"{last.share:.2f} ({last.low:.2f} - {last.high:.2f}) on {choice.queries} queries"
    return f"k = {choice.k}, the first that holds {top}: {reached}"


def enough_alarms(choice: CandidateChoice, told: Sequence[dict]) -> Iterator[str]:
    """What is to be doubted about a choice, also by the recall on other queries afterwards."""
    if choice.k is None:
        best = max((rung.share for rung in choice.tried), default=0.0)
        yield (
            f"No number of candidates up to {_last(choice)} reaches [candidates] target_recall "
            f"{choice.target:g} (at best {best:.2f}): every row was scored."
        )
    for one in told:
        whole = not any(one.get(key) for key in ("method", "label", "slice"))
        if whole and one["at"] == choice.at and one["high"] < choice.target:
            yield (
                f"The k that was chosen to hold {choice.target:g} of the top {choice.at} holds "
                f"{one['share']:.2f} ({one['low']:.2f} - {one['high']:.2f}) for other queries."
            )


def _last(choice: CandidateChoice) -> int:
    return choice.tried[-1].k if choice.tried else 0


def _choice(known: dict) -> CandidateChoice:
    tried = tuple(Rung(**rung) for rung in known.pop("tried"))
    return CandidateChoice(**known, tried=tried)
