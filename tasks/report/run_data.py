"""Data of a finished run for the report, read from the store once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from fastif import InputError
from storage import Store, StoreError
from storage.example_schemas import fill_measure
from storage.queries import sum_harm_by_train
from storage.ranking import RANKING_SCORE
from storage.run_record import RunRecord
from tasks.data.images import reduce_images
from tasks.data.inputs import read_inputs
from tasks.data.near_duplicates import make_image_vectors
from tasks.data.tabular import Measurements
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.results import MislabelResult, read_matching_results
from tasks.report.doubtful_targets import DoubtfulTargets, read_doubtful_targets
from tasks.report.encoder_features import EncoderFeatures, find_encoder_features
from tasks.report.label_ranges import add_label_ranges
from tasks.report.report_rows import ReportRows
from tasks.report.thumbnails import Thumbnails, make_thumbnails
from tasks.results.comparability import find_comparable_run
from tasks.results.compare_runs import RunDifference, diff_runs
from tasks.results.run_target import read_target
from tasks.results.span_text import find_scheme_of_run
from tasks.results.summary import Summary, read_summary
from tasks.results.tree_evidence import read_tree_evidence
from tasks.run.lookup import check_undamaged
from tasks.study.study import load_study
from tasks.study.target_kind import ALL_TARGETS, CLASS, NUMBER, SOFT_LABEL


@dataclass(frozen=True, eq=False)
class RunData(ReportRows):
    """Tables of a run, with searches for wrong labels and the comparison with an earlier run.

    Attributes:
        run: Name of the run.
        summary: Summary of the run, as on the terminal.
        queries: Table of queries, one row each.
        train: Table of training examples, one row each.
        scores: Removal effects that were kept.
        totals: Effects summed over queries, from a full scan; empty without one.
        mislabel_results: Searches for wrong labels among these training rows, newest first.
        against: Name of the earlier run that is compared; None without one.
        difference: Comparison of the two runs; None without one.
        annotations: Annotations of the store.
        features: Stored embeddings of the training rows; None without them.
        images: Pixels of training rows and queries, of one size; empty for texts.
        target: Kind of the targets.
        thumbnails: Thumbnails of images; None for other rows.
        doubtful: Doubtful targets of several labels a row, or of numbers; None without a search.
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
    annotations: Annotations = field(default_factory=Annotations)
    features: EncoderFeatures | None = None
    images: tuple[Measurements, ...] = ()
    target: str = CLASS
    thumbnails: Thumbnails | None = None
    doubtful: DoubtfulTargets | None = None

    @property
    def facts(self) -> Mapping[str, object]:
        """Facts of the run, such as its study and the time of its end."""
        return self.summary.facts

    @property
    def has_texts(self) -> bool:
        """Whether rows are texts, not images."""
        return not self.images

    @property
    def image_vectors(self) -> list[np.ndarray]:
        """Pixels of training rows and queries for a comparison; empty for other rows."""
        return [make_image_vectors(each.numbers) for each in self.images]

    def show_image(self, words: str) -> str:
        return self.thumbnails.make(words) if self.thumbnails is not None else ""

    @property
    def unit(self) -> str:
        return self.summary.measures.rpartition(" in ")[2] or "nats"

    @property
    def determines_class(self) -> bool:
        return self.target not in (NUMBER, SOFT_LABEL)

    @property
    def has_audit(self) -> bool:
        """Whether the report has effects: that of a run does."""
        return True

    @property
    def has_trees(self) -> bool:
        """Whether the model are boosted trees."""
        return read_tree_evidence(self.summary.facts) is not None

    @property
    def has_ranking_scores(self) -> bool:
        """Whether the rows of a query are ordered by ranking scores, not by removal effects."""
        return self.scores[RANKING_SCORE].null_count() < len(self.scores)

    @cached_property
    def harm(self) -> pl.DataFrame:
        """Summed harm of each training row, see `sum_harm_by_train`; 0 for rows never scored."""
        sums = sum_harm_by_train(self.scores.lazy()).collect()
        rows = self.train.select("train").join(sums, on="train", how="left", maintain_order="left")
        return rows.with_columns(pl.exclude("train").fill_null(0))


def read_run_data(store: Store, run: str, study: Path, against: str | None = None) -> RunData:
    """Read all data of a run that a report needs.

    Args:
        store: Store with the run.
        run: Name of a finished run.
        study: Path of the study file, for the commands on the page.
        against: Name of the run to compare with; the newest comparable earlier one if omitted.

    Raises:
        StoreError: unknown or unfinished run, or a damaged search for wrong labels.
    """
    status = store.read_status(check_undamaged(store, run))
    if not status.finished:
        raise StoreError(
            f"run {run}",
            expected="a finished run",
            got=f"{status.done} of {status.planned} shards",
            remedy="Run `fastif audit` again; it computes what is missing.",
        )
    images, thumbnails = _read_images(status.record, study)
    tables = {name: store.scan(name, run).collect() for name in ("train", "scores")}
    tables["queries"] = fill_measure(store.scan("queries", run)).collect()
    tables["totals"] = store.scan("totals", run).collect()
    kind = read_target(status.record)
    mislabel_results = read_matching_results(store, tables["train"])
    scheme = find_scheme_of_run(status.record)
    pair = add_label_ranges(tables["train"], tables["queries"], kind, scheme)
    tables["train"], tables["queries"] = pair
    earlier = against or find_comparable_run(store, run)
    run_difference = diff_runs(store, earlier, run) if earlier else None
    return RunData(
        run,
        read_summary(store, run, study),
        **tables,
        mislabel_results=mislabel_results,
        against=earlier,
        difference=run_difference,
        annotations=read_annotations(store),
        features=find_encoder_features(store, tables["train"]),
        images=images,
        thumbnails=thumbnails,
        target=kind,
        doubtful=read_doubtful_targets(store, tables["train"], kind),
    )


def _read_images(
    record: RunRecord, study: Path
) -> tuple[tuple[Measurements, ...], Thumbnails | None]:
    """Read the images of a run from its tables, since the store has none; nothing for texts.

    Raises:
        InputError: The tables have changed since the run.
    """
    if not study.is_file() or load_study(study).train.image is None:
        return (), None
    inputs = read_inputs(study, "the report", ALL_TARGETS)
    tables = inputs.train, inputs.queries
    if [table.digest for table in tables] != [record.parts[name] for name in ("train", "queries")]:
        raise InputError(
            f"run {record.run}",
            "the tables of the run, to compare and show its images",
            "other contents",
            "Restore the images and tables that the run was made of, or run `fastif audit` again.",
        )
    images = [table.measurements for table in tables if table.measurements is not None]
    if len({each.numbers.shape[1] for each in images}) > 1:
        images = [
            replace(each, numbers=reduce_images(each.encoded)) for each in images if each.encoded
        ]
    return tuple(images), make_thumbnails(tables)
