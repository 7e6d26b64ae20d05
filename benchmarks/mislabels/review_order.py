"""Accuracy of a retrained classifier after so many reviews, by the order of the review.

`python -m benchmarks.mislabels.review_order` ranks the rows of each set, corrects the labels of the
first ones as a reviewer would, and retrains a linear head. The right labels of the training rows
are the verdicts of the simulated reviewer; nothing is fitted, selected or ranked by them.
"""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks.machine import describe
from benchmarks.mislabels.corpora import WORK, Reader, inject_label_flips
from benchmarks.mislabels.noise_grid import adjust_margin
from benchmarks.mislabels.review_order_page import GIVEN, REACHED, VERDICTS, build_pages
from benchmarks.page import publish
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.feature_views import TEXT_WEIGHTS, FeatureViews
from fastif.mislabels.features import compute_lsa
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.labeled_data import LabeledData, TrustedData
from fastif.mislabels.linear_head import fit_linear_head
from fastif.mislabels.review_gain import (
    ValidationRows,
    approximate_posterior,
    compute_review_gain,
)
from fastif.mislabels.tfidf import char_trigrams, tf_idf

RESULT = "review-order"
SEEDS, SHARE = 3, 0.8
"""Number of random samples of the training rows, and their share of the rows."""
STEP = 100
"""Number of verdicts between two heads."""
PENALTY = MislabelDetector().penalty


@dataclass(frozen=True, eq=False)
class TextSet:
    """Texts with given and right labels; training rows are first, then queries, then the test.

    Attributes:
        views: Feature views of all texts.
        terms: Sparse tf-idf matrices of all texts.
        labels: Given labels of the training rows, and right labels of all others.
        truth: Right labels of the training rows.
        queries: Number of queries.
        classes: Number of classes.
    """

    views: FeatureViews
    terms: tuple[csr_matrix, ...]
    labels: Tensor
    truth: Tensor
    queries: int
    classes: int


@dataclass(frozen=True, eq=False)
class Sample:
    """Random sample of the training rows with the features of all rows.

    Attributes:
        rows: Training rows of the sample with given labels.
        truth: Their right labels.
        trusted: Queries.
        test_features: Features of the test.
        test_labels: Labels of the test.
    """

    rows: LabeledData
    truth: Tensor
    trusted: TrustedData
    test_features: Tensor
    test_labels: Tensor

    def measure(self, labels: Tensor, kept: Tensor | None = None) -> float:
        """Return the test accuracy of a head that is trained on some rows with these labels."""
        ids = torch.arange(len(labels)) if kept is None else kept.nonzero()[:, 0]
        targets = one_hot(labels[ids], self.rows.classes).float()
        head = fit_linear_head(self.rows.features[ids], targets, PENALTY)
        is_right = head(self.test_features).argmax(1) == self.test_labels
        return float(is_right.float().mean())

    def measure_reviewed(self, order: Tensor, count: int) -> float:
        """Return the test accuracy after a review of the first rows of an order."""
        labels = self.rows.labels.clone()
        labels[order[:count]] = self.truth[order[:count]]
        return self.measure(labels)


def list_sets(reader: Reader) -> dict[str, Callable[[], TextSet]]:
    """Return readers of the sets: two with real noise, then one with flipped labels."""
    parts = ("train", "dev", "test")
    return {
        "NoisyAG-News": partial(
            _read, reader, "noisy_ag_news", ("annotated", "test"), queries=1000
        ),
        "Hausa news": partial(_read, reader, "hausa_newsclass", parts),
        "SST-2, uniform 20 %": partial(_read, reader, "sst2", parts, rows=3000, kind="uniform"),
    }


def _read(
    reader: Reader,
    name: str,
    parts: tuple[str, ...],
    queries: int | None = None,
    rows: int | None = None,
    kind: str | None = None,
) -> TextSet:
    frames = [reader.frame(f"{name}/{part}") for part in parts]
    frames[0] = frames[0] if rows is None else frames[0].head(rows)
    texts = [text for frame in frames for text in frame["text"].to_list()]
    names = sorted(frames[0]["label"].unique().to_list())
    labels = torch.tensor([names.index(y) for frame in frames for y in frame["label"].to_list()])
    embedded, n = reader.encode(name, texts), len(frames[0])
    if kind is None:
        truth = torch.tensor([names.index(label) for label in frames[0]["label_clean"]])
    else:
        truth = labels[:n].clone()
        labels[:n] = inject_label_flips(truth, len(names), 0.2, kind, embedded[:n, 1])
    words = tf_idf([reader.tokens(texts).tokens])
    views = [embedded[:, 0], embedded[:, 1], compute_lsa(words)]
    return TextSet(
        FeatureViews.from_features(views, TEXT_WEIGHTS),
        (words, char_trigrams(texts)),
        labels,
        truth,
        len(frames[1]) if queries is None else queries,
        len(names),
    )


