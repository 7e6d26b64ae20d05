"""The number of candidates that was chosen for a study: a part of its store, and in words."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from fastif.evaluation.select_k import KSelection, KTrial
from storage import Store
from tasks.study.any_candidates import AnyCandidates
from tasks.study.candidates import FullScanSection

KIND, FILE = "candidates", "candidates.json"
MIN_QUERIES = 16
"""Queries that k is chosen on, or `check` if that is more."""


def read_k_selection(store: Store, digest: str) -> KSelection | None:
    """What was chosen, if it has been."""
    artifact = store.find_artifact(KIND, digest)
    return (
        None
        if artifact is None
        else _make_k_selection(json.loads((artifact / FILE).read_text("utf-8")))
    )


def write_k_selection(store: Store, digest: str, choice: KSelection) -> None:
    """Keep a choice with all that was tried."""

    def write(folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(choice), indent=1) + "\n", "utf-8")

    store.write_artifact(KIND, digest, write)


def apply_k_selection(candidates: AnyCandidates, choice: KSelection | None) -> AnyCandidates:
    """The section with what was chosen; as it is if nothing was."""
    method = candidates.target_method
    if method is None or choice is None:
        return candidates
    return FullScanSection() if choice.k is None else method.model_copy(update={"k": choice.k})


def parse_k_selection(candidates: str) -> KSelection | None:
    """The choice in the column `candidates` of the table `runs`; None if k was given."""
    known = json.loads(candidates).get("chosen")
    return None if known is None else _make_k_selection(known)


def describe_k_selection(choice: KSelection) -> str:
    """What was chosen and why, for a summary.

    >>> rung = KTrial(50, 0.97, 0.8, 1.0)
    >>> describe_k_selection(KSelection(50, 0.95, 100, 16, (KTrial(20, 0.8, 0.6, 0.9), rung)))
    'k = 50, the first that holds 0.95 of the top 100: 0.97 (0.80 - 1.00) on 16 queries'
    >>> describe_k_selection(KSelection(None, 0.99, 100, 16, (rung,)))
    'all rows, since no k up to 50 holds 0.99 of the top 100'
    """
    top = f"{choice.target:g} of the top {choice.at}"
    if choice.k is None:
        return f"all rows, since no k up to {_find_largest_k(choice)} holds {top}"
    last = choice.tried[-1]
    reached = f"{last.share:.2f} ({last.low:.2f} - {last.high:.2f}) on {choice.queries} queries"
    return f"k = {choice.k}, the first that holds {top}: {reached}"


def warn_k_selection(choice: KSelection, recalls: Sequence[dict]) -> Iterator[str]:
    """What is to be doubted about a choice, also by the recall on other queries afterwards."""
    if choice.k is None:
        best_share = max((rung.share for rung in choice.tried), default=0.0)
        yield (
            f"No number of candidates up to {_find_largest_k(choice)} reaches [candidates] "
            "target_recall "
            f"{choice.target:g} (at best {best_share:.2f}): every row was scored."
        )
    for recall in recalls:
        is_overall = not any(recall.get(key) for key in ("method", "label", "slice"))
        if is_overall and recall["at"] == choice.at and recall["high"] < choice.target:
            yield (
                f"The k that was chosen to hold {choice.target:g} of the top {choice.at} holds "
                f"{recall['share']:.2f} ({recall['low']:.2f} - {recall['high']:.2f}) for other "
                "queries."
            )


def _find_largest_k(choice: KSelection) -> int:
    return choice.tried[-1].k if choice.tried else 0


def _make_k_selection(known: dict) -> KSelection:
    tried = tuple(KTrial(**rung) for rung in known.pop("tried"))
    return KSelection(**known, tried=tried)
