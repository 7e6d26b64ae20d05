"""What a search for wrong labels will take, from a short calibration."""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from fastif.mislabels.feature_views import CROSSING, MOST, TEXT_MIXES
from fastif.mislabels.features import tabular
from fastif.mislabels.knn import EXACT, neighbours
from fastif.mislabels.linear_head import fit_head
from fastif.mislabels.tfidf import trigrams
from tasks.mislabels.detect import (
    DETECTOR,
    MOST_HEADS,
    Search,
    store_if_any,
)
from tasks.mislabels.results import KIND
from tasks.mislabels.text_features import encoded_width, seconds_a_text, unread
from tasks.models.locate import judge_folder

WORDS_WIDTH = 300
SAMPLE, FEW = 20_000, 4_000
"""Rows that a head is tried on, and rows whose neighbours are searched, at most."""
COPIES = 4.5
"""Of the features while heads are fitted to four fifths of them and neighbours are searched."""
COLUMNS = 12
"""Tables of a number a row and class that are held at once."""
TERM_BYTES, TERMS_A_WORD = 15, 2
"""Of words and letters: a weight and a place, and what a fold takes; pairs of words count too."""
LOADED = 0.7
"""GB of the process before it begins."""


@dataclass(frozen=True)
class LabelForecast:
    """What a search will take.

    Attributes:
        rows, texts, heads: how many there are to judge, to read and to fit.
        reading, likeness, judging: seconds to read texts, to find what is like what, and to fit.
        memory: at its peak, GB.
    """

    rows: int
    texts: int
    heads: int
    reading: float
    likeness: float
    judging: float
    memory: float

    @property
    def seconds(self) -> float:
        """In all."""
        return self.reading + self.likeness + self.judging

    def __str__(self) -> str:
        return (
            f"{self.rows:,} training rows, {self.texts:,} texts to read: {self.reading:,.0f} s; "
            f"which rows are like which: {self.likeness:,.0f} s; {self.heads} heads to fit: "
            f"{self.judging:,.0f} s. In all about {self.seconds:,.0f} s and "
            f"{self.memory:,.1f} GB of memory."
        )


def forecast_mislabels(search: Search) -> LabelForecast | None:
    """Texts to read, neighbours to find and heads to fit; None if all is there already.

    Nothing is written.

    Raises:
        InputError: the judge cannot be found.
    """
    inputs, store = search.inputs, store_if_any(search.inputs)
    if inputs.study.mislabels.judge is not None:
        judge_folder(inputs.study)  # refused here if it cannot be found
    if store is not None and store.part(KIND, search.digest) is not None:
        return None
    reading, texts = 0.0, 0
    if search.encoder is not None:
        tables = [inputs.train, *([inputs.queries] if search.trusted else [])]
        texts = sum(unread(store, search.encoder, table) for table in tables)
        each = seconds_a_text(search.encoder, inputs.study, inputs.train) if texts else 0.0
        reading = texts * each
    rows, width = len(inputs.train), _width(search)
    classes = len(inputs.study.labels)
    return LabelForecast(
        rows,
        texts,
        MOST_HEADS,
        reading,
        _seconds_of_neighbours(rows, width),
        (MOST_HEADS + _heads_for_a_mix(search)) * _seconds_a_head(search, width),
        LOADED
        + rows * 4e-9 * (COPIES * width + COLUMNS * classes)
        + 1e-9 * _bytes_of_terms(search),
    )


def _bytes_of_terms(search: Search) -> float:
    """Of the words and letters of all rows, by those of a few."""
    table = search.inputs.train
    if search.encoder is None:
        return 0.0
    columns = [table.texts, *([] if table.text_pairs is None else [table.text_pairs])]
    some = slice(None, None, max(1, len(table) // FEW))
    counts = [min(search.encoder.length, len(t.split())) for col in columns for t in col[some]]
    words = len(columns) * sum(counts) / len(counts)
    alone = table.texts[some] if table.text_pairs is None else []
    letters = trigrams(alone).nnz / len(alone) if alone else 0.0
    return len(table) * (words * TERMS_A_WORD + letters) * TERM_BYTES


def _heads_for_a_mix(search: Search) -> float:
    """To choose the mix of a text's views, as parts of heads that see all rows."""
    seen = min(1.0, MOST / len(search.inputs.train))
    return len(TEXT_MIXES) * CROSSING.folds * seen if search.encoder is not None else 0.0


def _width(search: Search) -> int:
    """Of the features."""
    table = search.inputs.train
    if search.encoder is not None:
        pair = 1 if table.text_pairs is None else 4
        return WORDS_WIDTH + pair * encoded_width(search.encoder)
    assert table.measured is not None
    if table.measured.image:
        return table.measured.numbers.shape[1]
    some = table.measured.take(range(min(len(table), FEW)))
    return tabular(torch.from_numpy(some.numbers), some.kinds).shape[1]


def _seconds_of_neighbours(rows: int, width: int) -> float:
    """All pairs are compared; of many rows those within a cell, after cells have been learned."""
    few = min(rows, FEW)
    features = _random(few, width)
    start = time.perf_counter()
    neighbours(features, DETECTOR.neighbours)
    a_pair = (time.perf_counter() - start) / few**2
    if rows <= EXACT:
        return a_pair * rows**2
    cells = int(4 * math.sqrt(rows))
    learning = 25 * min(rows, 256 * cells) * cells  # FAISS' k-means: 25 rounds, 256 rows a cell
    return a_pair * (learning + 2 * rows * cells + rows * rows / cells)


def _seconds_a_head(search: Search, width: int) -> float:
    """Of one that is fitted to random numbers of the same shape, as far as 20,000 rows."""
    table, classes = search.inputs.train, len(search.inputs.study.labels)
    rows = min(len(table), SAMPLE)
    labels = torch.tensor(table.labels[:rows])
    features, targets = _random(rows, width), torch.nn.functional.one_hot(labels, classes).float()
    start = time.perf_counter()
    fit_head(features, targets, DETECTOR.penalty)
    return (time.perf_counter() - start) * len(table) / rows


def _random(rows: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, width, generator=generator) / width**0.5
