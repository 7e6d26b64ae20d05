"""Comparability of two runs, derived from the settings and inputs that differ between them."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from storage import RunRecord, Store
from storage.ranking import RANKING_SCORE, fill_ranking_score

SCALE_PRESERVING = ("train", "queries", "certificate", "groups", "carried")
"""Parts of a run's record that can change without a change of the scale of effects."""
ORDER_PRESERVING = (*SCALE_PRESERVING, "model", "models", "estimator", "candidates")
"""Parts that can change while the order of rows, but not the sizes of effects, is comparable."""

Level = Literal["numbers", "order", "nothing"]


@dataclass(frozen=True)
class Comparability:
    """Degree to which the effects of two runs can be compared.

    Attributes:
        level: Comparable quantity: `numbers`, `order` of rows only, or `nothing`.
        reasons: Settings and inputs that differ, one phrase each.
    """

    level: Level
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        """Return one sentence: the level and its reasons.

        >>> print(Comparability("order", ("model: another one",)))
        Only the order of rows can be compared, not the sizes of effects: model: another one.
        """
        what = {
            "numbers": "Effects can be compared number by number",
            "order": "Only the order of rows can be compared, not the sizes of effects",
            "nothing": "Effects cannot be compared, since their definition differs",
        }[self.level]
        return f"{what}{': ' + '; '.join(self.reasons) if self.reasons else ''}."


LOSS_PARTS = ("labels", "loss", "penalty", "max_length")
"""Parts that define the loss of a query, together with the model."""


def has_equal_loss(before: RunRecord, after: RunRecord) -> bool:
    """Return whether losses of queries in two runs have one definition, so that they compare."""
    return all(before.parts.get(name) == after.parts.get(name) for name in LOSS_PARTS)


def find_comparable_run(store: Store, run: str) -> str | None:
    """Return the last intact earlier run with comparable effects or order; None without one.

    Earlier means a smaller sequence number, see `storage.order`.
    """
    record = store.read_record(run)
    names = [status.record.run for status in store.list_runs()]
    for name in names[names.index(run) + 1 :]:
        status = store.read_status(name)
        if status.is_intact and check_comparability(status.record, record).level != "nothing":
            return name
    return None


def check_effects(store: Store, before: str, after: str) -> Comparability:
    """Compare two runs by their settings, and by what each of them selected.

    Args:
        store: Store of both runs.
        before: Name of the earlier run.
        after: Name of the later run.
    """
    comparability = check_comparability(store.read_record(before), store.read_record(after))
    for check in (check_leverage, check_damping, check_estimator, check_ranking):
        comparability = check(comparability, store, before, after)
    return comparability


def check_comparability(before: RunRecord, after: RunRecord) -> Comparability:
    """Compare the records of two runs: the level is set by the parts that differ."""
    differing = {
        name
        for name in {*before.parts, *after.parts}
        if before.parts.get(name) != after.parts.get(name)
    }
    reasons = list(_describe_settings(before, after, differing))
    if differing <= set(SCALE_PRESERVING):
        return Comparability("numbers", tuple(reasons))
    return Comparability(
        "order" if differing <= set(ORDER_PRESERVING) else "nothing", tuple(reasons)
    )


def check_leverage(
    comparability: Comparability, store: Store, before: str, after: str
) -> Comparability:
    """Lower the level to `order` if only one of the two runs corrected its effects for leverage.

    With `leverage = "auto"` this depends on the sizes of the tables, which no setting shows.
    """
    has_leverage = [
        store.scan("solves", run).select((pl.col("leverage") == "on").fill_null(False).any())
        for run in (before, after)
    ]
    first, second = (bool(frame.collect().item()) for frame in has_leverage)
    if comparability.level != "numbers" or first == second:
        return comparability
    reason = f"leverage: {'on' if first else 'off'} became {'on' if second else 'off'}"
    return Comparability("order", (*comparability.reasons, reason))


