"""Rows of a report: training rows and queries, and searches for wrong labels among them."""

from dataclasses import replace
from functools import cached_property

import numpy as np
import polars as pl

from tasks.mislabels.label_statement import LabelStatement, make_label_statement
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.results import MislabelResult
from tasks.report.label_ranges import find_label_group
from tasks.study.target_kind import CLASS, SOFT_LABEL, TAGS

SEARCHES = {TAGS: ("spans", "find"), SOFT_LABEL: ()}
"""Words of the command that searches for wrong targets where `fastif mislabels` does not."""


class ReportRows:
    """Rows of a report, of a run or of labels alone.

    Attributes:
        run: Name of the run, or of the detection: the stem of the report's file.
        queries: Table of queries, one row each; empty without queries.
        train: Table of training rows, one row each.
        scores: Removal effects that were kept; empty without an audit.
        mislabel_results: Searches for wrong labels among these training rows, newest first.
        annotations: Annotations of the store.
        target: Kind of the targets.
    """

    target: str = CLASS
    run: str
    queries: pl.DataFrame
    train: pl.DataFrame
    scores: pl.DataFrame
    mislabel_results: tuple[MislabelResult, ...]
    annotations: Annotations

    @property
    def mislabels(self) -> MislabelResult | None:
        """Newest search for wrong labels; None without one."""
        return self.mislabel_results[0] if self.mislabel_results else None

    @cached_property
    def labels(self) -> LabelStatement:
        """Statement on the number of wrong labels."""
        facts = self.mislabels.facts if self.mislabels else None
        statement = make_label_statement(facts, self.annotations)
        return replace(statement, search=SEARCHES.get(self.target, statement.search))

    @property
    def has_texts(self) -> bool:
        """Whether rows are texts, not features or images."""
        return True

    @property
    def image_vectors(self) -> list[np.ndarray]:
        """Pixels of training rows and queries for a comparison; empty for other rows."""
        return []

    def show_image(self, words: str) -> str:
        """Return the address of a thumbnail of an image; empty for other rows.

        Args:
            words: Description of the row.
        """
        return ""

    @property
    def has_near_duplicates(self) -> bool:
        """Whether nearly equal rows are recognized: texts and images, not columns of a table."""
        return self.has_texts or bool(self.image_vectors)

    @property
    def determines_class(self) -> bool:
        """Whether equal rows are of one class: texts and images, but not columns of a table."""
        return True

    @cached_property
    def slice_column(self) -> str:
        """Column that slices the queries: the study's first group column, or label."""
        return _find_first_group(self.queries)

    @cached_property
    def source_column(self) -> str:
        """Column that groups the training rows: the study's first group column, or label."""
        return _find_first_group(self.train)

    @cached_property
    def label_column(self) -> str:
        """Column that groups the training rows by target: label, or its group."""
        return find_label_group(self.train.columns)

    @property
    def unit(self) -> str:
        """Unit of effects on the queries."""
        return "nats"

    @property
    def has_pairs(self) -> bool:
        """Whether an example is a pair of texts."""
        return self.train["text_pair"].null_count() < len(self.train)


def _find_first_group(rows: pl.DataFrame) -> str:
    groups = [name for name in rows.columns if name.startswith("group_")]
    if groups:
        return groups[0]
    return find_label_group(rows.columns)