def draw_sample(texts: TextSet, seed: int) -> Sample:
    """Return a random sample of the training rows, with view weights selected on its labels."""
    n, generator = len(texts.truth), torch.Generator().manual_seed(seed)
    ids = torch.randperm(n, generator=generator)[: round(SHARE * n)].sort().values
    weights = texts.views.select_weights(ids, texts.labels[ids], texts.classes)
    features = texts.views.concat_weighted(weights)
    queries, test = slice(n, n + texts.queries), slice(n + texts.queries, None)

    def select_terms(rows: slice | Tensor) -> tuple[csr_matrix, ...]:
        place = rows if isinstance(rows, slice) else rows.numpy()
        return tuple(csr_matrix(matrix[place]) for matrix in texts.terms)

    labels = texts.labels
    return Sample(
        LabeledData(features[ids], labels[ids], texts.classes, terms=select_terms(ids)),
        texts.truth[ids],
        TrustedData(features[queries], labels[queries], texts.classes, select_terms(queries)),
        features[test],
        labels[test],
    )


def order_rows(sample: Sample, seed: int) -> dict[str, Tensor]:
    """Return the positions of the rows in each order, the first to review first."""
    rows, queries = sample.rows, sample.trusted
    validation = ValidationRows.from_labels(queries.features, queries.labels, rows.classes)
    alone, taught = MislabelDetector()(rows), MislabelDetector()(rows, queries)
    random = torch.rand(len(rows.labels), generator=torch.Generator().manual_seed(100 + seed))
    scores = {
        "probability": alone.probability,
        "gain": _score_gain(rows, alone, None),
        "gain, queries": _score_gain(rows, alone, validation),
        "trusted probability": taught.probability,
        "trusted gain": _score_gain(rows, taught, validation),
        "self-confidence": alone.label_scores["loss"],
        "adjusted margin": adjust_margin(rows),
        "random": random,
    }
    return {name: score.argsort(descending=True, stable=True) for name, score in scores.items()}


def _score_gain(
    rows: LabeledData, result: LabelPosterior, validation: ValidationRows | None
) -> Tensor:
    """Expected gain as `fastif review export --order gain` sorts by it."""
    columns = (rows.labels, result.probability.float(), result.suggested, result.confidence.float())
    posterior = approximate_posterior(*columns, rows.classes)
    return compute_review_gain(rows, posterior, PENALTY, validation)


def measure(texts: TextSet, seed: int) -> dict:
    """Return the accuracies of all orders on one sample of the training rows."""
    sample = draw_sample(texts, seed)
    given, wrong = sample.rows.labels, sample.rows.labels != sample.truth
    counts = range(STEP, max(VERDICTS) + 1, STEP)
    orders = {
        name: {
            "accuracy": {str(k): sample.measure_reviewed(order, k) for k in counts},
            "found": {str(k): int(wrong[order[:k]].sum()) for k in counts},
        }
        for name, order in order_rows(sample, seed).items()
    }
    baselines = {
        GIVEN: sample.measure(given),
        REACHED: sample.measure(given, ~wrong),
        "every label right": sample.measure(sample.truth),
    }
    return {"rows": len(given), "wrong": int(wrong.sum()), "baselines": baselines, "orders": orders}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reader = Reader(Path(os.environ["FASTIF_DATA"]), WORK / RESULT)
    sets: dict[str, dict] = {}
    for name, read in list_sets(reader).items():
        texts = read()
        tested = len(texts.labels) - len(texts.truth) - texts.queries
        sets[name] = {"queries": texts.queries, "tested": tested, "seeds": []}
        for seed in range(arguments.seeds):
            sets[name]["seeds"].append(measure(texts, seed))
            print(name, seed, json.dumps(sets[name]["seeds"][-1]), flush=True)
    result = {"machine": describe(), "sets": sets}
    publish(RESULT, result, build_pages(result))


if __name__ == "__main__":
    main()
