"""The damping that was chosen for a study, as a part of its store."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from fastif.evaluation.select_damping import DampingChoice
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
    further = ", ".join(f"{other.best:.2f}" for other in others)
    return (
        f"by {choice.rule}, which its effects foretell with a correlation of {choice.best:.2f}"
        + (f"; further models {further}" if others else "")
    )


def choice_alarms(choice: DampingChoice) -> Iterator[str]:
    """What is to be doubted about a choice.

    >>> list(choice_alarms(DampingChoice(0.1, "retraining", (0.01, 0.1, 1.0), (0.2, 0.48, 0.3))))
    []
    """
    if not choice.best > FORETOLD:
        yield (
            f"No damping foretells what retraining does (correlation {choice.best:.2f}): the "
            "seeds of training move these queries more than the rows do."
        )
    elif choice.at_edge:
        yield (
            f"The chosen damping {choice.damping:.2g} is the last that was tried on its side: a "
            "better one may lie beyond. Set [curvature] damping to compare."
        )


def left_out_record(
    names: Sequence[str], choices: Sequence[DampingChoice], places: Sequence[int]
) -> list[dict[str, object]]:
    """The models that are not in the mean, for the column `curvature` of the table `runs`."""
    best = max(choice.best for choice in choices)
    return [
        {"model": names[place], "agreement": choices[place].best, "best": best} for place in places
    ]


def left_out_alarms(curvature: str) -> Iterator[str]:
    """Which models of the study are not in the mean, and why.

    >>> one = {"model": "half", "agreement": 0.31, "best": 0.59}
    >>> list(left_out_alarms(json.dumps({"left_out": [one]})))[0][:54]
    'half is left out of the mean over models: its effects '
    """
    for one in json.loads(curvature).get("left_out", []):
        yield (
            f"{one['model']} is left out of the mean over models: its effects foretell retraining "
            f"with a correlation of {one['agreement']:.2f}, those of the best with "
            f"{one['best']:.2f}."
        )


def _choice(known: dict) -> DampingChoice:
    dampings, agreement = (tuple(known.pop(name)) for name in ("dampings", "agreement"))
    by_query = tuple(known.pop("by_query", ()))  # an older version kept none
    return DampingChoice(**known, dampings=dampings, agreement=agreement, by_query=by_query)


def write_choice(store: Store, digest: str, choice: DampingChoice) -> None:
    """Keep a choice with its whole curve."""

    def write(folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(choice), indent=1) + "\n", "utf-8")

    store.write_part(KIND, digest, write)
