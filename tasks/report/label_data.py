"""Data of a report on labels alone: rows of the study, and its searches for wrong labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import polars as pl

from storage import Store, polars_schema
from storage.schemas import SCORES
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.data.near_duplicates import make_image_vectors
from tasks.data.tabular import Measurements
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.group_counts import PREFIX, list_group_columns
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.results import MislabelResult, read_current_result, read_matching_results
from tasks.report.report_rows import ReportRows
from tasks.report.thumbnails import Thumbnails, make_thumbnails


@dataclass(frozen=True, eq=False)
class LabelData(ReportRows):
    """Training rows and queries of a study without an audit.

    Attributes:
        run: Name of the detection, the stem of the report's file.
        study: Name of the study file, for the commands on the page.
        queries: Table of queries; empty without queries.
        train: Table of training rows.
        mislabel_results: The current detection, then earlier ones among the same rows.
        measurements: Features or images of training rows and queries; empty for texts.
        annotations: Annotations of the store.
        thumbnails: Thumbnails of images; None for other rows.
        scores: No removal effects.
    """

    run: str
    study: str
    queries: pl.DataFrame
    train: pl.DataFrame
    mislabel_results: tuple[MislabelResult, ...]
    measurements: tuple[Measurements, ...]
    annotations: Annotations = field(default_factory=Annotations)
    thumbnails: Thumbnails | None = None
    scores: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema=polars_schema(SCORES)), init=False
    )

    @property
    def has_audit(self) -> bool:
        """Whether the report has effects: labels alone have none."""
        return False

    @property
    def facts(self) -> Mapping[str, object]:
        """Facts of the detection, named as those of a run."""
        facts = self.mislabel_results[0].facts
        return {
            "study": facts["study"],
            "finished": datetime.fromisoformat(facts["created"]),
            "train_rows": len(self.train),
            "query_rows": len(self.queries),
        }

    @property
    def number(self) -> int:
        """Number of the detection in its store; 0 for those of the first versions."""
        return int(self.mislabel_results[0].facts.get("number", 0))

    @property
    def has_texts(self) -> bool:
        """Whether rows are texts, not features or images."""
        return not self.measurements

    @property
    def determines_class(self) -> bool:
        """Whether equal rows are of one class: texts and images, but not columns of a table."""
        return self.has_texts or self.measurements[0].image

    def show_image(self, words: str) -> str:
        return self.thumbnails.make(words) if self.thumbnails is not None else ""

    @property
    def image_vectors(self) -> list[np.ndarray]:
        """Pixels of training rows and queries for a comparison; empty for other rows."""
        return [make_image_vectors(each.numbers) for each in self.measurements if each.image]


def read_label_data(store: Store, inputs: Inputs) -> LabelData:
    """Read the current detection of a study, with the rows of its tables.

    Args:
        store: Store of the study.
        inputs: Study and tables.

    Raises:
        StoreError: There is no detection of the current training rows, or one is damaged.
    """
    current = read_current_result(store, inputs)
    table = current.table.drop(list_group_columns(current.table))
    current = replace(current, table=table)
    train, queries = (
        _make_frame(part, inputs.study.labels, key)
        for part, key in ((inputs.train, "train"), (inputs.queries, "query"))
    )
    identity = _identify(current)
    earlier = [
        result for result in read_matching_results(store, train) if _identify(result) < identity
    ]
    both = (inputs.train, inputs.queries) if len(inputs.queries) else (inputs.train,)
    return LabelData(
        f"labels-{identity[0]}",
        inputs.study.path.name,
        queries,
        train,
        (current, *earlier),
        tuple(part.measurements for part in both if part.measurements is not None),
        read_annotations(store),
        make_thumbnails(both),
    )


def _identify(result: MislabelResult) -> tuple[int, str]:
    """Number and time of a detection, which tell those of a store apart and order them."""
    return int(result.facts.get("number", 0)), str(result.facts["created"])


def _make_frame(table: Table, labels: tuple[str, ...], key: str) -> pl.DataFrame:
    """Return a table of a study with the columns of a stored one."""
    columns = {
        key: pl.Series(range(len(table)), dtype=pl.UInt32),
        "id": pl.Series(table.ids, dtype=pl.String),
        "text": pl.Series(table.texts, dtype=pl.String),
        "text_pair": pl.Series(table.text_pairs or [None] * len(table), dtype=pl.String),
        "label": pl.Series(table.name_targets(labels), dtype=pl.String),
    }
    groups = {f"{PREFIX}{name}": pl.Series(v, dtype=pl.String) for name, v in table.groups.items()}
    return pl.DataFrame(columns | groups)
