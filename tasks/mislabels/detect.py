"""Mislabel detection of a study: from its training table to a ranked table in the store."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import polars as pl
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE
from scipy.sparse import csr_matrix
from torch import Tensor

from fastif.mislabels.feature_views import FeatureViews
from fastif.mislabels.identical_rows import spread_reviews
from fastif.mislabels.injected_flips import FlipRecall, measure_flip_recall
from fastif.mislabels.knn import find_neighbours
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.labeled_data import (
    NO_LABEL_FITS,
    NOT_REVIEWED,
    LabeledData,
    TrustedData,
)
from fastif.mislabels.second_round_check import INNER_FOLDS
from storage import Store
from storage.parquet import write_table
from storage.queries import sum_harm_by_train
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.data.near_duplicates import (
    group_exact_duplicates,
    group_near_duplicates,
    number_contents,
)
from tasks.data.row_hashes import content_digests, row_digests
from tasks.mislabels.classifier_columns import make_external_classifiers
from tasks.mislabels.cross_fitted_classifier import compute_classifier_logits
from tasks.mislabels.detection_plan import (
    DETECTOR,
    DetectionPlan,
    read_detection_plan,
)
from tasks.mislabels.facts import make_facts
from tasks.mislabels.head_cache import HeadCache
from tasks.mislabels.image_features import ImageEncoder, make_image_views
from tasks.mislabels.neighbour_cache import NeighbourCache
from tasks.mislabels.random_sample import select_random_sample
from tasks.mislabels.results import (
    FACTS,
    KIND,
    next_result_number,
    record_request,
)
from tasks.mislabels.table import make_mislabel_frame
from tasks.mislabels.tabular_views import make_features
from tasks.mislabels.text_features import make_text_views
from tasks.run.spec import resolve_store_path
from tasks.runtime.progress import progress_bar
from tasks.runtime.retries import retry_if_transient

FLIP_REPEATS = 2
"""Number of sets of injected label flips, with one detection each."""
MAX_HEADS = 2 * DETECTOR.folds * (DETECTOR.repeats + FLIP_REPEATS + INNER_FOLDS) + 1 + FLIP_REPEATS
"""Maximum number of linear heads of a detection: two rounds, their test, and injected flips."""
TRUSTED_HEADS = DETECTOR.folds * (DETECTOR.repeats + 3) + 2
"""Maximum number of further heads with trusted rows: their fit, and its comparison."""


@task(
    name="find-mislabels", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient
)
def detect_mislabels(path: str) -> str:
    """Rank the training rows by error probability, and return the digest of the stored table.

    Args:
        path: Study file.
    """
    plan = read_detection_plan(Path(path))
    study = plan.inputs.study
    store = Store.open(resolve_store_path(study), study.name)
    if store.find_artifact(KIND, plan.digest) is not None:
        record_request(store, plan.digest)
    else:
        start = time.monotonic()
        next_result_number(store)  # a damaged detection is reported before the work
        table, facts = _run_detector(store, plan)
        facts |= {"seconds": time.monotonic() - start, "number": next_result_number(store)}

        def write(folder: Path) -> None:
            write_table(folder, KIND, table)
            (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")

        store.write_artifact(KIND, plan.digest, write)
    return plan.digest


def _run_detector(store: Store, plan: DetectionPlan) -> tuple[pl.DataFrame, dict[str, Any]]:
    inputs, study = plan.inputs, plan.inputs.study
    digests = row_digests(inputs.train, study.labels)
    order = sort_by_digest(digests)
    tables = [inputs.train.take(order.tolist())]
    tables += [inputs.queries] if plan.trusted else []
    weights, (features, *others), terms = _make_features(store, plan, tables)
    neighbours = NeighbourCache(store, plan.procedure)
    with progress_bar("labels: nearest rows", len(features), "rows") as advance:
        neighbour_ids = neighbours(features, DETECTOR.neighbours, advance)
    ordered_digests = [digests[i] for i in order.tolist()]
    sample = select_random_sample(plan.annotations, ordered_digests)
    contents = content_digests(tables[0])
    groups, same = group_near_duplicates(tables[0], neighbour_ids), number_contents(tables[0])
    data = LabeledData(
        features,
        torch.tensor(tables[0].labels),
        len(study.labels),
        groups,
        read_known_labels(plan, ordered_digests, tables[0], same),
        compute_classifier_logits(store, plan.inputs, tables[0], groups),
        terms[0],
        sample and sample.locate_rows(ordered_digests, contents, study.labels),
        make_external_classifiers(plan.columns, order),
        same,
    )
    trusted = _make_trusted(inputs, others[0], terms[1]) if others else None
    posterior, recall = _compute_posterior(store, plan, data, trusted, neighbour_ids)
    neighbours.clear()
    harm = _read_harm(store, inputs)
    frame = make_mislabel_frame(inputs, data, posterior, order, harm)
    facts = make_facts(plan, data, posterior, recall, frame, sample, tables[0].groups)
    return frame, facts | {"procedure": plan.procedure, "mix": weights}


def _make_trusted(inputs: Inputs, features: Tensor, terms: tuple[csr_matrix, ...]) -> TrustedData:
    """Return the queries as trusted rows."""
    return TrustedData(
        features,
        torch.tensor(inputs.queries.labels),
        len(inputs.study.labels),
        terms,
        group_near_duplicates(inputs.queries, find_neighbours(features, DETECTOR.neighbours)),
    )


def sort_by_digest(digests: Sequence[bytes]) -> Tensor:
    """Positions of rows sorted by digest, so that results do not depend on the table's order."""
    return torch.tensor(sorted(range(len(digests)), key=lambda i: (digests[i], i)))


