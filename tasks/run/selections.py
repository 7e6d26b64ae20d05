"""The damping that was chosen for a study, as a part of its store."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from fastif.evaluation.select_damping import DampingSelection
from fastif.evaluation.select_k import KSelection
from storage import Store
from tasks.run.artifact_keys import damping_digest, k_digest
from tasks.run.context import RunContext
from tasks.run.k_selection import read_k_selection
from tasks.run.spec import find_existing_store

KIND, FILE = "damping", "damping.json"
MIN_CORRELATION = 0.1
"""Correlation with retraining, below which no λ is better than another."""


def read_damping_choice(store: Store, digest: str) -> DampingSelection | None:
    """What was chosen, if it has been."""
    artifact = store.find_artifact(KIND, digest)
    return (
        None
        if artifact is None
        else _make_damping_choice(json.loads((artifact / FILE).read_text("utf-8")))
    )


def resolve_choices(context: RunContext) -> RunContext:
    """The context with the store and what has been chosen in it by now; itself if nothing is new.

    What was made of it is kept: what depends on a choice is kept under that choice.
    """
    store = find_existing_store(context.study)
    first, *others = (_resolve_damping(member, store) for member in context.members)
    latest = replace(first, others=tuple(others))
    latest = replace(latest, k_selection=_find_k_selection(latest))
    return context if _list_choices(latest) == _list_choices(context) else latest


def _resolve_damping(member: RunContext, store: Store | None) -> RunContext:
    choice = None
    if store is not None and member.study.fixed_damping is None:
        choice = read_damping_choice(store, damping_digest(member))
    return replace(member, existing_store=store, damping_choice=choice)


def _find_k_selection(context: RunContext) -> KSelection | None:
    is_open = context.known_damping is None or context.existing_store is None
    if is_open or context.study.candidates.target_method is None:
        return None
    return read_k_selection(context.store, k_digest(context))


def _list_choices(context: RunContext) -> list[object]:
    return [(m.existing_store, m.damping_choice, m.k_selection) for m in context.members]


def parse_damping_choice(curvature: str) -> DampingSelection | None:
    """The choice in the column `curvature` of the table `runs`; None if λ was given."""
    known = json.loads(curvature).get("chosen")
    return None if known is None else _make_damping_choice(known)


def parse_other_damping_choices(curvature: str) -> list[DampingSelection]:
    """The same for the further models of the study."""
    return [
        _make_damping_choice(known) for known in json.loads(curvature).get("chosen_for_others", [])
    ]


def describe_damping_choice(
    choice: DampingSelection, others: Sequence[DampingSelection] = ()
) -> str:
    """How far the chosen λ is to be trusted, for a summary.

    >>> dampings, agreements = (0.01, 0.1, 1.0), (0.2, 0.48, 0.3)
    >>> describe_damping_choice(DampingSelection(0.1, "retraining", dampings, agreements))
    'by retraining, which its effects foretell with a correlation of 0.48'
    """
    correlations = ", ".join(f"{other.best_agreement:.2f}" for other in others)
    return (
        f"by {choice.rule}, which its effects foretell with a correlation of "
        f"{choice.best_agreement:.2f}" + (f"; further models {correlations}" if others else "")
    )


def warn_damping_choice(choice: DampingSelection) -> Iterator[str]:
    """What is to be doubted about a choice.

    >>> dampings, agreements = (0.01, 0.1, 1.0), (0.2, 0.48, 0.3)
    >>> list(warn_damping_choice(DampingSelection(0.1, "retraining", dampings, agreements)))
    []
    """
    if not choice.best_agreement > MIN_CORRELATION:
        yield (
            f"No damping foretells what retraining does (correlation {choice.best_agreement:.2f}): "
            "the "
            "seeds of training move these queries more than the rows do."
        )
    elif choice.is_at_edge:
        yield (
            f"The chosen damping {choice.damping:.2g} is the last that was tried on its side: a "
            "better one may lie beyond. Set [curvature] damping to compare."
        )


def make_excluded_record(
    names: Sequence[str], choices: Sequence[DampingSelection], places: Sequence[int]
) -> list[dict[str, object]]:
    """The models that are not in the mean, for the column `curvature` of the table `runs`."""
    best = max(choice.best_agreement for choice in choices)
    return [
        {"model": names[place], "agreement": choices[place].best_agreement, "best": best}
        for place in places
    ]


def warn_excluded_models(curvature: str) -> Iterator[str]:
    """Which models of the study are not in the mean, and why.

    >>> model = {"model": "half", "agreement": 0.31, "best": 0.59}
    >>> list(warn_excluded_models(json.dumps({"left_out": [model]})))[0][:54]
    'half is left out of the mean over models: its effects '
    """
    for model in json.loads(curvature).get("left_out", []):
        yield (
            f"{model['model']} is left out of the mean over models: its effects foretell "
            "retraining "
            f"with a correlation of {model['agreement']:.2f}, those of the best with "
            f"{model['best']:.2f}."
        )


def _make_damping_choice(known: dict) -> DampingSelection:
    dampings, agreement = (tuple(known.pop(name)) for name in ("dampings", "agreement"))
    by_query = tuple(known.pop("by_query", ()))  # an older version kept none
    return DampingSelection(**known, dampings=dampings, agreement=agreement, by_query=by_query)


def write_damping_choice(store: Store, digest: str, choice: DampingSelection) -> None:
    """Keep a choice with its whole curve."""

    def write(folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(choice), indent=1) + "\n", "utf-8")

    store.write_artifact(KIND, digest, write)
