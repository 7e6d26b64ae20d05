"""Training rows whose label is probably wrong, with all that speaks for it."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from storage import SIGNALS
from tasks.mislabels.label_count import LabelCount, counted_by_draw, label_count
from tasks.report.formatting import Row
from tasks.report.run_data import Night

SHOWN, HARMED = 300, 3


@dataclass(frozen=True)
class Suspects:
    """A search for wrong labels.

    Attributes:
        facts: what it says as a whole; see `tasks.mislabels.detect`.
        rows: the most suspicious ones. Each has `bars`, name and share of the measured rows that a
            signal suspects less, or None where it was not measured (a row that came after the
            training); `conflict`, the nearest row of another label; `harms`, queries with what they
            lose (nats); `new`, whether the search before had it in its first ones too.
        signals: names of the bars.
        compared: whether there was a search before.
    """

    facts: dict[str, Any]
    rows: list[Row]
    signals: list[str]
    compared: bool

    @property
    def count(self) -> LabelCount | None:
        """How many labels are wrong; None where nothing can know it."""
        return label_count(self.facts)

    @property
    def drawn(self) -> str | None:
        """By how many rows drawn at random it was counted; None if not."""
        if not counted_by_draw(self.facts):
            return None
        of = self.facts["drawn"]
        later = f"; {of['later']:,} rows came later and are not counted" if of["later"] else ""
        return (
            f"It is counted by {of['rows']:,} rows drawn at random, {of['wrong']:,} of them "
            f"wrong{later}"
        )


def suspects_of(night: Night) -> Suspects | None:
    """Of the newest search among the rows of a night; None without one."""
    found = night.found
    if found is None:
        return None
    signals = [name for name in SIGNALS if found.table[name].null_count() < len(found.table)]
    places = [
        (pl.col(name).rank("average") / pl.col(name).count()).alias(f"bar_{name}")
        for name in signals
    ]
    table = found.table.with_columns(places).filter(pl.col("reviewed").is_null()).sort("rank")
    top = table.head(SHOWN)
    near = found.table.select(
        conflicting="train", near_id="id", near_text="text", near_pair="text_pair",
        near_label="label",
    )  # fmt: skip
    top = top.join(near, on="conflicting", how="left", maintain_order="left")
    sources = night.train.select("train", source=night.source)
    top = top.join(sources, on="train", how="left", maintain_order="left")
    harms = _harms(night, top)
    before = _before(night)
    rows: list[Row] = []
    for row in top.iter_rows(named=True):
        bars = [(name, row[f"bar_{name}"]) for name in signals]
        new = before is not None and row["id"] not in before
        rows.append(row | {"bars": bars, "harms": harms.get(row["train"], []), "new": new})
    return Suspects(found.facts, rows, signals, before is not None)


def _harms(night: Night, rows: pl.DataFrame) -> dict[int, list[tuple[str, float]]]:
    chosen = night.scores.join(rows.select("train"), on="train", how="semi")
    worst = chosen.filter(pl.col("removal_effect") < 0).sort("train", "removal_effect")
    named = worst.join(night.queries.select("query", "id"), on="query", maintain_order="left")
    found: dict[int, list[tuple[str, float]]] = {}
    for train, name, effect in named.select("train", "id", "removal_effect").iter_rows():
        told = found.setdefault(train, [])
        if len(told) < HARMED:
            told.append((name, -effect))
    return found


def _before(night: Night) -> set[str] | None:
    """Ids among the first ones of the search before; None if there was none.

    One by another procedure is no search before: what it did not see need not be new.
    """
    own = night.searches[0].facts.get("procedure") if night.searches else None
    for found in night.searches[1:]:
        if found.facts.get("procedure") == own:
            return set(found.table.sort("rank").head(SHOWN)["id"].to_list())
    return None
