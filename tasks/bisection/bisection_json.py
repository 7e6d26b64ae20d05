"""Bisection of two runs as JSON: numbers, sources and labels, no text of an example."""

import json
import math

from tasks.bisection.conclusion import Conclusion
from tasks.bisection.contributions import Contribution
from tasks.bisection.findings import find_retraining, list_findings

MARK = "fastif bisect"
FORMAT = 1


def render_bisection_json(conclusion: Conclusion) -> str:
    """Render all numbers as JSON; numbers that are not finite are null."""
    bisection = conclusion.bisection
    losses, noise = bisection.losses, bisection.noise
    content = {
        MARK: FORMAT,
        "runs": list(bisection.runs),
        "slice": losses.value,
        "queries": len(losses.queries),
        "loss_before": losses.before,
        "loss_after": losses.after,
        "change": losses.change,
        "half_width": _finite(losses.half_width),
        "noise": None
        if noise is None
        else {
            "deviation": noise.deviation,
            "margin": noise.margin,
            "degrees": noise.degrees,
            "pairs": noise.trainings,
        },
        "groups": [_list_entries(conclusion, each) for each in bisection.contributions],
        "rest": bisection.rest,
        "settings": list(bisection.settings),
        "findings": list_findings(conclusion),
        "notes": list(bisection.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _list_entries(conclusion: Conclusion, each: Contribution) -> dict[str, object]:
    group, retraining = each.group, find_retraining(conclusion, each.group)
    return {
        "kind": group.kind,
        "column": group.column,
        "source": group.source,
        "rows": group.rows,
        "contribution": each.value,
        "stored": each.stored,
        "untrained": each.untrained,
        "copies": group.copies,
        "leaks": group.leaks,
        "moves": [list(move) for move in group.moves],
        "retraining": None
        if retraining is None
        else {
            "effect": retraining.effect,
            "half_width": _finite(retraining.half_width),
            "seed": retraining.seed,
            "verdict": conclusion.assess(group),
        },
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
