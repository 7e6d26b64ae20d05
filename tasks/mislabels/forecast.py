"""Forecast of time and memory of a mislabel detection, from a short calibration."""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from fastif.mislabels.feature_views import CROSS_FITTER, MAX_SELECTION_ROWS, TEXT_WEIGHTS
from fastif.mislabels.features import make_tabular_features
from fastif.mislabels.knn import MAX_EXACT_ROWS, find_neighbours
from fastif.mislabels.linear_head import fit_linear_head
from fastif.mislabels.tfidf import char_trigrams
from tasks.mislabels.detect import count_heads
from tasks.mislabels.detection_plan import DETECTOR, DetectionPlan, find_store
from tasks.mislabels.results import KIND
from tasks.mislabels.text_features import (
    compute_embedding_width,
    count_unencoded,
    measure_seconds_per_text,
)
from tasks.models.locate import find_classifier_folder

LSA_WIDTH = 300
MAX_HEAD_ROWS, MAX_KNN_ROWS = 20_000, 4_000
"""Maximum number of rows on which a linear head, and a search for neighbours, are timed."""
FEATURE_COPIES = 4.5
"""Peak copies of the feature matrix while heads are fitted and neighbours are searched."""
CLASS_COLUMNS = 12
"""Peak number of arrays with one number a row and class."""
TERM_BYTES, TERMS_PER_WORD = 15, 2
"""Memory of n-gram terms: bytes of a weight, with its copies in folds; terms a word."""
BASE_MEMORY_GB = 0.7
"""Memory of the process before the detection, GB."""


@dataclass(frozen=True)
class LabelForecast:
    """Forecast of time and memory of a mislabel detection.

    Attributes:
        rows: Number of training rows.
        texts: Number of texts without a cached embedding.
        heads: Number of linear heads to fit.
        encode_seconds: Time to encode texts, seconds.
        knn_seconds: Time to search nearest neighbours, seconds.
        fit_seconds: Time to fit heads, seconds.
        memory: Peak memory, GB.
    """

    rows: int
    texts: int
    heads: int
    encode_seconds: float
    knn_seconds: float
    fit_seconds: float
    memory: float

    @property
    def seconds(self) -> float:
        """Total time, seconds."""
        return self.encode_seconds + self.knn_seconds + self.fit_seconds

    def __str__(self) -> str:
        return (
            f"{self.rows:,} training rows. Encoding {self.texts:,} texts: "
            f"{self.encode_seconds:,.0f} s; "
            f"nearest neighbours: {self.knn_seconds:,.0f} s; fitting {self.heads} linear heads: "
            f"{self.fit_seconds:,.0f} s. In all about {self.seconds:,.0f} s and "
            f"{self.memory:,.1f} GB of memory."
        )


def forecast_mislabels(plan: DetectionPlan) -> LabelForecast | None:
    """Forecast a mislabel detection; None if its result is in the store already.

    Nothing is written.

    Raises:
        InputError: The classifier of `[mislabels] judge` cannot be found.
    """
    inputs, store = plan.inputs, find_store(plan.inputs)
    if inputs.study.mislabels.judge is not None:
        find_classifier_folder(inputs.study)  # raises if it cannot be found
    if store is not None and store.find_artifact(KIND, plan.digest) is not None:
        return None
    encode_seconds, texts = 0.0, 0
    if plan.encoder is not None:
        tables = [inputs.train, *([inputs.queries] if plan.trusted else [])]
        texts = sum(count_unencoded(store, plan.encoder, table) for table in tables)
        seconds_per_text = (
            measure_seconds_per_text(plan.encoder, inputs.study, inputs.train) if texts else 0.0
        )
        encode_seconds = texts * seconds_per_text
    rows, width = len(inputs.train), _compute_feature_width(plan)
    classes = len(inputs.study.labels)
    return LabelForecast(
        rows,
        texts,
        count_heads(plan),
        encode_seconds,
        _estimate_knn_seconds(rows, width),
        (count_heads(plan) + _estimate_weight_heads(plan)) * _estimate_head_seconds(plan, width),
        BASE_MEMORY_GB
        + rows * 4e-9 * (FEATURE_COPIES * width + CLASS_COLUMNS * classes)
        + 1e-9 * _estimate_term_bytes(plan),
    )


def _estimate_term_bytes(plan: DetectionPlan) -> float:
    """Bytes of the n-gram terms of all rows, from a sample."""
    table = plan.inputs.train
    if plan.encoder is None:
        return 0.0
    columns = [table.texts, *([] if table.text_pairs is None else [table.text_pairs])]
    sample = slice(None, None, max(1, len(table) // MAX_KNN_ROWS))
    counts = [
        min(plan.encoder.max_tokens, len(text.split()))
        for column in columns
        for text in column[sample]
    ]
    words_per_text = len(columns) * sum(counts) / len(counts)
    single_texts = table.texts[sample] if table.text_pairs is None else []
    trigrams_per_text = char_trigrams(single_texts).nnz / len(single_texts) if single_texts else 0.0
    return len(table) * (words_per_text * TERMS_PER_WORD + trigrams_per_text) * TERM_BYTES


def _estimate_weight_heads(plan: DetectionPlan) -> float:
    """Heads that select the view weights, as fractions of a head fitted to all rows."""
    share = min(1.0, MAX_SELECTION_ROWS / len(plan.inputs.train))
    return len(TEXT_WEIGHTS) * CROSS_FITTER.folds * share if plan.encoder is not None else 0.0


def _compute_feature_width(plan: DetectionPlan) -> int:
    """Number of feature columns."""
    table = plan.inputs.train
    if plan.encoder is not None:
        factor = 1 if table.text_pairs is None else 4
        return LSA_WIDTH + factor * compute_embedding_width(plan.encoder)
    assert table.measurements is not None
    if table.measurements.image:
        return table.measurements.numbers.shape[1]
    sample = table.measurements.take(range(min(len(table), MAX_KNN_ROWS)))
    return make_tabular_features(torch.from_numpy(sample.numbers), sample.categories).shape[1]


def _estimate_knn_seconds(rows: int, width: int) -> float:
    """Time of the kNN search: exact up to `MAX_EXACT_ROWS`, beyond with an inverted file index."""
    num_timed = min(rows, MAX_KNN_ROWS)
    features = _sample_features(num_timed, width)
    start = time.perf_counter()
    find_neighbours(features, DETECTOR.neighbours)
    seconds_per_pair = (time.perf_counter() - start) / num_timed**2
    if rows <= MAX_EXACT_ROWS:
        return seconds_per_pair * rows**2
    cells = int(4 * math.sqrt(rows))
    training_pairs = (
        25 * min(rows, 256 * cells) * cells
    )  # FAISS' k-means: 25 rounds, 256 rows a cell
    return seconds_per_pair * (training_pairs + 2 * rows * cells + rows * rows / cells)


def _estimate_head_seconds(plan: DetectionPlan, width: int) -> float:
    """Time of one linear head, measured on random features of at most 20,000 rows."""
    table, classes = plan.inputs.train, len(plan.inputs.study.labels)
    rows = min(len(table), MAX_HEAD_ROWS)
    labels = torch.tensor(table.labels[:rows])
    features, targets = (
        _sample_features(rows, width),
        torch.nn.functional.one_hot(labels, classes).float(),
    )
    start = time.perf_counter()
    fit_linear_head(features, targets, DETECTOR.penalty)
    return (time.perf_counter() - start) * len(table) / rows


def _sample_features(rows: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, width, generator=generator) / width**0.5
