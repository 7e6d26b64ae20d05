"""What changed from one run to another, and how far the two may be compared."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from storage import RunRecord, Store
from storage.comparison import Tables, changes

SAME_SCALE = ("train", "queries", "certificate", "carried")
"""Parts of a run of which another changes what is asked, and not what a number means."""
SAME_ORDER = (*SAME_SCALE, "model", "models", "candidates")
"""Parts of which another leaves the order of rows comparable, but not the sizes of effects."""
WORST = 100
"""Rows that do most harm in a run: who enters or leaves these has changed."""
SHOWN = 10


@dataclass(frozen=True)
class Verdict:
    """How far two runs may be compared.

    Attributes:
        level: "numbers", "order" or "nothing".
        reasons: what differs, setting by setting.
    """

    level: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        """In a sentence.

        >>> print(Verdict("order", ("model: another one",)))
        Only the order of rows can be compared, not the sizes of effects: model: another one.
        """
        what = {
            "numbers": "Effects can be compared number by number",
            "order": "Only the order of rows can be compared, not the sizes of effects",
            "nothing": "Effects cannot be compared: they answer different questions",
        }[self.level]
        return f"{what}{': ' + '; '.join(self.reasons) if self.reasons else ''}."


@dataclass(frozen=True)
class Difference:
    """Two runs side by side.

    Attributes:
        verdict: how far they may be compared.
        accuracy: of the queries asked in both, before and after; by slice, the first for all.
        rows: training rows that became harmful or stopped being so; see `storage.comparison`.
        slices: the same by slice of the queries: how many became harmful and stopped.
        common: queries asked in both.
    """

    verdict: Verdict
    accuracy: tuple[tuple[str, int, float, float], ...]
    rows: pl.DataFrame
    slices: tuple[tuple[str, int, int], ...]
    common: int


def difference(store: Store, before: str, after: str, k: int = WORST) -> Difference:
    """Compare two runs of a store by the ids of their queries and training rows.

    Raises:
        StoreError: there is no such run.
    """
    old, new = (store.record(run) for run in (before, after))
    earlier, later = Tables.of(store, before), Tables.of(store, after)
    accuracy = tuple(_accuracy(earlier, later))
    slices = tuple(_slices(earlier, later, k))
    common = accuracy[0][1] if accuracy else 0
    return Difference(compared(old, new), accuracy, changes(earlier, later, k), slices, common)


def compared(before: RunRecord, after: RunRecord) -> Verdict:
    """How far effects of the two may be compared, by what each depends on."""
    parts = {
        name
        for name in {*before.parts, *after.parts}
        if before.parts.get(name) != after.parts.get(name)
    }
    reasons = list(_reasons(before, after, parts))
    if parts <= set(SAME_SCALE):
        return Verdict("numbers", tuple(reasons))
    return Verdict("order" if parts <= set(SAME_ORDER) else "nothing", tuple(reasons))


def _reasons(before: RunRecord, after: RunRecord, parts: set[str]) -> Iterator[str]:
    for name in sorted(parts):
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
    told = [one for one in before.differences(after) if one.split(":")[0].split(".")[0] in parts]
    skipped = ("train", "query", "queries:", "model:", "models:", "shard_size", "certificate")
    skipped += ("carried",)
    yield from (one for one in told if not one.startswith(skipped))


def _accuracy(before: Tables, after: Tables) -> Iterator[tuple[str, int, float, float]]:
    """Of queries with the same id: all, then each value of the first group."""
    columns = before.queries.collect_schema().names()
    groups = [name for name in columns if name.startswith("group_")][:1]
    old = before.queries.select("id", "correct", *groups)
    both = old.join(after.queries.select("id", "correct"), on="id", suffix="_after").collect()
    if both.is_empty():
        return
    yield _share("all", both)
    for group in groups:
        for (value,), part in sorted(both.group_by(group), key=lambda pair: str(pair[0][0])):
            yield _share(f"{value}", part)


def _share(name: str, both: pl.DataFrame) -> tuple[str, int, float, float]:
    right = (float(both[column].mean()) for column in ("correct", "correct_after"))  # type: ignore[arg-type]
    return (name, both.height, *right)  # type: ignore[return-value]


def _slices(before: Tables, after: Tables, k: int) -> Iterator[tuple[str, int, int]]:
    groups = [c for c in after.queries.collect_schema().names() if c.startswith("group_")]
    for group in groups[:1]:
        values = after.queries.select(pl.col(group).unique().sort()).collect()[group].to_list()
        for value in values:
            rows = changes(before.slice(group, value), after.slice(group, value), k)["change"]
            became = int((rows == "became harmful").sum())
            yield f"{value}", became, len(rows) - became