def check_damping(
    comparability: Comparability, store: Store, before: str, after: str
) -> Comparability:
    """Lower the level to `order` if the two runs selected different dampings.

    With `damping = "auto"` the selection depends on the tables, which no setting shows, and every
    effect on the damping.
    """
    first, second = (
        store.scan("solves", run).select(pl.col("damping").max()).collect().item()
        for run in (before, after)
    )
    if comparability.level != "numbers" or first is None or second is None:
        return comparability
    if math.isclose(first, second, rel_tol=1e-6):
        return comparability
    reason = f"damping: {first:.3g} became {second:.3g}, selected for each run"
    return Comparability("order", (*comparability.reasons, reason))


def check_estimator(
    comparability: Comparability, store: Store, before: str, after: str
) -> Comparability:
    """Lower the level if the two runs selected effects of another kind, or at other weights.

    Effects of another kind (such as those of EK-FAC or of the whole training) have another
    definition, so nothing is compared; at other weights the order of rows is.
    """
    first, second = (_read_selected_models(store, run) for run in (before, after))
    if comparability.level == "nothing" or first == second:
        return comparability
    if first[0] != second[0]:
        reason = f"estimator: {first[0]} became {second[0]}, selected for each run"
        return Comparability("nothing", (*comparability.reasons, reason))
    if comparability.level == "order":
        return comparability
    reason = "estimator: effects at other weights, selected for each run"
    return Comparability("order", (*comparability.reasons, reason))


def check_ranking(
    comparability: Comparability, store: Store, before: str, after: str
) -> Comparability:
    """Lower the level to `nothing` if only one of the two runs ranks rows by ranking scores.

    The rows that a run keeps for a query are those that its ranking puts first or last, so sums
    over kept rows have other terms.
    """
    first, second = (_name_ranking(store, run) for run in (before, after))
    if comparability.level == "nothing" or first == second:
        return comparability
    reason = f"ranking: by {first} became by {second}"
    return Comparability("nothing", (*comparability.reasons, reason))


def _name_ranking(store: Store, run: str) -> str:
    scores = fill_ranking_score(store.scan("scores", run))
    has_scores = scores.select(pl.col(RANKING_SCORE).is_not_null().any()).collect().item()
    if not has_scores:
        return "removal effect"
    return f"ranking score of power {_read_estimator(store, run).get('power', 0.0):g}"


def _read_selected_models(store: Store, run: str) -> tuple[str, list[int]]:
    """Return kind and positions of the models in the mean; the first without a selection."""
    estimator = _read_estimator(store, run)
    return estimator.get("kind", "influence"), estimator.get("models", [0])


def _read_estimator(store: Store, run: str) -> dict[str, Any]:
    """Return the estimator that a run selected; empty without a selection."""
    rows = store.scan("runs", run).select("curvature").collect()["curvature"].to_list()
    selection = json.loads(rows[0]).get("estimator") if rows else None
    return selection["estimator"] if selection else {}


def _describe_settings(before: RunRecord, after: RunRecord, differing: set[str]) -> Iterator[str]:
    for name in sorted(differing):
        if name == "train" and before.train_rows != after.train_rows:
            ratio = before.train_rows / after.train_rows
            yield (
                f"{before.train_rows:,} training rows became {after.train_rows:,}, so each effect "
                f"is {ratio:.2f} times as large by that alone"
            )
        elif name in ("train", "queries"):
            yield f"rows of {'training' if name == 'train' else 'query'} table changed"
        elif name in ("model", "models"):
            yield "another model"
        elif name == "carried":
            yield "one reuses scores and curvature of an earlier run"
    differences = [
        difference
        for difference in before.find_differences(after)
        if difference.split(":")[0].split(".")[0] in differing
    ]
    skipped = ("train", "query", "queries:", "model:", "models:", "shard_size", "certificate")
    skipped += ("carried",)
    yield from (difference for difference in differences if not difference.startswith(skipped))
