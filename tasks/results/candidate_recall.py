"""Recall of the candidates over all queries, as the table `runs` has it."""

import json
from collections.abc import Iterable, Mapping
from typing import Any


def select_overall(entries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Select the entries of all queries and of the candidates in use, without a breakdown.

    Examples:
        >>> select_overall([{"at": 10, "label": "a"}, {"at": 10, "label": None}])
        [{'at': 10, 'label': None}]
    """
    breakdowns = ("method", "label", "slice")
    return [entry for entry in entries if all(entry.get(part) is None for part in breakdowns)]


def find_lowest_recall(entries: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the entry of all queries with the lowest recall; None if it was not measured."""
    overall = select_overall(entries)
    return min(overall, key=lambda entry: float(entry["share"])) if overall else None


def is_full_scan(facts: Mapping[str, object]) -> bool:
    """Return whether every row was scored: by the study, the chosen method, or as a fallback.

    Args:
        facts: Row of the table `runs`; an unknown method is no full scan.

    Examples:
        >>> is_full_scan({"candidates": '{"kind": "knn"}'})
        False
    """
    candidates = json.loads(str(facts["candidates"] or '{"kind": null}'))
    method = candidates.get("method") or {}
    offers = {offer["name"]: offer["candidates"]["kind"] for offer in method.get("offers", ())}
    is_fallback = "chosen" in candidates and candidates["chosen"].get("k") is None
    return "full" in (candidates["kind"], offers.get(method.get("name"))) or is_fallback
