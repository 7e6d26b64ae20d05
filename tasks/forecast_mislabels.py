"""What a search for wrong labels will take, from a short calibration."""

import time

import torch

from fastif.applications import fit_head
from fastif.applications.another_round import INNER
from tasks.encoded import seconds_a_text, unread
from tasks.mislabels import DETECTOR, KIND, Search, store_if_any

DIMENSIONS = 300
CANARIES = 2


def forecast_mislabels(search: Search) -> str:
    """Texts to read and heads to fit, in seconds; nothing is written."""
    inputs, store = search.inputs, store_if_any(search.inputs)
    if store is not None and store.part(KIND, search.digest) is not None:
        return "Everything is there already; it would only be shown."
    tables = [inputs.train, *([inputs.queries] if search.trusted else [])]
    texts = sum(unread(store, search.encoder, table) for table in tables)
    reading = texts * seconds_a_text(search.encoder, inputs.study, inputs.train) if texts else 0.0
    aside = 2 * INNER * DETECTOR.folds  # to tell whether a second round pays
    heads = 2 * DETECTOR.folds * (DETECTOR.repeats + CANARIES) + aside
    judging = heads * _seconds_a_head(search)
    return (
        f"{len(inputs.train):,} training rows, {texts:,} texts to read: {reading:,.0f} s; "
        f"{heads} heads to fit: {judging:,.0f} s. In all about {reading + judging:,.0f} s."
    )


def _seconds_a_head(search: Search) -> float:
    """Of one that is fitted to random numbers of the same shape, as far as 20,000 rows."""
    table, classes = search.inputs.train, len(search.inputs.study.labels)
    width = DIMENSIONS + 384 * (1 if table.text_pairs is None else 4)
    rows = min(len(table), 20_000)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(rows, width, generator=generator) / width**0.5
    labels = torch.tensor(table.labels[:rows])
    start = time.perf_counter()
    fit_head(features, torch.nn.functional.one_hot(labels, classes).float(), DETECTOR.penalty)
    return (time.perf_counter() - start) * len(table) / rows
