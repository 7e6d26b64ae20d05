"""Findings on a flip set in sentences, and the answer as JSON."""

import json
import math

from tasks.flips.flip_answer import EditedTraining, FlipAnswer

MARK = "fastif flip"
FORMAT = 1


def list_findings(answer: FlipAnswer) -> list[str]:
    """Return what was found: the set or that there is none, the bound, and the confirmation."""
    return [_describe_set(answer), _describe_bound(answer), *_describe_trainings(answer)]


def _describe_set(answer: FlipAnswer) -> str:
    count = len(answer.rows)
    change = (
        f"{_count_rows(count)} relabelled" if answer.relabel else f"{_count_rows(count)} removed"
    )
    margins = (
        f"the margin of {answer.prediction} would go from {answer.margin:+.3g} to "
        f"{answer.corrected_margin:+.3g} logits"
    )
    if answer.is_flip:
        flip = f"flip from {answer.prediction} to {answer.new_prediction}"
        return f"With {change} the prediction is predicted to {flip}: {margins}."
    if not count:
        return (
            f"No set of at most {_count_rows(answer.max_rows)} is predicted to flip the "
            f"prediction {answer.prediction}: none that was tried lowers its margin."
        )
    return (
        f"No set of at most {_count_rows(answer.max_rows)} is predicted to flip the prediction: "
        f"with the best {change} {margins}."
    )


def _describe_bound(answer: FlipAnswer) -> str:
    if answer.first_order_size is None:
        return "To first order, where effects add up, not even all rows suffice."
    return (
        f"To first order, where effects add up, the smallest set has "
        f"{_count_rows(answer.first_order_size)}, and no smaller one suffices."
    )


def _describe_trainings(answer: FlipAnswer) -> list[str]:
    if not answer.trainings:
        return []
    verb = "relabelled" if answer.relabel else "removed"
    sentences = []
    for is_random, rows in ((False, "these rows"), (True, "as many random rows")):
        trainings = [each for each in answer.trainings if each.is_random == is_random]
        flips = [each for each in trainings if each.prediction != answer.prediction]
        sentences.append(
            f"Trained again with {rows} {verb}: the prediction flipped in {len(flips)} of "
            f"{len(trainings)} trainings ({_join_margins(trainings)})."
        )
    return sentences


def _join_margins(trainings: list[EditedTraining]) -> str:
    return ", ".join(
        f"seed {each.seed}: {each.prediction}, margin {each.margin:+.3g}" for each in trainings
    )


def _count_rows(count: int) -> str:
    return f"{count:,} training row{'' if count == 1 else 's'}"


def render_flip_json(answer: FlipAnswer) -> str:
    """Render all numbers, ids and labels as JSON, without texts; null if not finite."""
    content = {
        MARK: FORMAT,
        "run": answer.run,
        "query": answer.query_id,
        "edit": "relabel" if answer.relabel else "remove",
        "prediction": answer.prediction,
        "runner_up": answer.runner_up,
        "margin": answer.margin,
        "flips": answer.is_flip,
        "new_prediction": answer.new_prediction,
        "rival": answer.rival,
        "rival_margin": answer.rival_margin,
        "size": len(answer.rows),
        "max_rows": answer.max_rows,
        "rows": [
            {"id": row.id, "label": row.label, "new_label": row.new_label, "effect": row.effect}
            for row in answer.rows
        ],
        "first_order_size": answer.first_order_size,
        "first_order_margin": _finite(answer.first_order_margin),
        "one_step_margin": _finite(answer.one_step_margin),
        "corrected_margin": _finite(answer.corrected_margin),
        "leverage": _finite(answer.leverage),
        "residual": _finite(answer.residual),
        "response_residual": _finite(answer.response_residual),
        "trainings": [
            {
                "rows": "random" if each.is_random else "set",
                "seed": each.seed,
                "prediction": each.prediction,
                "margin": _finite(each.margin),
            }
            for each in answer.trainings
        ],
        "findings": list_findings(answer),
        "notes": list(answer.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
