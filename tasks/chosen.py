"""The damping that was chosen for a study, as a part of its store."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from fastif.damping import DampingChoice
from storage import Store

KIND, FILE = "damping", "damping.json"
FORETOLD = 0.1
"""Correlation with retraining, below which no λ is better than another."""


def read_choice(store: Store, digest: str) -> DampingChoice | None:
    """What was chosen, if it has been."""
    part = store.part(KIND, digest)
    return None if part is None else _choice(json.loads((part / FILE).read_text("utf-8")))


def told_choice(curvature: str) -> DampingChoice | None:
    """The choice in the column `curvature` of the table `runs`; None if λ was given."""
    known = json.loads(curvature).get("chosen")
    return None if known is None else _choice(known)


def told_others(curvature: str) -> list[DampingChoice]:
    """The same for the further models of the study."""
    return [_choice(known) for known in json.loads(curvature).get("chosen_for_others", [])]


def choice_evidence(choice: DampingChoice, others: Sequence[DampingChoice] = ()) -> str:
    """How far the chosen λ is to be trusted, for a summary.

    >>> choice_evidence(DampingChoice(0.1, "retraining", (0.01, 0.1, 1.0), (0.2, 0.48, 0.3)))
    'by retraining, which its effects foretell with a correlation of 0.48'
    """
    further = ", ".join(f"{_best(other):.2f}" for other in others)
    return (
        f"by {choice.rule}, which its effects foretell with a correlation of {_best(choice):.2f}"
        + (f"; further models {further}" if others else "")
    )


def choice_alarms(choice: DampingChoice) -> Iterator[str]:
    """What is to be doubted about a choice.

    >>> list(choice_alarms(DampingChoice(0.1, "retraining", (0.01, 0.1, 1.0), (0.2, 0.48, 0.3))))
    []
    """
    if not _best(choice) > FORETOLD:
        yield (
            f"No damping foretells what retraining does (correlation {_best(choice):.2f}): the "
            "seeds of training move these queries more than the rows do."
        )
    elif choice.at_edge:
        yield (
            f"The chosen damping {choice.damping:.2g} is the last that was tried on its side: a "
            "better one may lie beyond. Set [curvature] damping to compare."
        )


def _best(choice: DampingChoice) -> float:
    return choice.agreement[choice.dampings.index(choice.damping)]


def _choice(known: dict) -> DampingChoice:
    dampings, agreement = (tuple(known.pop(name)) for name in ("dampings", "agreement"))
    return DampingChoice(**known, dampings=dampings, agreement=agreement)


def write_choice(store: Store, digest: str, choice: DampingChoice) -> None:
    """Keep a choice with its whole curve."""

    def write(folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(choice), indent=1) + "\n", "utf-8")

    store.write_part(KIND, digest, write)
