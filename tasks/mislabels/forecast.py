"""Forecast of time and memory of a mislabel detection, from a short calibration."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.calibration import calibrate_logits
from fastif.mislabels.confusable_noise import EXPONENTS, fit_confusable_noise
from fastif.mislabels.feature_views import CROSS_FITTER, MAX_SELECTION_ROWS, TEXT_WEIGHTS
from fastif.mislabels.knn import (
    MAX_EXACT_ROWS,
    PROBES,
    TRAINING_ROWS_PER_CELL,
    find_neighbours,
)
from fastif.mislabels.linear_head import fit_linear_head
from fastif.mislabels.noise_model import fit_joint_mle
from fastif.mislabels.scores import compute_head_self_influence
from fastif.mislabels.second_round_check import INNER_FOLDS
from fastif.mislabels.second_round_check import MAX_ROWS as MAX_TEST_ROWS
from fastif.mislabels.sparse_transition import MAX_ROWS as MAX_SPARSE_ROWS
from fastif.mislabels.sparse_transition import sample_rows, select_sparse_transition
from fastif.mislabels.tfidf import char_trigrams
from tasks.mislabels.cross_fitting_forecast import forecast_cross_fitting
from tasks.mislabels.detect import count_heads
from tasks.mislabels.detection_plan import DETECTOR, DetectionPlan, find_store
from tasks.mislabels.image_features import ImageEncoder, count_unembedded, measure_embedding
from tasks.mislabels.results import KIND
from tasks.mislabels.tabular_views import count_features
from tasks.mislabels.text_features import (
    TextEncoder,
    compute_embedding_width,
    count_unencoded,
    measure_seconds_per_text,
)
from tasks.models.locate import find_classifier_folder

LSA_WIDTH = 300
MAX_HEAD_ROWS, MAX_KNN_ROWS = 20_000, 4_000
"""Maximum number of rows on which a linear head, and a search for neighbours, are timed."""
MAX_NOISE_ROWS = 2_000
"""Maximum number of rows on which a fit of the noise model and a calibration are timed."""
MAX_REPEATED_SECONDS = 1.0
"""Time of a call above which it is not timed a second time."""
MARGIN_HEADS = 2.0
"""Time of the training margin, in linear heads."""
NOISE_FITS, INNER_NOISE_FITS, CALIBRATIONS = 6, 5, 25
"""Number of noise models of all rows and of those of the test of a second round; number of
calibrations of all rows."""
TEXT_COPIES, COLUMN_COPIES, VECTOR_COPIES = 3.0, 3.0, 1.2
"""Peak copies of the feature matrix by kind of rows; the index of nearest rows and the numbers of
vectors are counted besides."""
CLASS_COLUMNS = 16
"""Peak number of arrays with one number a row and class."""
ROW_BYTES = 800
"""Memory of ids, descriptions, digests and scores of a row, bytes."""
TERM_BYTES, TERMS_PER_WORD = 15, 2
"""Memory of n-gram terms: bytes of a weight, with its copies in folds; terms a word."""
BASE_MEMORY_GB = 0.6
"""Memory of the process before the detection, GB."""


@dataclass(frozen=True)
class LabelForecast:
    """Forecast of time and memory of a mislabel detection.

    Attributes:
        rows: Number of training rows.
        texts: Number of texts or images without a cached embedding.
        heads: Number of linear heads to fit.
        encode_seconds: Time to encode texts, seconds.
        knn_seconds: Time to search nearest neighbours, seconds.
        fit_seconds: Time to fit heads, seconds.
        noise_seconds: Time of label noise, calibrations and scores, seconds.
        train_seconds: Time of cross-fitting a classifier, seconds; 0 without one.
        memory: Peak memory, GB.
        unit: Kind of the encoded rows, texts or images.
    """

    rows: int
    texts: int
    heads: int
    encode_seconds: float
    knn_seconds: float
    fit_seconds: float
    noise_seconds: float
    train_seconds: float
    memory: float
    unit: str = "texts"

    @property
    def seconds(self) -> float:
        """Total time, seconds."""
        stages = (self.encode_seconds, self.knn_seconds, self.fit_seconds, self.noise_seconds)
        return sum(stages) + self.train_seconds

    def __str__(self) -> str:
        training = ""
        if self.train_seconds:
            training = f"cross-fitting the classifier: {self.train_seconds:,.0f} s; "
        return (
            f"{self.rows:,} training rows. Encoding {self.texts:,} {self.unit}: "
            f"{self.encode_seconds:,.0f} s; {training}"
            f"nearest neighbours: {self.knn_seconds:,.0f} s; fitting {self.heads} linear heads: "
            f"{self.fit_seconds:,.0f} s; label noise and scores: {self.noise_seconds:,.0f} s. "
            f"In all about {self.seconds:,.0f} s and "
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
    encode_seconds, texts, cost = 0.0, 0, None
    tables = [inputs.train, *([inputs.queries] if plan.trusted else [])]
    if isinstance(plan.encoder, ImageEncoder):
        texts = sum(count_unembedded(store, plan.encoder, table) for table in tables)
        cost = measure_embedding(plan.encoder, inputs.study, inputs.train)
        encode_seconds = texts * cost.seconds
    elif plan.encoder is not None:
        texts = sum(count_unencoded(store, plan.encoder, table) for table in tables)
        seconds_per_text = (
            measure_seconds_per_text(plan.encoder, inputs.study, inputs.train) if texts else 0.0
        )
        encode_seconds = texts * seconds_per_text
    rows = len(inputs.train)
    width = _compute_feature_width(plan) if cost is None else cost.width
    classes = len(inputs.study.labels)
    training = forecast_cross_fitting(inputs.study, inputs.train)
    return LabelForecast(
        rows,
        texts,
        count_heads(plan),
        encode_seconds,
        _estimate_knn_seconds(rows, width),
        _count_whole_heads(plan) * _estimate_head_seconds(plan, width),
        _estimate_noise_seconds(rows, classes) + _estimate_score_seconds(rows, width, classes),
        training.seconds,
        _estimate_memory(plan, width, classes, training.nbytes),
        "texts" if cost is None else "images",
    )


def _estimate_memory(plan: DetectionPlan, width: int, classes: int, training_bytes: int) -> float:
    """Peak memory, GB: features, numbers of vectors, index of nearest rows, rows and n-grams.

    A classifier is cross-fitted while the features are held once, and the n-grams.
    """
    measurements, rows = plan.inputs.train.measurements, len(plan.inputs.train)
    vectors = () if measurements is None else measurements.vectors
    copies = TEXT_COPIES if measurements is None else VECTOR_COPIES if vectors else COLUMN_COPIES
    number_bytes = sum(each.values.nbytes for each in vectors)
    index_bytes = rows * width * (4 if rows <= MAX_EXACT_ROWS else 1)
    working_bytes = rows * 4 * ((copies - 1) * width + CLASS_COLUMNS * classes)
    held_bytes = number_bytes + rows * (4 * width + ROW_BYTES) + _estimate_term_bytes(plan)
    # The process keeps what earlier stages have freed, as far as a later one does not use it.
    every = held_bytes + max(index_bytes + working_bytes, training_bytes)
    return BASE_MEMORY_GB + 1e-9 * every


def _estimate_term_bytes(plan: DetectionPlan) -> float:
    """Bytes of the n-gram terms of all rows, from a sample."""
    table = plan.inputs.train
    if not isinstance(plan.encoder, TextEncoder):
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
    is_text = isinstance(plan.encoder, TextEncoder)
    return len(TEXT_WEIGHTS) * CROSS_FITTER.folds * share if is_text else 0.0


def _count_whole_heads(plan: DetectionPlan) -> float:
    """Time of all heads and of the training margin, in heads that are fitted to all rows."""
    rows = len(plan.inputs.train)
    inner = 2 * DETECTOR.folds * INNER_FOLDS
    # A fold of the test holds out rows twice.
    inner_share = min(1.0, MAX_TEST_ROWS / rows) * (1 - 1 / INNER_FOLDS) * (1 - 1 / DETECTOR.folds)
    others = (count_heads(plan) - inner) * (1 - 1 / DETECTOR.folds)
    return others + inner * inner_share + _estimate_weight_heads(plan) + MARGIN_HEADS


def _estimate_noise_seconds(rows: int, classes: int) -> float:
    """Time of all noise models and calibrations, measured on random logits.

    Cells of T are selected on a sample, whose part of the time has a bound.
    """
    count = min(rows, MAX_NOISE_ROWS)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    logits = 3 * one_hot(labels, classes) + torch.randn(count, classes, generator=generator)
    select_seconds = _time(lambda: select_sparse_transition(logits, labels))
    if classes > 2:
        sample = sample_rows(logits, labels, None, None)
        select_seconds += len(EXPONENTS) * _time(lambda: fit_confusable_noise(sample, 1.0))
    fit_seconds = _time(lambda: fit_joint_mle(logits, labels))
    calibrate_seconds = _time(lambda: calibrate_logits(logits, labels))
    sampled = min(rows, MAX_SPARSE_ROWS) / count
    tested = min(rows, MAX_TEST_ROWS) / count
    whole = rows / count
    return (
        (NOISE_FITS * sampled + INNER_NOISE_FITS * tested) * select_seconds
        + (NOISE_FITS * whole + INNER_NOISE_FITS * tested) * fit_seconds
        + CALIBRATIONS * whole * calibrate_seconds
    )


def _estimate_score_seconds(rows: int, width: int, classes: int) -> float:
    """Time of the self-influence of all rows, measured with two classes on random features."""
    count = min(rows, MAX_KNN_ROWS)
    features = _sample_features(count, width)
    logits, labels = torch.zeros(count, 2), torch.arange(count) % 2
    seconds = _time(
        lambda: compute_head_self_influence(features, labels, (logits,), logits, DETECTOR.penalty)
    )
    return seconds * rows / count * classes / 2


def _time(call: Callable[[], object]) -> float:
    """Wall time of a call, seconds; of a second one if it is short: the first has more to do."""
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
        if seconds > MAX_REPEATED_SECONDS:
            break
    return seconds


def _compute_feature_width(plan: DetectionPlan) -> int:
    """Number of feature columns."""
    table = plan.inputs.train
    if isinstance(plan.encoder, TextEncoder):
        factor = 1 if table.text_pairs is None else 4
        return LSA_WIDTH + factor * compute_embedding_width(plan.encoder)
    assert table.measurements is not None
    return count_features(table.measurements.take(range(min(len(table), MAX_KNN_ROWS))))


def _estimate_knn_seconds(rows: int, width: int) -> float:
    """Time of the kNN search: exact up to `MAX_EXACT_ROWS`, beyond with an inverted file index."""
    num_timed = min(rows, MAX_KNN_ROWS)
    features = _sample_features(num_timed, width)
    seconds = _time(lambda: find_neighbours(features, DETECTOR.neighbours))
    seconds_per_pair = seconds / num_timed**2
    if rows <= MAX_EXACT_ROWS:
        return seconds_per_pair * rows**2
    cells = int(4 * math.sqrt(rows))
    # Products of vectors: 10 rounds of k-means, each row's cell twice, rows of the visited cells.
    trained = 10 * TRAINING_ROWS_PER_CELL * cells * cells
    return seconds_per_pair * (trained + 2 * rows * cells + PROBES * rows * rows / cells)


def _estimate_head_seconds(plan: DetectionPlan, width: int) -> float:
    """Time of one linear head, measured on random features of at most 20,000 rows."""
    table, classes = plan.inputs.train, len(plan.inputs.study.labels)
    rows = min(len(table), MAX_HEAD_ROWS)
    labels = torch.tensor(table.labels[:rows])
    features, targets = (
        _sample_features(rows, width),
        one_hot(labels, classes).float(),
    )
    seconds = _time(lambda: fit_linear_head(features, targets, DETECTOR.penalty))
    return seconds * len(table) / rows


def _sample_features(rows: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, width, generator=generator) / width**0.5
