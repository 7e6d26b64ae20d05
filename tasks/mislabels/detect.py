"""Bulk mislabel detection: from the training table to a ranked table in the store."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE
from scipy.sparse import csr_matrix
from torch import Tensor

from fastif.mislabels.detector import NAIVE_BAYES_SCORES, MislabelDetector
from fastif.mislabels.feature_views import FeatureViews
from fastif.mislabels.features import concat_views, make_tabular_features
from fastif.mislabels.injected_flips import measure_flip_recall
from fastif.mislabels.knn import find_neighbours
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.labeled_data import (
    NO_LABEL_FITS,
    NOT_REVIEWED,
    LabeledData,
    TrustedData,
)
from fastif.mislabels.second_round_check import INNER_FOLDS
from storage import Store, StoreError, compute_fingerprint, polars_schema
from storage.parquet import write_table
from storage.queries import sum_harm_by_train
from storage.schemas import MISLABELS
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs, read_inputs
from tasks.data.near_duplicates import group_exact_duplicates, group_near_duplicates
from tasks.data.row_hashes import content_digests, row_digests
from tasks.mislabels.annotations import Annotations, read_annotations
from tasks.mislabels.cross_fitted_classifier import classifier_key, compute_classifier_logits
from tasks.mislabels.facts import make_facts
from tasks.mislabels.head_cache import HeadCache
from tasks.mislabels.label_words import choose_none_word
from tasks.mislabels.random_sample import select_random_sample
from tasks.mislabels.results import (
    FACTS,
    KIND,
    next_result_number,
    record_request,
)
from tasks.mislabels.text_features import TextEncoder, make_encoder, make_text_views
from tasks.models.locate import find_encoder_folder
from tasks.models.training_dynamics import compute_dynamics_digest, read_dynamics
from tasks.run.spec import open_existing_store, resolve_store_path
from tasks.runtime.progress import progress_bar
from tasks.runtime.retries import retry_if_transient

DETECTOR_VERSION = 9
"""Raised when the procedure comes to say something else."""
DETECTOR = MislabelDetector()
NO_PROBABILITY = -1.0
"""In place of a probability: after all rows that have one."""
FLIP_REPEATS = 2
"""Draws of them, each judged anew."""
MAX_HEADS = 2 * DETECTOR.folds * (DETECTOR.repeats + FLIP_REPEATS + INNER_FOLDS) + 1 + FLIP_REPEATS
"""That a search fits: to labels and to beliefs, and to tell whether the latter pays."""


@dataclass(frozen=True)
class DetectionPlan:
    """What is looked for: a study's rows, what reads them, and what people have said of them.

    Attributes:
        inputs: study and tables.
        encoder: of the texts; None where rows are no texts.
        encoder_saw_labels: whether its weights may have seen the labels.
        annotations: of the store.
    """

    inputs: Inputs
    encoder: TextEncoder | None
    encoder_saw_labels: bool
    annotations: Annotations

    @property
    def trusted(self) -> bool:
        """Whether the queries' labels are certain."""
        return self.inputs.study.queries.trusted

    @cached_property
    def digest(self) -> str:
        """Of everything that the answer depends on; not of the order of the rows."""
        study = self.inputs.study
        queries = sorted(row.hex() for row in row_digests(self.inputs.queries, study.labels))
        return compute_fingerprint(
            {
                "procedure": DETECTOR_VERSION,
                "detector": DETECTOR.settings,
                "encoder": self.encoder.artifact_kind if self.encoder else "as they are",
                "train": self.inputs.train.digest,
                "rows": len(self.inputs.train),
                "queries": queries if self.trusted else [],
                "labels": list(study.labels),
                "budget": study.mislabels.budget,
                "judge": classifier_key(self.inputs),
                "dynamics": compute_dynamics_digest(study),
                "verdicts": self.annotations.digest,
            }
        )


