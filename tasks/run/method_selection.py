"""The method of finding candidates that was chosen for a study: a part of its store, in words."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from storage import Store
from tasks.run.method_choice import KNN, MethodChoice, Offer
from tasks.study.sections import AnyCandidates

KIND, FILE = "method", "method.json"
SECTION: TypeAdapter[AnyCandidates] = TypeAdapter(AnyCandidates)


def read_method(store: Store, digest: str) -> MethodChoice | None:
    """What was chosen, if it has been."""
    part = store.part(KIND, digest)
    return None if part is None else _choice(json.loads((part / FILE).read_text("utf-8")))


def write_method(store: Store, digest: str, choice: MethodChoice) -> None:
    """Keep a choice with all that there was to choose from; one that is there stays."""

    def write(folder: Path) -> None:
        text = json.dumps(as_record(choice), indent=1)
        (folder / FILE).write_text(text + "\n", "utf-8")

    store.write_part(KIND, digest, write)


def as_record(choice: MethodChoice) -> dict[str, Any]:
    """For a file, or the column `candidates` of the table `runs`."""
    offers = [
        {**vars(offer), "candidates": offer.candidates.model_dump(mode="json")}
        for offer in choice.offers
    ]
    return {**asdict(choice), "offers": offers}


def told_method(candidates: str) -> MethodChoice | None:
    """The choice in the column `candidates` of the table `runs`; None if the study named one."""
    known = json.loads(candidates).get("method")
    return None if known is None else _choice(known)


def method_evidence(choice: MethodChoice) -> Iterator[tuple[str, str]]:
    """What was chosen and why, and what each method was forecast to take, for a summary."""
    yield "method chosen", f"{choice.name}. {choice.reason}"
    for offer in choice.offers:
        yield f"  {offer.name}", f"{offer}"


def method_alarms(choice: MethodChoice, told: Sequence[dict]) -> Iterator[str]:
    """Whether what was taken misses most, or takes longer than it may."""
    if choice.name == KNN:
        yield (
            f"Nearest neighbours miss most of the influential rows, and were taken all the same. "
            f"{choice.reason} They hold {_held(told)}."
        )
    elif not choice.fits:
        yield f"[candidates] minutes: {choice.reason}"


def _held(told: Sequence[dict]) -> str:
    whole = [
        one for one in told if all(one.get(key) is None for key in ("method", "label", "slice"))
    ]
    shares = [
        f"{one['share']:.2f} of the top {one['at']} ({one['low']:.2f} - {one['high']:.2f})"
        for one in whole
    ]
    return ", ".join(shares) or "nobody knows how much, since check = 0"


def _choice(known: dict[str, Any]) -> MethodChoice:
    offers = (
        Offer(**{**offer, "candidates": SECTION.validate_python(offer["candidates"])})
        for offer in known.pop("offers")
    )
    return MethodChoice(**known, offers=tuple(offers))
