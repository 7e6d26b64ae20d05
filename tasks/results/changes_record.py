"""Comparison of two runs as a record for JSON: numbers, ids and labels, no example text."""

from dataclasses import asdict
from typing import Any

from storage.run_comparison import ENTERED, ENTERED_DOUBLED, LEFT_HALVED
from tasks.results.changed_query import ChangedQuery
from tasks.results.compare_runs import RunDifference, SliceDifference
from tasks.results.paired_accuracy import compare_paired_accuracy

MAX_ROWS = 100
"""Largest number of training rows that entered or left the most harmful ones."""


def make_changes_record(difference: RunDifference) -> dict[str, Any]:
    """Return a comparison as a record; what cannot be compared is None.

    Args:
        difference: Comparison of two runs.
    """
    queries = difference.queries
    return {
        "comparable": difference.comparability.level,
        "reasons": list(difference.comparability.reasons),
        "notes": [*difference.notes, *(queries.notes if queries else ())],
        "most_harmful": difference.k,
        "overall": _make_part(difference.overall) if difference.overall else None,
        "group": difference.group,
        "slices": [_make_part(part) for part in difference.slices],
        "broken": [_make_query(query) for query in queries.broken] if queries else [],
        "repaired": [_make_query(query) for query in queries.repaired] if queries else [],
        "predictions": asdict(difference.predictions) if difference.predictions else None,
        "changed_rows": queries.changed_rows if queries else None,
        "rows": None if difference.rows is None else _make_rows(difference),
    }


def _make_part(part: SliceDifference) -> dict[str, Any]:
    low, high, p = compare_paired_accuracy(part)
    return asdict(part) | {"change_low": low, "change_high": high, "p": p}


def _make_query(query: ChangedQuery) -> dict[str, Any]:
    return asdict(query) | {"loss_change": query.loss_change}


def _make_rows(difference: RunDifference) -> list[dict[str, Any]]:
    """Rows that entered or left the most harmful ones; their effects where sizes compare."""
    assert difference.rows is not None, "checked by the caller"
    states = {"new": "new", "gone": "removed", "relabelled": "relabelled", "edited": "edited"}
    rows = []
    for row in difference.rows.head(MAX_ROWS).iter_rows(named=True):
        record = {
            "id": row["id"],
            "label": row["label"],
            "change": "entered" if row["change"] in ENTERED else "left",
            "state": next((name for key, name in states.items() if row[key]), "same"),
        }
        if difference.has_sizes:
            record |= {
                "is_doubled_or_halved": row["change"] in (ENTERED_DOUBLED, LEFT_HALVED),
                "effect_before": row["effect_before"],
                "effect_after": row["effect_after"],
            }
        rows.append(record)
    return rows
