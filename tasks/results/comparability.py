"""How far two runs may be compared, by what each depends on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import polars as pl

from storage import RunRecord, Store

SCALE_PRESERVING = ("train", "queries", "certificate", "groups", "carried")
"""Parts of a run of which another changes what is asked, and not what a number means."""
ORDER_PRESERVING = (*SCALE_PRESERVING, "model", "models", "candidates")
"""Parts of which another leaves the order of rows comparable, but not the sizes of effects."""

Level = Literal["numbers", "order", "nothing"]


@dataclass(frozen=True)
class Comparability:
    """How far two runs may be compared.

    Attributes:
        level: what of their effects can be compared.
        reasons: what differs, setting by setting.
    """

    level: Level
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        """In a sentence.

        >>> print(Comparability("order", ("model: another one",)))
        Only the order of rows can be compared, not the sizes of effects: model: another one.
        """
        what = {
            "numbers": "Effects can be compared number by number",
            "order": "Only the order of rows can be compared, not the sizes of effects",
            "nothing": "Effects cannot be compared: they answer different questions",
        }[self.level]
        return f"{what}{': ' + '; '.join(self.reasons) if self.reasons else ''}."


def find_comparable_run(store: Store, run: str) -> str | None:
    """The last whole run before this one whose effects, or their order, can be compared.

    Before goes by the numbers that runs are given, see `storage.order`.
    """
    record = store.read_record(run)
    names = [status.record.run for status in store.list_runs()]
    for name in names[names.index(run) + 1 :]:
        status = store.read_status(name)
        if status.is_intact and check_comparability(status.record, record).level != "nothing":
            return name
    return None


def check_comparability(before: RunRecord, after: RunRecord) -> Comparability:
    """How far effects of the two may be compared, by what each depends on."""
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
    """Numbers of which one run counts the leverage of rows and the other does not are unlike.

    "auto" may have decided so by the size of the tables, which the settings do not show.
    """
    has_leverage = [
        store.scan("solves", run).select((pl.col("leverage") == "on").fill_null(False).any())
        for run in (before, after)
    ]
    first, second = (bool(frame.collect().item()) for frame in has_leverage)
    if comparability.level != "numbers" or first == second:
        return comparability
    reason = f"leverage of rows: {'on' if first else 'off'} became {'on' if second else 'off'}"
    return Comparability("order", (*comparability.reasons, reason))


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
            yield "one has answers and curvature of an earlier night"
    differences = [
        difference
        for difference in before.find_differences(after)
        if difference.split(":")[0].split(".")[0] in differing
    ]
    skipped = ("train", "query", "queries:", "model:", "models:", "shard_size", "certificate")
    skipped += ("carried",)
    yield from (difference for difference in differences if not difference.startswith(skipped))
