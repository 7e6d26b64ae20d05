"""Order of the review by expected gain: features, posterior and labelled queries of a detection."""

from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from fastif.mislabels.labeled_data import LabeledData
from fastif.mislabels.review_gain import (
    ValidationRows,
    approximate_posterior,
    compute_review_gain,
)
from storage import Store
from tasks.data.dataset import Table
from tasks.data.near_duplicates import number_contents
from tasks.data.row_hashes import row_digests
from tasks.mislabels.detect import make_views, read_known_labels, sort_by_digest
from tasks.mislabels.detection_plan import DETECTOR, DetectionPlan, read_detection_plan
from tasks.mislabels.results import MislabelResult
from tasks.runtime.progress import progress_bar

MIN_CLASS_QUERIES = 2
"""Minimum number of queries of each label; with fewer, the queries say little of a class."""

WITHOUT_QUERIES = (
    "training rows with their probable labels, as [queries] has no two rows of every label (with "
    "such rows the order is better)"
)
"""Validation rows of a study without queries of every label, in words."""


def compute_gain_column(path: Path, store: Store, result: MislabelResult) -> tuple[pl.Series, str]:
    """Compute the expected gain of a review of every row, and describe the validation rows.

    The features are those of the detection, with its weights; cached embeddings are reused.

    Args:
        path: Study file.
        store: Store of the study.
        result: Mislabel detection of the current training rows.

    Returns:
        Column `gain`, in the order of the training rows, null for rows without a probability; and
        the rows on which the gain is measured, in words.
    """
    plan = read_detection_plan(path)
    order = sort_by_digest(row_digests(plan.inputs.train, plan.inputs.study.labels))
    has_queries = has_labelled_queries(plan)
    tables = [plan.inputs.train.take(order.tolist())]
    tables += [plan.inputs.queries] if has_queries else []
    features = make_views(store, plan, tables).concat_weighted(result.facts["mix"])
    train, *others = features.split([len(table) for table in tables])
    rows = _make_rows(plan, tables[0], train)
    classes = len(plan.inputs.study.labels)
    validation, place = None, WITHOUT_QUERIES
    if has_queries:
        labels = torch.tensor(plan.inputs.queries.labels)
        validation = ValidationRows.from_labels(others[0], labels, classes)
        place = f"{len(labels):,} labelled queries"
    posterior = _read_posterior(result.table, rows.labels, order, plan)
    with progress_bar("order by gain", 1, "head") as advance:
        gain = compute_review_gain(rows, posterior, DETECTOR.penalty, validation)
        advance(1)
    column = pl.Series("gain", gain[order.argsort()].double().tolist(), pl.Float64)
    has_probability = result.table["probability"].is_not_null()
    return pl.select(pl.when(has_probability).then(column).alias("gain"))["gain"], place


def has_labelled_queries(plan: DetectionPlan) -> bool:
    """Whether all queries have labels, `MIN_CLASS_QUERIES` or more of each."""
    if not plan.inputs.study.has_queries:
        return False
    if not plan.inputs.queries.is_labelled:
        return False
    labels = torch.tensor(plan.inputs.queries.labels)
    counts = labels.bincount(minlength=len(plan.inputs.study.labels))
    return int(counts.min()) >= MIN_CLASS_QUERIES


def _make_rows(plan: DetectionPlan, table: Table, features: Tensor) -> LabeledData:
    """Training rows with all annotations, those imported since the detection included."""
    labels = plan.inputs.study.labels
    known = read_known_labels(plan, row_digests(table, labels), table, number_contents(table))
    return LabeledData(features, torch.tensor(table.labels), len(labels), known=known)


def _read_posterior(
    table: pl.DataFrame, labels: Tensor, order: Tensor, plan: DetectionPlan
) -> Tensor:
    """Label posteriors of the rows in their order, from the columns of the detection."""
    class_ids = {label: i for i, label in enumerate(plan.inputs.study.labels)}
    suggested = torch.tensor([class_ids[label] for label in table["suggested"]])
    probability = torch.tensor(table["probability"].fill_null(0.0).to_list())
    confidence = torch.tensor(table["confidence"].to_list())
    return approximate_posterior(
        labels, probability[order], suggested[order], confidence[order], len(class_ids)
    )
