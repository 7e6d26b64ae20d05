"""What a search for wrong labels will take, from a short calibration."""

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
from tasks.mislabels.detect import MAX_HEADS
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
"""Rows that a head is tried on, and rows whose neighbours are searched, at most."""
FEATURE_COPIES = 4.5
"""Of the features while heads are fitted to four fifths of them and neighbours are searched."""
CLASS_COLUMNS = 12
"""Tables of a number a row and class that are held at once."""
TERM_BYTES, TERMS_PER_WORD = 15, 2
"""Of words and letters: a weight and a place, and what a fold takes; pairs of words count too."""
BASE_MEMORY_GB = 0.7
"""GB of the process before it begins."""


@dataclass(frozen=True)
class LabelForecast:
    """What a search will take.

    Attributes:
        rows, texts, heads: how many there are to judge, to read and to fit.
        encode_seconds, knn_seconds, fit_seconds: seconds to read texts, to find what is like what,
            and to fit.
        memory: at its peak, GB.
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
        """In all."""
        return self.encode_seconds + self.knn_seconds + self.fit_seconds

    def __str__(self) -> str:
        return (
            f"{self.rows:,} training rows, {self.texts:,} texts to read: "
            f"{self.encode_seconds:,.0f} s; "
            f"which rows are like which: {self.knn_seconds:,.0f} s; {self.heads} heads to fit: "
            f"{self.fit_seconds:,.0f} s. In all about {self.seconds:,.0f} s and "
            f"{self.memory:,.1f} GB of memory."
        )


def forecast_mislabels(plan: DetectionPlan) -> LabelForecast | None:
    """Texts to read, neighbours to find and heads to fit; None if all is there already.

    Nothing is written.

    Raises:
        InputError: the judge cannot be found.
    """
    inputs, store = plan.inputs, find_store(plan.inputs)
    if inputs.study.mislabels.judge is not None:
        find_classifier_folder(inputs.study)  # refused here if it cannot be found
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
        MAX_HEADS,
        encode_seconds,
        _estimate_knn_seconds(rows, width),
        (MAX_HEADS + _estimate_weight_heads(plan)) * _estimate_head_seconds(plan, width),
        BASE_MEMORY_GB
        + rows * 4e-9 * (FEATURE_COPIES * width + CLASS_COLUMNS * classes)
        + 1e-9 * _estimate_term_bytes(plan),
    )


def _estimate_term_bytes(plan: DetectionPlan) -> float:
    """Of the words and letters of all rows, by those of a few."""
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
    """To choose the mix of a text's views, as parts of heads that see all rows."""
    share = min(1.0, MAX_SELECTION_ROWS / len(plan.inputs.train))
    return len(TEXT_WEIGHTS) * CROSS_FITTER.folds * share if plan.encoder is not None else 0.0


def _compute_feature_width(plan: DetectionPlan) -> int:
    """Of the features."""
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
    """All pairs are compared; of many rows those within a cell, after cells have been learned."""
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
    """Of one that is fitted to random numbers of the same shape, as far as 20,000 rows."""
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