def _make_features(
    store: Store, plan: DetectionPlan, tables: Sequence[Table]
) -> tuple[tuple[float, ...], Sequence[Tensor], list[tuple[csr_matrix, ...]]]:
    """Return weights of the views, and features and terms of each table.

    The views are released on return, as fitting heads needs the memory.
    """
    views = make_views(store, plan, tables)
    weights = _select_weights(plan, views, tables)
    features = views.concat_weighted(weights).split([len(table) for table in tables])
    return weights, features, _split_terms(views, tables)


def _compute_posterior(
    store: Store,
    plan: DetectionPlan,
    data: LabeledData,
    trusted: TrustedData | None,
    neighbour_ids: Tensor,
) -> tuple[LabelPosterior, FlipRecall]:
    """Return the label posterior, and the recall on injected label flips."""
    budget = min(plan.inputs.study.mislabels.budget, len(data.labels))
    heads = count_heads(plan)
    with progress_bar("labels: linear heads", heads, "heads", is_upper_bound=True) as advance:
        cache = HeadCache(store, plan.digest, advance)
        detector = replace(DETECTOR, fit=cache)
        posterior = detector(data, trusted, neighbour_ids)
        # A classifier that was trained on the labels would detect every flip of them.
        independent = tuple(
            classifier
            for classifier, trust in zip(data.external, posterior.external, strict=True)
            if trust.copying == 0
        )
        recall = measure_flip_recall(
            detector, replace(data, external=independent), posterior, budget
        )
    cache.clear()
    return posterior, recall


def count_heads(plan: DetectionPlan) -> int:
    """Maximum number of linear heads of a detection."""
    return MAX_HEADS + (TRUSTED_HEADS if plan.trusted else 0)


def make_views(store: Store, plan: DetectionPlan, tables: Sequence[Table]) -> FeatureViews:
    """Return feature views of the rows of several tables, concatenated in order."""
    if isinstance(plan.encoder, ImageEncoder):
        return make_image_views(store, plan.encoder, plan.inputs.study, tables)
    if plan.encoder is not None:
        return make_text_views(store, plan.encoder, plan.inputs.study, tables)
    measurements = [table.measurements for table in tables if table.measurements is not None]
    return FeatureViews((make_features(measurements),), ((1.0,),))


def _split_terms(views: FeatureViews, tables: Sequence[Table]) -> list[tuple[csr_matrix, ...]]:
    """Split the term matrices of the views by table."""
    bounds = list(accumulate((len(table) for table in tables), initial=0))
    return [
        tuple(csr_matrix(terms[start:end]) for terms in views.terms)
        for start, end in pairwise(bounds)
    ]


def _select_weights(
    plan: DetectionPlan, views: FeatureViews, tables: Sequence[Table]
) -> tuple[float, ...]:
    """Select view weights by cross-validation on the trusted rows, else on the training rows."""
    rows, classes = sum(map(len, tables)), len(plan.inputs.study.labels)
    target = tables[-1] if plan.trusted else tables[0]
    ids = torch.arange(rows)[-len(target) :] if plan.trusted else torch.arange(len(target))
    groups = group_exact_duplicates(target)
    return views.select_weights(ids, torch.tensor(target.labels), classes, groups)


def read_known_labels(
    plan: DetectionPlan, digests: Sequence[bytes], table: Table, same: Tensor | None
) -> Tensor:
    """Right class of reviewed rows, for a table with the rows in the order of `digests`.

    An annotation also decides identical rows (`same`) that were added since, with any label.
    """
    labels = plan.inputs.study.labels
    class_ids: dict[str | None, int] = {label: i for i, label in enumerate(labels)} | {
        None: NO_LABEL_FITS
    }
    names = (labels[label] for label in table.labels)
    rows = zip(digests, content_digests(table), names, strict=True)
    known = (plan.annotations.find_right_label(*row) for row in rows)
    reviewed = torch.tensor(
        [class_ids[right] if is_known else NOT_REVIEWED for is_known, right in known]
    )
    if same is None:
        return reviewed
    is_disputed = torch.tensor([digest in plan.annotations.conflicts for digest in digests])
    return torch.where(is_disputed, reviewed, spread_reviews(reviewed, same))


def _read_harm(store: Store, inputs: Inputs) -> pl.DataFrame | None:
    """Harm of each training row in the newest finished audit of the same rows; None without one."""
    for status in store.list_runs():
        if status.finished and status.record.parts.get("train") == inputs.train.digest:
            run = status.record.run
            scores = store.scan("scores", run)
            train = store.scan("train", run).select("train", "label")
            queries = store.scan("queries", run).select("query", "label")
            own_label = scores.join(train, on="train", maintain_order="left").join(
                queries, on=["query", "label"], how="semi", maintain_order="left"
            )
            total, same_label = (
                sum_harm_by_train(pairs).select("train", "harm") for pairs in (scores, own_label)
            )
            both = total.join(same_label, on="train", how="left", suffix="_same_label")
            return both.sort("train").collect()
    return None
