"""Findings of a bisection in sentences, and the cells of its table, for every format."""

from collections.abc import Iterator

from tasks.bisection.change_groups import ChangeGroup, describe_group
from tasks.bisection.conclusion import (
    CONFIRMED,
    OPPOSITE,
    UNKNOWN,
    WITHIN_NOISE,
    Conclusion,
    Retraining,
)
from tasks.bisection.contributions import Contribution
from tasks.bisection.slice_losses import SliceLosses
from tasks.results.group_names import format_group_value

HEAD = ("change of training rows", "rows", "contribution", "stored", "by retraining", "notes")
REST = "rest"
MAX_MOVES = 3
VERDICTS = {
    CONFIRMED: "confirmed",
    WITHIN_NOISE: "within the noise",
    OPPOSITE: "moves the loss the other way",
    UNKNOWN: "noise unknown",
}


def list_findings(conclusion: Conclusion) -> list[str]:
    """Return sentences: the change, the noise of retraining, and what is confirmed."""
    bisection = conclusion.bisection
    return [
        describe_change(bisection.losses),
        _describe_noise(conclusion),
        *_describe_settings(conclusion),
        _describe_outcome(conclusion),
    ]


def describe_change(losses: SliceLosses) -> str:
    """Return one sentence on the change of the slice's loss."""
    name = "all queries" if losses.value is None else f"slice {format_group_value(losses.value)}"
    low, high = losses.change - losses.half_width, losses.change + losses.half_width
    return (
        f"Mean loss of {name} ({len(losses.queries):,} queries): {losses.before:.4f} to "
        f"{losses.after:.4f} nats, {losses.change:+.4f} (95 % interval over queries "
        f"{low:+.4f} to {high:+.4f})."
    )


def _describe_noise(conclusion: Conclusion) -> str:
    noise = conclusion.bisection.noise
    if noise is None:
        hint = "; a control measures it (--confirm 1)" if conclusion.retrainings else ""
        return f"The noise of retraining is not measured, so no group is blamed{hint}."
    pairs = "one pair" if noise.trainings == 1 else f"{noise.trainings} pairs"
    return (
        f"Trainings on equal rows differ by {noise.deviation:.4f} nats on this slice (standard "
        f"deviation, {pairs} of trainings): differences up to {noise.margin:.4f} are noise."
    )


def _describe_settings(conclusion: Conclusion) -> Iterator[str]:
    if settings := conclusion.bisection.settings:
        yield f"Settings differ, and are part of the rest: {'; '.join(settings)}."


def _describe_outcome(conclusion: Conclusion) -> str:
    bisection = conclusion.bisection
    if not bisection.contributions:
        return "No training row differs: the change is that of another seed or other settings."
    if blamed := conclusion.blamed:
        names = "; ".join(describe_group(group) for group in blamed)
        return f"Confirmed as a cause: {names}."
    noise = bisection.noise
    if noise is not None and abs(bisection.losses.change) <= noise.margin:
        return "The change is within the noise of retraining: nothing is blamed."
    if any(each.group for each in conclusion.retrainings):
        return "No suspect is confirmed by retraining: nothing is blamed."
    if not bisection.suspects:
        return "No group moves the loss in the direction of its change: nothing is blamed."
    first = describe_group(bisection.suspects[0].group)
    why = f" ({conclusion.reason})" if conclusion.reason else ""
    return f"First suspect, not confirmed: {first}{why}."


def list_rows(conclusion: Conclusion, most: int | None = None) -> list[tuple[str, ...]]:
    """Return the cells of the table below `HEAD`: groups, what else there are, and the rest.

    Args:
        conclusion: Conclusion of a bisection.
        most: Maximum number of groups; all if None.
    """
    bisection = conclusion.bisection
    rows = [_list_cells(conclusion, each) for each in bisection.contributions[:most]]
    if len(bisection.contributions) > len(rows):
        others = bisection.contributions[len(rows) :]
        count = sum(each.group.rows for each in others)
        total = sum(each.value or 0.0 for each in others)
        value = "unknown" if any(each.value is None for each in others) else f"{total:+.4f}"
        rows.append((f"{len(others):,} other groups", f"{count:,}", value, "", "", ""))
    parts = ["seed", "settings", "error of the prediction"]
    if unknown := sum(each.value is None for each in bisection.contributions):
        parts.append(f"{unknown:,} groups without stored effects")
    rest = format_value(conclusion, bisection.rest)
    return [*rows, (REST, "", rest, "", "", ", ".join(parts))]


def _list_cells(conclusion: Conclusion, each: Contribution) -> tuple[str, ...]:
    retraining = find_retraining(conclusion, each.group)
    checked = ""
    if retraining is not None:
        verdict = VERDICTS[conclusion.assess(each.group)]
        checked = f"{retraining.effect:+.4f} ± {retraining.half_width:.4f}, {verdict}"
    return (
        describe_group(each.group),
        f"{each.group.rows:,}",
        format_value(conclusion, each.value),
        f"{each.stored:.0%}",
        checked,
        ", ".join(list_notes(each)),
    )


def format_value(conclusion: Conclusion, value: float | None) -> str:
    """Return a contribution in nats with the noise of retraining, where that is known."""
    if value is None:
        return "unknown"
    noise = conclusion.bisection.noise
    return f"{value:+.4f}" + (f" ± {noise.margin:.4f}" if noise else "")


def find_retraining(conclusion: Conclusion, group: ChangeGroup) -> Retraining | None:
    """Return the retraining without the change of a group; None if there is none."""
    return next((each for each in conclusion.retrainings if each.group is group), None)


def list_notes(each: Contribution) -> Iterator[str]:
    """Yield phrases on the rows of a group: copies, leaks, labels, rows not trained on."""
    group = each.group
    if group.copies:
        yield f"{group.copies:,} copies of training rows"
    if group.leaks:
        yield f"{group.leaks:,} are queries"
    for old, new, count in group.moves[:MAX_MOVES]:
        yield f"{count:,} {old} → {new}"
    if len(group.moves) > MAX_MOVES:
        yield f"{len(group.moves) - MAX_MOVES} other changes of labels"
    if each.untrained:
        yield f"{each.untrained:,} not trained on"
