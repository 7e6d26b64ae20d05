"""Result of an audit for a Python session: tables as data frames, and a display of its own."""

from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path

import polars as pl

from storage import (
    Store,
    filter_slice,
    find_affected_queries,
    find_most_harmful,
    find_most_helpful,
    join_examples,
    join_queries,
    rank_harmful_rows,
)
from storage.ranking import RANKING_SCORE
from tasks.notebook.html import render_html
from tasks.notebook.plain import render_plain
from tasks.report.build import ReportRequest, build_report
from tasks.results.summary import Summary, read_summary
from tasks.run.lookup import find_position

NAMES = ("id", "label")
COLUMNS = ("id", "label", "prediction", "text", "text_pair")


@dataclass(frozen=True, eq=False, repr=False)
class AuditResult:
    """Result of an audit.

    Attributes:
        study: Path of the study file.
        run: Name of the run.
        store: Store with the run's tables.
        notes: Sentences on columns and labels that should be checked.
        inferred: Key, value and reason of everything that was inferred from model and tables.
    """

    study: Path
    run: str
    store: Store
    notes: tuple[str, ...] = ()
    inferred: tuple[tuple[str, str, str], ...] = field(default=())

    @cached_property
    def summary(self) -> Summary:
        """Accuracy, diagnostics, warnings, the worst queries and the most harmful examples."""
        return read_summary(self.store, self.run, self.study)

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the result, the most serious first."""
        return [*self.summary.warnings, *self.notes]

    @property
    def scores(self) -> pl.LazyFrame:
        """Removal effects in nats with ids and labels; below 0 the example harms the query."""
        rows = join_queries(self.store.scan("scores", self.run), self._queries, NAMES)
        return join_examples(rows, self._train, NAMES)

    def top(self, query_id: object, k: int = 5) -> pl.DataFrame:
        """Return the k most harmful and the k most helpful training examples of a query.

        They are ordered by `ranking_score` if the run has such a column, else by `removal_effect`.

        Args:
            query_id: Id of the query.
            k: Number of examples of each kind.

        Raises:
            StoreError: There is no such query.
        """
        query = find_position(self.store, self.run, "queries", str(query_id))
        scores = self.store.scan("scores", self.run)
        rows = [
            find_most_harmful(scores, query, k),
            find_most_helpful(scores, query, k).reverse(),
        ]
        shown = join_examples(pl.concat(rows), self._train, COLUMNS)
        return _select(shown, "removal_effect", "train_", RANKING_SCORE).collect()

    def show(self, train_id: object, k: int = 10) -> pl.DataFrame:
        """Return the k queries that a training example affects most.

        Args:
            train_id: Id of the training example.
            k: Number of queries.

        Raises:
            StoreError: There is no such training example.
        """
        train = find_position(self.store, self.run, "train", str(train_id))
        affected = find_affected_queries(self.store.scan("scores", self.run), train).head(k)
        shown = join_queries(affected, self._queries, COLUMNS)
        return _select(shown, "removal_effect", "query_", RANKING_SCORE).collect()

    def harmful(self, k: int = 10, *, wrong_only: bool = True) -> pl.DataFrame:
        """Return the k training examples with the largest harm, summed over queries.

        Args:
            k: Number of examples.
            wrong_only: Whether to sum over the wrongly predicted queries alone; over all queries if
                none of them has a label, or the targets are numbers.
        """
        scores = self.store.scan("scores", self.run)
        if wrong_only and self._queries.select(pl.col("correct").count()).collect().item():
            scores = filter_slice(scores, self._queries, "correct", False)
        shown = join_examples(rank_harmful_rows(scores, k), self._train, COLUMNS)
        return _select(shown, "harmful_effect", "train_", "harmful_queries").collect()

    def report(self, path: str | PathLike[str]) -> Path:
        """Write the report and return its path; an earlier one of the same format is replaced.

        Args:
            path: New file; its suffix .html, .md or .json chooses the format.

        Raises:
            InputError: The file exists and is no report of the format, or lies inside the store.
        """
        request = ReportRequest(str(self.study), self.run, out=str(Path(path).expanduser()))
        return Path(build_report.fn(request).path)

    @property
    def _queries(self) -> pl.LazyFrame:
        return self.store.scan("queries", self.run)

    @property
    def _train(self) -> pl.LazyFrame:
        return self.store.scan("train", self.run)

    def __repr__(self) -> str:
        return render_plain(self.summary, self.warnings)

    def _repr_html_(self) -> str:
        return render_html(self.summary, self.warnings, self.inferred)


def _select(rows: pl.LazyFrame, effect: str, prefix: str, *others: str) -> pl.LazyFrame:
    """Keep the effect and the examples; a second text and ranking scores only if there are any."""
    names = [f"{prefix}{name}" for name in COLUMNS]
    frame = rows.select(effect, *others, *names).collect()
    optional = {RANKING_SCORE, names[-1]} & set(frame.columns)
    empty = [name for name in optional if frame[name].null_count() == frame.height]
    return frame.lazy().drop(empty)
