"""The method of finding candidates that was chosen for a study: a part of its store, in words."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from storage import Store
from tasks.run.method_choice import KNN, MethodEstimate, MethodSelection
from tasks.study.any_candidates import AnyCandidates

KIND, FILE = "method", "method.json"
SECTION_ADAPTER: TypeAdapter[AnyCandidates] = TypeAdapter(AnyCandidates)


def read_method_selection(store: Store, digest: str) -> MethodSelection | None:
    """What was chosen, if it has been."""
    artifact = store.find_artifact(KIND, digest)
    return (
        None
        if artifact is None
        else _make_method_selection(json.loads((artifact / FILE).read_text("utf-8")))
    )


def write_method_selection(store: Store, digest: str, choice: MethodSelection) -> None:
    """Keep a choice with all that there was to choose from; one that is there stays."""

    def write(folder: Path) -> None:
        text = json.dumps(make_record(choice), indent=1)
        (folder / FILE).write_text(text + "\n", "utf-8")

    store.write_artifact(KIND, digest, write)


def make_record(choice: MethodSelection) -> dict[str, Any]:
    """For a file, or the column `candidates` of the table `runs`."""
    offers = [
        {**vars(offer), "candidates": offer.candidates.model_dump(mode="json")}
        for offer in choice.offers
    ]
    return {**asdict(choice), "offers": offers}


def parse_method_selection(candidates: str) -> MethodSelection | None:
    """The choice in the column `candidates` of the table `runs`; None if the study named one."""
    known = json.loads(candidates).get("method")
    return None if known is None else _make_method_selection(known)


def describe_method_selection(choice: MethodSelection) -> Iterator[tuple[str, str]]:
    """What was chosen and why, and what each method was forecast to take, for a summary."""
    yield "method chosen", f"{choice.name}. {choice.reason}"
    for offer in choice.offers:
        yield f"  {offer.name}", f"{offer}"


def warn_method_selection(choice: MethodSelection, recalls: Sequence[dict]) -> Iterator[str]:
    """Whether what was taken misses most, or takes longer than it may."""
    if choice.name == KNN:
        yield (
            f"Nearest neighbours miss most of the influential rows, and were taken all the same. "
            f"{choice.reason} They hold {_format_recalls(recalls)}."
        )
    elif not choice.fits:
        yield f"[candidates] minutes: {choice.reason}"


def _format_recalls(recalls: Sequence[dict]) -> str:
    overall = [
        recall
        for recall in recalls
        if all(recall.get(key) is None for key in ("method", "label", "slice"))
    ]
    shares = [
        f"{recall['share']:.2f} of the top {recall['at']} ({recall['low']:.2f} - "
        f"{recall['high']:.2f})"
        for recall in overall
    ]
    return ", ".join(shares) or "nobody knows how much, since check = 0"


def _make_method_selection(known: dict[str, Any]) -> MethodSelection:
    offers = (
        MethodEstimate(
            **{**offer, "candidates": SECTION_ADAPTER.validate_python(offer["candidates"])}
        )
        for offer in known.pop("offers")
    )
    return MethodSelection(**known, offers=tuple(offers))
