"""One finished run as the report needs it, read from the store once."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from storage import Store, StoreError
from storage.queries import sum_harm_by_train
from tasks.mislabels.results import KIND, MislabelResult, read_result
from tasks.results.comparability import find_comparable_run
from tasks.results.compare_runs import RunDifference, diff_runs
from tasks.results.summary import Summary, read_summary
from tasks.run.lookup import check_undamaged
from tasks.run.sequence import sort_key


@dataclass(frozen=True, eq=False)
class RunData:
    """A run, and what else the store knows of its rows.

    Attributes:
        run: its name.
        summary: what a terminal shows of it.
        queries: one row a query.
        train: one row a training example.
        scores: removal effects that were kept.
        totals: sums of all of them, which a full scan keeps; empty without.
        mislabel_results: for wrong labels among the same training rows, newest first.
        against: an earlier run, if one can be compared.
        difference: from that one to this.
    """

    run: str
    summary: Summary
    queries: pl.DataFrame
    train: pl.DataFrame
    scores: pl.DataFrame
    totals: pl.DataFrame
    mislabel_results: tuple[MislabelResult, ...]
    against: str | None
    difference: RunDifference | None

    @property
    def mislabels(self) -> MislabelResult | None:
        """The newest search for wrong labels, if there was one."""
        return self.mislabel_results[0] if self.mislabel_results else None

    @cached_property
    def slice_column(self) -> str:
        """The column of the queries that they are sliced by: the study's first group, or label."""
        return _find_first_group(self.queries)

    @cached_property
    def source_column(self) -> str:
        """The column of the training rows that they are grouped by: likewise."""
        return _find_first_group(self.train)

    @property
    def has_pairs(self) -> bool:
        """Whether an example is two texts."""
        return self.train["text_pair"].null_count() < len(self.train)

    @cached_property
    def harm(self) -> pl.DataFrame:
        """Each training row's summed harm, as `sum_harm_by_train`; 0 for rows never scored."""
        sums = sum_harm_by_train(self.scores.lazy()).collect()
        rows = self.train.select("train").join(sums, on="train", how="left", maintain_order="left")
        return rows.with_columns(pl.exclude("train").fill_null(0))


def read_run_data(store: Store, run: str, study: Path, against: str | None = None) -> RunData:
    """Everything of a run that a report needs.

    Args:
        store: that holds it.
        run: finished.
        study: its file, for the commands that the page tells.
        against: the run to compare with; the newest earlier one that can be, if left out.

    Raises:
        StoreError: no such run, it is not finished, or a search for wrong labels is damaged.
    """
    status = store.read_status(check_undamaged(store, run))
    if not status.finished:
        raise StoreError(
            f"run {run}",
            expected="a finished run",
            got=f"{status.done} of {status.planned} shards",
            remedy="Run `fastif audit` again; it computes what is missing.",
        )
    tables = {name: store.scan(name, run).collect() for name in ("queries", "train", "scores")}
    tables["totals"] = store.scan("totals", run).collect()
    earlier = against or find_comparable_run(store, run)
    run_difference = diff_runs(store, earlier, run) if earlier else None
    mislabel_results = _read_mislabel_results(store, tables["train"])
    return RunData(
        run,
        read_summary(store, run, study),
        **tables,
        mislabel_results=mislabel_results,
        against=earlier,
        difference=run_difference,
    )


def _read_mislabel_results(store: Store, train: pl.DataFrame) -> tuple[MislabelResult, ...]:
    """Searches whose rows are those of the run, label by label.

    Raises:
        StoreError: one of them is damaged, which must not pass for "nobody searched".
    """
    columns = ("id", "text", "label")
    results = (read_result(store, digest) for digest in store.find_verified_artifacts(KIND))
    matching = [
        result
        for result in results
        if len(result.table) == len(train)
        and result.table.select(columns).equals(train.select(columns))
    ]
    return tuple(sorted(matching, key=lambda result: sort_key(result.facts), reverse=True))


def _find_first_group(rows: pl.DataFrame) -> str:
    groups = [name for name in rows.columns if name.startswith("group_")]
    return groups[0] if groups else "label"