def read_detection_plan(path: Path) -> DetectionPlan:
    """What a study asks to be searched. Reads every input, computes and writes nothing.

    Raises:
        StudyError, InputError: something is wrong with the study, a table or the encoder.
    """
    inputs = read_inputs(path)
    encoder, encoder_saw_labels = None, False
    if inputs.train.measurements is None:
        folder, encoder_saw_labels = find_encoder_folder(inputs.study)
        encoder = make_encoder(folder, inputs.study)
    annotations = read_annotations(find_store(inputs), inputs.train, inputs.study.labels)
    return DetectionPlan(inputs, encoder, encoder_saw_labels, annotations)


def find_store(inputs: Inputs) -> Store | None:
    """The study's store, if it was begun."""
    try:
        return open_existing_store(inputs.study)
    except StoreError:
        return None


@task(
    name="find-mislabels", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient
)
def detect_mislabels(path: str) -> str:
    """Rank the training rows by the probability that their label is wrong; the part's digest."""
    plan = read_detection_plan(Path(path))
    study = plan.inputs.study
    store = Store.open(resolve_store_path(study), study.name)
    if store.find_artifact(KIND, plan.digest) is not None:
        record_request(store, plan.digest)
    else:
        start = time.monotonic()
        table, facts = _run_detector(store, plan)
        facts |= {"seconds": time.monotonic() - start, "number": next_result_number(store)}

        def write(folder: Path) -> None:
            write_table(folder, KIND, table)
            (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")

        store.write_artifact(KIND, plan.digest, write)
    return plan.digest


def _run_detector(store: Store, plan: DetectionPlan) -> tuple[pl.DataFrame, dict[str, Any]]:
    inputs, study = plan.inputs, plan.inputs.study
    # In the order of their contents: answers do not depend on that of the table, to the last digit.
    digests = row_digests(inputs.train, study.labels)
    order = torch.tensor(sorted(range(len(digests)), key=lambda i: (digests[i], i)))
    tables = [inputs.train.take(order.tolist())]
    tables += [inputs.queries] if plan.trusted else []
    views = make_views(store, plan, tables)
    weights = _select_weights(plan, views, tables)
    features, *others = views.concat_weighted(weights).split([len(table) for table in tables])
    terms = _split_terms(views, tables)
    del views  # memory that the heads need
    neighbour_ids = find_neighbours(features, DETECTOR.neighbours)
    ordered_digests = [digests[i] for i in order.tolist()]
    sample, contents = (
        select_random_sample(plan.annotations, ordered_digests),
        content_digests(tables[0]),
    )
    groups = group_near_duplicates(tables[0], neighbour_ids)
    data = LabeledData(
        features,
        torch.tensor(tables[0].labels),
        len(study.labels),
        groups,
        _read_known_labels(plan, ordered_digests, tables[0]),
        compute_classifier_logits(store, plan.inputs, tables[0], groups),
        terms[0],
        sample
        and sample.locate_rows(
            ordered_digests, contents, study.labels, tables[0].labels, groups.tolist()
        ),
    )
    trusted = None
    if others:
        trusted_labels = torch.tensor(inputs.queries.labels)
        trusted = TrustedData(others[0], trusted_labels, len(study.labels), terms[1])
    budget = min(study.mislabels.budget, len(data.labels))
    with progress_bar("labels: heads fitted", MAX_HEADS) as advance:
        heads = HeadCache(store, plan.digest, advance)
        detector = replace(DETECTOR, fit=heads)
        posterior = detector(data, trusted, neighbour_ids)
        recall = measure_flip_recall(detector, data, posterior, budget)
    heads.clear()
    harm = _read_harm(store, inputs)
    frame = _make_frame(inputs, data, posterior, order, harm)
    facts = make_facts(plan, data, posterior, recall, frame, sample)
    return frame, facts | {"procedure": DETECTOR_VERSION, "mix": weights}


def make_views(store: Store, plan: DetectionPlan, tables: Sequence[Table]) -> FeatureViews:
    """Views of the rows of some tables, one table after the other."""
    if plan.encoder is not None:
        return make_text_views(store, plan.encoder, plan.inputs.study, tables)
    measurements = [table.measurements for table in tables if table.measurements is not None]
    # In double precision: large numbers, such as times, may differ by little.
    numbers = torch.from_numpy(
        np.concatenate([measurement.numbers for measurement in measurements])
    )
    if measurements[0].image:
        features = concat_views([numbers.float()])
    else:
        columns = zip(*(measurement.categories for measurement in measurements), strict=True)
        features = make_tabular_features(numbers, [list(chain(*column)) for column in columns])
    return FeatureViews((features,), ((1.0,),))


def _split_terms(views: FeatureViews, tables: Sequence[Table]) -> list[tuple[csr_matrix, ...]]:
    """Of each table its own."""
    bounds = list(accumulate((len(table) for table in tables), initial=0))
    return [
        tuple(csr_matrix(terms[start:end]) for terms in views.terms)
        for start, end in pairwise(bounds)
    ]


def _select_weights(
    plan: DetectionPlan, views: FeatureViews, tables: Sequence[Table]
) -> tuple[float, ...]:
    """That which tells most of the labels: of trusted ones where there are some."""
    rows, classes = sum(map(len, tables)), len(plan.inputs.study.labels)
    target = tables[-1] if plan.trusted else tables[0]
    ids = torch.arange(rows)[-len(target) :] if plan.trusted else torch.arange(len(target))
    groups = None if plan.trusted else group_exact_duplicates(target)
    return views.select_weights(ids, torch.tensor(target.labels), classes, groups)


def _group_decisions(data: LabeledData, suggested: Tensor) -> Tensor:
    """Equal for rows that are alike, with the same label and the same suggestion."""
    keys = torch.stack([data.group_ids, data.labels, suggested], 1)
    return keys.unique(dim=0, return_inverse=True)[1]


def _read_known_labels(plan: DetectionPlan, digests: Sequence[bytes], table: Table) -> Tensor:
    """Right labels by verdicts; `table` has the rows in the order of `digests`."""
    labels = plan.inputs.study.labels
    class_ids: dict[str | None, int] = {label: i for i, label in enumerate(labels)} | {
        None: NO_LABEL_FITS
    }
    names = (labels[label] for label in table.labels)
    rows = zip(digests, content_digests(table), names, strict=True)
    known = (plan.annotations.find_right_label(*row) for row in rows)
    return torch.tensor(
        [class_ids[right] if is_known else NOT_REVIEWED for is_known, right in known]
    )


def _read_harm(store: Store, inputs: Inputs) -> pl.DataFrame | None:
    """Of each training row, from the newest finished audit of the same rows; None without one."""
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


def _make_frame(
    inputs: Inputs,
    data: LabeledData,
    posterior: LabelPosterior,
    order: Tensor,
    harm: pl.DataFrame | None,
) -> pl.DataFrame:
    """The table, in the order of the training rows."""
    table, labels = inputs.train, inputs.study.labels
    inverse_order = order.argsort()
    known = data.known if data.known is not None else torch.full_like(data.labels, NOT_REVIEWED)
    names = {NOT_REVIEWED: None, NO_LABEL_FITS: choose_none_word(labels)} | dict(enumerate(labels))
    nearest = _find_nearest(data, posterior.neighbour_ids, order)
    probability = posterior.probability.float()
    is_singleton = mask_singleton_classes(data, inputs.queries.labels if posterior.trusted else ())
    columns: dict[str, Any] = {
        "train": range(len(table)),
        "rank": _rank_rows(probability.where(~is_singleton, NO_PROBABILITY), known)[
            inverse_order
        ].tolist(),
        "id": table.ids,
        "text": table.texts,
        "text_pair": table.text_pairs or [None] * len(table),
        "label": [labels[i] for i in table.labels],
        "probability": _mask_to_nan(probability, is_singleton)[inverse_order].tolist(),
        "doubt": _mask_to_nan(posterior.prior_error, is_singleton)[inverse_order].tolist(),
        "suggested": [labels[i] for i in posterior.suggested[inverse_order].tolist()],
        "confidence": posterior.confidence[inverse_order].clamp(0, 1).tolist(),
        "cluster": _group_decisions(data, posterior.suggested)[inverse_order].tolist(),
        "agreeing": [nearest[0][i] for i in inverse_order.tolist()],
        "conflicting": [nearest[1][i] for i in inverse_order.tolist()],
        "reviewed": [names[i] for i in known[inverse_order].tolist()],
        "trained_margin": [
            None if margin is None else -margin for margin in read_dynamics(inputs.study, table)
        ],
        **{name: signal[inverse_order].tolist() for name, signal in posterior.label_scores.items()},
    }
    for name in (*NAIVE_BAYES_SCORES, "judged_loss", "trusted_loss"):
        columns.setdefault(name, [None] * len(table))
    schema = polars_schema(MISLABELS)
    frame = pl.DataFrame(columns, schema_overrides={"train": pl.UInt32, "text_pair": pl.String})
    frame = frame.with_columns(pl.col("probability", "doubt").fill_nan(None))
    if harm is None:
        frame = frame.with_columns(harm=pl.lit(None), harm_same_label=pl.lit(None))
    else:
        harm_by_row = harm.with_columns(pl.col("train").cast(pl.UInt32))
        frame = frame.join(harm_by_row, on="train", how="left", maintain_order="left").with_columns(
            pl.col("harm", "harm_same_label").fill_null(0.0)
        )
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def mask_singleton_classes(data: LabeledData, trusted: Sequence[int]) -> Tensor:
    """Which rows are the only one of their class, with rows like them: nobody can judge these.

    Whoever judges a row has not seen it, nor what is like it, and so has seen none of the class.

    Args:
        data: to be judged.
        trusted: labels of the rows of certain label.
    """
    if data.classifier_logits is not None:  # by a classifier that knows the class from elsewhere
        return torch.zeros_like(data.labels, dtype=torch.bool)
    known = data.known if data.known is not None else torch.full_like(data.labels, NOT_REVIEWED)
    train_labels = torch.where(known == NOT_REVIEWED, data.labels, known)
    pairs = torch.stack([train_labels, data.group_ids], 1)[train_labels != NO_LABEL_FITS]
    is_single = pairs.unique(dim=0)[:, 0].bincount(minlength=data.classes) == 1
    is_single[torch.tensor(trusted, dtype=torch.long)] = False
    return is_single[data.labels] & (known == NOT_REVIEWED)


def _mask_to_nan(values: Tensor, missing: Tensor) -> Tensor:
    """With NaN for what is missing, which is null in the table."""
    return values.where(~missing, math.nan)


def _rank_rows(probability: Tensor, known: Tensor) -> Tensor:
    """0 for the most suspicious; rows that were looked at last, rows that are alike in order."""
    scores = torch.where(known == NOT_REVIEWED, probability, -2.0)
    ranks = torch.empty(len(scores), dtype=torch.long)
    ranks[scores.argsort(descending=True, stable=True)] = torch.arange(len(scores))
    return ranks


def _find_nearest(
    data: LabeledData, neighbour_ids: Tensor, order: Tensor
) -> tuple[list[int | None], list[int | None]]:
    """Of each row the nearest with its label, and the nearest with another, as table positions."""
    same = data.labels[neighbour_ids] == data.labels[:, None]
    nearest = []
    for mask in (same, ~same):
        first = mask.int().argmax(1)
        positions = order[neighbour_ids.gather(1, first[:, None])[:, 0]].tolist()
        exists = mask.any(1).tolist()
        nearest.append(
            [
                position if has_any else None
                for position, has_any in zip(positions, exists, strict=True)
            ]
        )
    return nearest[0], nearest[1]
