"""The findings of a report as JSON: numbers, names of groups and ids, no example text."""

import json
import math
from dataclasses import asdict
from typing import Any

from tasks.report.built_report import BuiltReport
from tasks.report.report_marks import JSON_MARK
from tasks.results.changes_record import make_changes_record
from tasks.results.limits import find_worst_status

VERSION = 1


def render_report_json(page: BuiltReport) -> str:
    """Render the facts of a report as an indented JSON object; numbers not measured are null.

    Args:
        page: Report that was built.
    """
    record = {
        JSON_MARK: VERSION,
        "run": page.run if page.has_audit else None,
        "detection": None if page.has_audit else page.run,
        "compared_with": page.against,
        "result": find_worst_status(page.tests),
        "actions": [asdict(action) for action in page.actions],
        "tests": [asdict(test) for test in page.tests],
        "headline": page.headline,
        "reliability": page.reliability,
        "counts": page.counts,
        "labels": page.labels.make_record(),
        "flip_recall": page.flip_recall.make_record() if page.flip_recall else None,
        "worst_slice": asdict(page.worst_slice) if page.worst_slice else None,
        "changes": make_changes_record(page.difference) if page.difference else None,
    }
    return json.dumps(_clean(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _clean(value: Any) -> Any:
    """Replace numbers that are not finite, which JSON does not have, by null."""
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, str):  # a half of a surrogate pair is no valid UTF-8
        return value.encode("utf-8", "replace").decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value
