"""A study's model repaired in several ways, several times, each repair kept."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import polars as pl

from fastif.correction import Correction
from fastif.numerics.t_interval import mean_t_interval
from tasks.correction.correct_model import CorrectionRequest, correct_model
from tasks.experiments.plots import chart_to_svg
from tasks.experiments.workspace import Workspace

PAPER_RATE = 1e-4
"""The paper's learning rate."""
STEPS, ROWS = 10, 10
"""Its steps, and the rows and anchors of each."""
TRAIN_SOURCE = "train"
"""Names the table that the model was trained on."""


@dataclass(frozen=True)
class Strategy:
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
    rate: float = PAPER_RATE
    steps: int = STEPS
    rows: int = ROWS
    balanced: bool = False

    def step_name(self, seed: int) -> str:
        """Names what is kept of one repair."""
        rate = "" if self.rate == PAPER_RATE else f"-{self.rate:g}"
        steps = "" if self.steps == STEPS else f"-{self.steps}"
        labels = "-balanced" if self.balanced else ""
        return f"{self.source}-{self.by}{rate}{steps}{labels}-{seed}"

    def make_correction(self, pool: int, seed: int) -> Correction:
        """What `correct_model` is asked."""
        return Correction(
            self.steps, self.rows, self.rows, pool, self.rate, self.by, seed, self.balanced
        )

    @property
    def description(self) -> str:
        """Which rows, in words."""
        return f"{self.by}, each label its share" if self.balanced else self.by


@dataclass(frozen=True)
class RepeatedCorrections:
    """Accuracy before and after, of one group of the queries.

    Attributes:
        before: the same for all.
        gains: of each way one number a repetition, as parts of 1.
        tables: how sources are called.
        rows_used: of each way the ids of the rows of every step of all repetitions.
    """

    before: float
    gains: dict[Strategy, list[float]]
    tables: dict[str, str]
    rows_used: dict[Strategy, list[list[str]]]

    def mean_majority_share(self, strategy: Strategy, labels: Mapping[str, str]) -> float:
        """Mean share of the label that most rows of a step have."""
        steps = [Counter(labels[row] for row in step) for step in self.rows_used[strategy]]
        return sum(max(step.values()) / step.total() for step in steps) / len(steps)

    def make_rows(self) -> list[dict]:
        """A row a way, for a table."""
        return [
            {
                "from": self._describe_source(strategy),
                "by": strategy.description,
                "learning rate": f"{strategy.rate:g}",
                "steps": strategy.steps,
                "rows a step": strategy.rows,
                "gain, points": 100 * sum(gains) / len(gains),
                "95 %": format_interval(gains),
            }
            for strategy, gains in self.gains.items()
        ]

    def compare(self, strategy: Strategy, baseline: Strategy) -> tuple[str, float]:
        """The difference in words, and the low end of its interval; pairs share their seed."""
        return compare_gains(self.gains[strategy], self.gains[baseline])

    def plot(self) -> str:
        """A mark a repetition and a line at their mean, as SVG."""
        has_variants = len({(strategy.rate, strategy.steps) for strategy in self.gains}) > 1

        def format_strategy(strategy: Strategy) -> str:
            how = f", {strategy.steps} steps at {strategy.rate:g}" if has_variants else ""
            return f"{strategy.description}, {self._describe_source(strategy)}{how}"

        rows = [
            {"rows": format_strategy(strategy), "gain, points": 100 * gain}
            for strategy, gains in self.gains.items()
            for gain in gains
        ]
        base = alt.Chart(pl.DataFrame(rows)).encode(
            x=alt.X("gain, points:Q", title="gain, points"),
            y=alt.Y("rows:N", title=None, sort=None, axis=alt.Axis(labelLimit=380)),
        )
        mean = base.mark_tick(thickness=2).encode(x=alt.X("mean(gain, points):Q"))
        points = base.mark_point(filled=True, size=50)
        return chart_to_svg((points + mean).properties(width=380))

    def _describe_source(self, strategy: Strategy) -> str:
        return (
            "the anchors themselves" if strategy.by == "anchors" else self.tables[strategy.source]
        )


def repeat_corrections(
    workspace: Workspace,
    study: Path,
    strategies: Sequence[Strategy],
    repeats: int,
    pool: int,
    tables: dict[str, str],
    group: str,
) -> RepeatedCorrections:
    """Every way so many times; what was done before is not done again.

    Args:
        workspace: keeps each repair.
        study: whose model is there; beside it anchors.parquet and a file a source.
        strategies: to repair.
        repeats: repetitions, by the seeds from 0.
        pool: rows that are looked at for a step.
        tables: how sources are called.
        group: of the queries that accuracy is taken over, as "suite hans".
    """
    gains: dict[Strategy, list[float]] = {}
    rows_used: dict[Strategy, list[list[str]]] = {}
    before = 0.0
    for strategy in strategies:
        for seed in range(repeats):
            correction = strategy.make_correction(pool, seed)
            outcome = workspace.cache_json(
                strategy.step_name(seed),
                lambda w=strategy, h=correction: _correct_once(study, w.source, h, group),
            )
            gains.setdefault(strategy, []).append(outcome["after"] - outcome["before"])
            rows_used.setdefault(strategy, []).extend(outcome["taken"])
            before = outcome["before"]
    return RepeatedCorrections(before, gains, tables, rows_used)


def _correct_once(study: Path, source: str, correction: Correction, group: str) -> dict:
    """Accuracy before and after one repair, of the group and of the others."""
    folder = study.parent
    table = None if source == TRAIN_SOURCE else folder / f"{source}.parquet"
    model_folder = folder / "repaired"
    result = correct_model.fn(
        CorrectionRequest(
            study, folder / "anchors.parquet", model_folder, table, correction, keep=False
        )
    )
    if result.out:
        for file in Path(result.out).iterdir():
            file.unlink()
        model_folder.rmdir()
    group_change = next(change for change in result.slices if change.name == group)
    others = {
        change.name: change.after - change.before
        for change in result.slices
        if change.name != group
    }
    rows_used = [list(step) for step in result.taken]
    return {
        "before": group_change.before,
        "after": group_change.after,
        "others": others,
        "taken": rows_used,
    }


def format_interval(gains: Sequence[float]) -> str:
    """Of the mean of parts of 1, in points, by Student's t."""
    if len(gains) < 2:
        return ""
    mean, half = mean_t_interval(gains)
    return f"{100 * (mean - half):+.1f} to {100 * (mean + half):+.1f}"


def compare_gains(first_gains: Sequence[float], second_gains: Sequence[float]) -> tuple[str, float]:
    """The difference in words, and the low end of its interval; pairs share their seed."""
    differences = [a - b for a, b in zip(first_gains, second_gains, strict=True)]
    mean, half = mean_t_interval(differences)
    return f"{100 * mean:+.1f} points ({format_interval(differences)})", mean - half
