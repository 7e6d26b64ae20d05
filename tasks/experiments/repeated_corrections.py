"""A study's model repaired in several ways, several times, each repair kept."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import polars as pl
from scipy import stats

from fastif.correction import Correction
from tasks.correction import Asked, correct_model
from tasks.experiments.plots import svg
from tasks.experiments.workspace import Place

PAPER = 1e-4
"""The paper's learning rate."""
STEPS, ROWS = 10, 10
"""Its steps, and the rows and anchors of each."""
TRAINING = "train"
"""Names the table that the model was trained on."""


@dataclass(frozen=True)
class Way:
    """One way to repair.

    Attributes:
        source: the table that rows are taken from.
        by: which rows; see `Correction`.
        rate: of learning.
        steps: that are taken.
        rows: that a step is taken on, and anchors that they are chosen for.
        balanced: by the labels of the anchors.
    """

    source: str
    by: str
    rate: float = PAPER
    steps: int = STEPS
    rows: int = ROWS
    balanced: bool = False

    def step(self, seed: int) -> str:
        """Names what is kept of one repair."""
        rate = "" if self.rate == PAPER else f"-{self.rate:g}"
        steps = "" if self.steps == STEPS else f"-{self.steps}"
        labels = "-balanced" if self.balanced else ""
        return f"{self.source}-{self.by}{rate}{steps}{labels}-{seed}"

    def correction(self, pool: int, seed: int) -> Correction:
        """What `correct_model` is asked."""
        return Correction(
            self.steps, self.rows, self.rows, pool, self.rate, self.by, seed, self.balanced
        )

    @property
    def name(self) -> str:
        """Which rows, in words."""
        return f"{self.by}, each label its share" if self.balanced else self.by


@dataclass(frozen=True)
class Repairs:
    """Accuracy before and after, of one group of the queries.

    Attributes:
        before: the same for all.
        gains: of each way one number a repetition, as parts of 1.
        tables: how sources are called.
        taken: of each way the ids of the rows of every step of all repetitions.
    """

    before: float
    gains: dict[Way, list[float]]
    tables: dict[str, str]
    taken: dict[Way, list[list[str]]]

    def commoner(self, way: Way, labels: Mapping[str, str]) -> float:
        """Mean share of the label that most rows of a step have."""
        steps = [Counter(labels[row] for row in step) for step in self.taken[way]]
        return sum(max(step.values()) / step.total() for step in steps) / len(steps)

    def rows(self) -> list[dict]:
        """A row a way, for a table."""
        return [
            {"from": self._origin(way), "by": way.name, "learning rate": f"{way.rate:g}",
             "steps": way.steps, "rows a step": way.rows,
             "gain, points": 100 * sum(found) / len(found), "95 %": interval(found)}
            for way, found in self.gains.items()
        ]  # fmt: skip

    def over(self, one: Way, other: Way) -> tuple[str, float]:
        """The difference in words, and the low end of its interval; pairs share their seed."""
        return over(self.gains[one], self.gains[other])

    def drawn(self) -> str:
        """A mark a repetition and a line at their mean, as SVG."""
        several = len({(way.rate, way.steps) for way in self.gains}) > 1

        def called(way: Way) -> str:
            how = f", {way.steps} steps at {way.rate:g}" if several else ""
            return f"{way.name}, {self._origin(way)}{how}"

        rows = [
            {"rows": called(way), "gain, points": 100 * gain}
            for way, found in self.gains.items() for gain in found
        ]  # fmt: skip
        base = alt.Chart(pl.DataFrame(rows)).encode(
            x=alt.X("gain, points:Q", title="gain, points"),
            y=alt.Y("rows:N", title=None, sort=None, axis=alt.Axis(labelLimit=380)),
        )
        mean = base.mark_tick(thickness=2).encode(x=alt.X("mean(gain, points):Q"))
        points = base.mark_point(filled=True, size=50)
        return svg((points + mean).properties(width=380))

    def _origin(self, way: Way) -> str:
        return "the anchors themselves" if way.by == "anchors" else self.tables[way.source]


def repaired(
    place: Place,
    study: Path,
    ways: Sequence[Way],
    times: int,
    pool: int,
    tables: dict[str, str],
    group: str,
) -> Repairs:
    """Every way so many times; what was done before is not done again.

    Args:
        place: keeps each repair.
        study: whose model is there; beside it anchors.parquet and a file a source.
        ways: to repair.
        times: repetitions, by the seeds from 0.
        pool: rows that are looked at for a step.
        tables: how sources are called.
        group: of the queries that accuracy is taken over, as "suite hans".
    """
    gains: dict[Way, list[float]] = {}
    taken: dict[Way, list[list[str]]] = {}
    before = 0.0
    for way in ways:
        for seed in range(times):
            each = way.correction(pool, seed)
            told = place.told(
                way.step(seed), lambda w=way, h=each: _once(study, w.source, h, group)
            )
            gains.setdefault(way, []).append(told["after"] - told["before"])
            taken.setdefault(way, []).extend(told["taken"])
            before = told["before"]
    return Repairs(before, gains, tables, taken)


def _once(study: Path, source: str, how: Correction, group: str) -> dict:
    """Accuracy before and after one repair, of the group and of the others."""
    folder = study.parent
    table = None if source == TRAINING else folder / f"{source}.parquet"
    aside = folder / "repaired"
    repair = correct_model.fn(
        Asked(study, folder / "anchors.parquet", aside, table, how, keep=False)
    )
    if repair.out:
        for file in Path(repair.out).iterdir():
            file.unlink()
        aside.rmdir()
    asked = next(one for one in repair.slices if one.name == group)
    others = {one.name: one.after - one.before for one in repair.slices if one.name != group}
    taken = [list(step) for step in repair.taken]
    return {"before": asked.before, "after": asked.after, "others": others, "taken": taken}


def interval(found: Sequence[float]) -> str:
    """Of the mean of parts of 1, in points, by Student's t."""
    if len(found) < 2:
        return ""
    half = float(stats.t.ppf(0.975, len(found) - 1)) * stats.sem(found)
    mean = sum(found) / len(found)
    return f"{100 * (mean - half):+.1f} to {100 * (mean + half):+.1f}"


def over(one: Sequence[float], other: Sequence[float]) -> tuple[str, float]:
    """The difference in words, and the low end of its interval; pairs share their seed."""
    gains = [a - b for a, b in zip(one, other, strict=True)]
    mean = sum(gains) / len(gains)
    half = float(stats.t.ppf(0.975, len(gains) - 1)) * float(stats.sem(gains))
    return f"{100 * mean:+.1f} points ({interval(gains)})", mean - half
