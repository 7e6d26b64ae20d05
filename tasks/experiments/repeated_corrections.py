"""Error correction of a model by several strategies, several times each."""

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
"""Learning rate of the paper."""
STEPS, ROWS = 10, 10
"""Steps of the paper; rows, and failure-set rows, of each step."""
TRAIN_SOURCE = "train"
"""Name of the table that the model was trained on."""


@dataclass(frozen=True)
class Strategy:
    """Settings of one kind of error correction.

    Attributes:
        source: Name of the table from which rows are selected.
        by: Selection of the rows; see `Correction`.
        rate: Learning rate.
        steps: Number of gradient steps.
        rows: Number of rows of a step, and of failure-set rows for which they are selected.
        balanced: Whether the rows have the label distribution of the failure set.
    """

    source: str
    by: str
    rate: float = PAPER_RATE
    steps: int = STEPS
    rows: int = ROWS
    balanced: bool = False

    def step_name(self, seed: int) -> str:
        """Return the name under which the result of one correction is cached."""
        rate = "" if self.rate == PAPER_RATE else f"-{self.rate:g}"
        steps = "" if self.steps == STEPS else f"-{self.steps}"
        labels = "-balanced" if self.balanced else ""
        return f"{self.source}-{self.by}{rate}{steps}{labels}-{seed}"

    def make_correction(self, pool: int, seed: int) -> Correction:
        """Return the settings for `correct_model`."""
        return Correction(
            self.steps, self.rows, self.rows, pool, self.rate, self.by, seed, self.balanced
        )

    @property
    def description(self) -> str:
        """Selection of the rows in words."""
        return f"{self.by}, labels balanced" if self.balanced else self.by


@dataclass(frozen=True)
class RepeatedCorrections:
    """Accuracy before and after corrections, for one group of the queries.

    Attributes:
        before: Accuracy before the corrections, from 0 to 1.
        gains: Gain in accuracy of each repetition, as a share of 1, by strategy.
        tables: Words for the tables, by name.
        rows_used: Ids of the rows of each step of all repetitions, by strategy.
    """

    before: float
    gains: dict[Strategy, list[float]]
    tables: dict[str, str]
    rows_used: dict[Strategy, list[list[str]]]

    def mean_majority_share(self, strategy: Strategy, labels: Mapping[str, str]) -> float:
        """Return the mean share of the most frequent label of a step."""
        steps = [Counter(labels[row] for row in step) for step in self.rows_used[strategy]]
        return sum(max(step.values()) / step.total() for step in steps) / len(steps)

    def make_rows(self) -> list[dict]:
        """Return the table of gains, one row a strategy."""
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
        """Return the paired difference in words, and the low end of its interval."""
        return compare_gains(self.gains[strategy], self.gains[baseline])

    def plot(self) -> str:
        """Return the gains as SVG: a point a repetition, and a line at the mean."""
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
        return "the failure set" if strategy.by == "anchors" else self.tables[strategy.source]


def repeat_corrections(
    workspace: Workspace,
    study: Path,
    strategies: Sequence[Strategy],
    repeats: int,
    pool: int,
    tables: dict[str, str],
    group: str,
) -> RepeatedCorrections:
    """Run each strategy `repeats` times; cached corrections are reused.

    Args:
        workspace: Cache of the corrections.
        study: Study file with a trained model; anchors.parquet (the failure set) and a file a
            source are in the same folder.
        strategies: Strategies to run.
        repeats: Number of repetitions; their seeds count from 0.
        pool: Number of rows that are scored for a step.
        tables: Words for the tables, by name.
        group: Group of the queries whose accuracy is measured, such as "suite hans".
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
    """Return the accuracy before and after one correction, of the group and of the others."""
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
    """Return the 95 % interval of the mean gain in points, by Student's t; empty for one gain."""
    if len(gains) < 2:
        return ""
    mean, half = mean_t_interval(gains)
    return f"{100 * (mean - half):+.1f} to {100 * (mean + half):+.1f}"


def compare_gains(first_gains: Sequence[float], second_gains: Sequence[float]) -> tuple[str, float]:
    """Return the paired difference in words, and the low end of its interval."""
    differences = [a - b for a, b in zip(first_gains, second_gains, strict=True)]
    mean, half = mean_t_interval(differences)
    return f"{100 * mean:+.1f} points ({format_interval(differences)})", mean - half
