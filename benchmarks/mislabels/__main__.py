"""Detection of label errors, on real and injected label noise, here and with other methods.

`python -m benchmarks.mislabels` reads the sets under FASTIF_DATA and runs the fixed procedure with
and without trusted rows, and other methods, cleanlab among them if it is installed (AGPL, so it is
not a dependency: pip install 'cleanlab>=2.9,<3'). True labels are used for scoring only.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.mislabels.corpora import WORK, Corpus, Reader, corpora, digits
from benchmarks.mislabels.report import build_pages
from benchmarks.mislabels.rivals import rivals
from benchmarks.page import publish, read_result
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.feature_views import TEXT_WEIGHTS, FeatureViews
from fastif.mislabels.features import compute_lsa, concat_views
from fastif.mislabels.labeled_data import LabeledData
from fastif.mislabels.linear_head import fit_linear_head
from fastif.mislabels.tfidf import char_trigrams, tf_idf

CLASSIFIER = ", with a "
"""Part of the name of a set with the logits of a fine-tuned classifier."""
DRAWS = 200
"""Number of bootstrap samples."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.mislabels")
    parser.add_argument("--only", default="", help="sets with this text in their name")
    parser.add_argument("--rivals", action="store_true", help="other methods alone, on all sets")
    options = parser.parse_args()
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "noisy_ag_news").is_dir():
        sys.exit("FASTIF_DATA must name the folder with noisy_ag_news/")
    reader = Reader(data, WORK)
    known = read_result("mislabels")
    sets = known.get("sets", {})
    if options.rivals:
        measure_rivals(reader, sets)
        publish("mislabels", known, build_pages(known))
        return
    for name, read in corpora(reader):
        if options.only in name:
            sets[name] = measure_corpus(read())
            print(name, json.dumps(sets[name]["procedure"]), flush=True)
    parts = {**known, "sets": sets, "machine": describe()}
    if options.only in "mnist test":
        parts["mnist_test"] = verified_digits(reader)
    if options.only in "imdb test":
        parts["imdb_test"] = verified_reviews(reader)
    if options.only in "cleaning":
        parts["cleaning"] = measure_cleaning(dict(corpora(reader))["noisy_ag_news"]())
    publish("mislabels", parts, build_pages(parts))


def measure_corpus(corpus: Corpus) -> dict:
    """Return the measurements of a set: procedure, trusted rows, single scores, other methods."""
    detector, start = MislabelDetector(), time.perf_counter()
    posterior = detector(corpus.rows)
    seconds = time.perf_counter() - start
    out = {
        "rows": len(corpus.wrong),
        "wrong": int(corpus.wrong.sum()),
        "goals": corpus.goals,
        "reference": corpus.reference,
        "seconds": seconds,
        "procedure": measure_scores(posterior.probability, corpus.wrong)
        | {"calibration_error": calibration_error(posterior.probability, corpus.wrong)},
        "signals": {n: measure_ranking(s, corpus.wrong) for n, s in posterior.label_scores.items()},
        "rivals": {n: measure_scores(s, corpus.wrong) for n, s in rivals(corpus).items()},
    }
    if corpus.trusted is not None:
        taught = detector(corpus.taught or corpus.rows, corpus.trusted)
        out["trusted"] = measure_scores(taught.probability, corpus.wrong)
        out["trusted"]["calibration_error"] = calibration_error(taught.probability, corpus.wrong)
        out["trusted"]["trusted_rows"] = len(corpus.trusted.labels)
    return out


def measure_rivals(reader: Reader, sets: dict) -> None:
    """Measure the other methods again; a set with a classifier has their scores without it."""
    for name, read in corpora(reader):
        if CLASSIFIER not in name:
            corpus = read()
            scores = rivals(corpus).items()
            measured = {n: measure_scores(score, corpus.wrong) for n, score in scores}
            print(name, {n: round(entry["ap"], 3) for n, entry in measured.items()}, flush=True)
            for other in sets:
                if other.partition(CLASSIFIER)[0] == name:
                    sets[other]["rivals"] = measured


def measure_ranking(score: Tensor, wrong: Tensor) -> float:
    """Return the average precision of a score."""
    return float(average_precision_score(wrong.numpy(), score.double().numpy()))


def measure_scores(score: Tensor, wrong: Tensor) -> dict:
    """Return average precision with its bootstrap interval, AUROC, and precision at the top."""
    s, w = score.double().numpy(), wrong.numpy()
    draw = np.random.default_rng(0)
    again = []
    for _ in range(DRAWS):
        rows = draw.integers(0, len(w), len(w))
        again.append(average_precision_score(w[rows], s[rows]))
    order = np.argsort(-s, kind="stable")
    tops = {"wrong": int(w.sum()), "1 %": len(w) // 100, "5 %": len(w) // 20}
    return {
        "ap": measure_ranking(score, wrong),
        "low": float(np.quantile(again, 0.025)),
        "high": float(np.quantile(again, 0.975)),
        "auroc": float(roc_auc_score(w, s)),
        "precision": {name: float(w[order[: max(1, k)]].mean()) for name, k in tops.items()},
    }


def calibration_error(p: Tensor, wrong: Tensor) -> float:
    """Return the calibration error in ten groups of similar probability."""
    parts = p.argsort().chunk(10)
    gaps = [abs(float(p[part].mean() - wrong[part].float().mean())) for part in parts]
    return sum(len(part) / len(p) * gap for part, gap in zip(parts, gaps, strict=True))


def verified_digits(reader: Reader) -> dict:
    """Return the ranks of the 15 verified test errors of MNIST among its 10,000 digits."""
    frame = reader.frame("mnist/test")
    labels = torch.tensor([int(label) for label in frame["label"]])
    return _ranks(reader, "mnist", frame, LabeledData(concat_views([digits(frame)]), labels, 10))


def verified_reviews(reader: Reader) -> dict:
    """Return the ranks of the 725 verified test errors of IMDB among its 25,000 reviews."""
    frame = reader.frame("imdb/test")
    texts = frame["text"].to_list()
    embeddings = reader.encode("imdb/test", texts)
    words = tf_idf([reader.tokens(texts).tokens])
    views = FeatureViews.from_features(
        [embeddings[:, 0], embeddings[:, 1], compute_lsa(words)], TEXT_WEIGHTS
    )
    labels = torch.tensor([label == "positive" for label in frame["label"]]).long()
    number = {text: i for i, text in enumerate(sorted(set(texts)))}
    groups = torch.tensor([number[text] for text in texts])
    features = views.concat_weighted(
        views.select_weights(torch.arange(len(texts)), labels, 2, groups)
    )
    return _ranks(
        reader,
        "imdb",
        frame,
        LabeledData(features, labels, 2, groups, terms=(words, char_trigrams(texts))),
    )


def _ranks(reader: Reader, name: str, frame: pl.DataFrame, rows: LabeledData) -> dict:
    """Return the ranks of the verified errors."""
    posterior = MislabelDetector()(rows)
    order = posterior.probability.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    review = reader.frame(f"{name}/test_label_review")
    place = {name: i for i, name in enumerate(frame["id"].to_list())}
    wrong = review.filter(review["is_error"])["id"].to_list()
    ranks = sorted(int(rank[place[name]]) + 1 for name in wrong)
    return {"rows": len(frame), "ranks": ranks, "middle_layer": True}


def measure_cleaning(corpus: Corpus) -> dict:
    """Return the accuracy of heads trained after dropping or relabelling the top 20 %."""
    assert corpus.trusted is not None
    assert corpus.taught is not None
    rows, test = corpus.taught, corpus.trusted
    posterior = MislabelDetector()(corpus.rows)
    n, top = len(rows.labels), int(0.2 * len(rows.labels))
    worst = posterior.probability.argsort(descending=True, stable=True)[:top]
    random_ids = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:top]
    keep_masks = {
        name: torch.ones(n, dtype=torch.bool) for name in ("none", "dropped", "random", "clean")
    }
    keep_masks["dropped"][worst] = keep_masks["random"][random_ids] = False
    keep_masks["clean"][corpus.wrong] = False
    relabelled = rows.labels.clone()
    relabelled[worst] = posterior.suggested[worst]

    def accuracy(labels: Tensor, of: Tensor) -> float:
        targets = torch.nn.functional.one_hot(labels, rows.classes).float()
        head = fit_linear_head(rows.features[of], targets[of], MislabelDetector().penalty)
        return float((head(test.features).argmax(1) == test.labels).float().mean())

    return {
        "rows": n,
        "changed": top,
        "tested": len(test.labels),
        "no cleaning": accuracy(rows.labels, keep_masks["none"]),
        "dropped": accuracy(rows.labels, keep_masks["dropped"]),
        "suggested label": accuracy(relabelled, keep_masks["none"]),
        "as many random rows dropped": accuracy(rows.labels, keep_masks["random"]),
        "every wrong row dropped": accuracy(rows.labels, keep_masks["clean"]),
        "every label right": accuracy(corpus.truth, keep_masks["none"]),
    }


if __name__ == "__main__":
    main()
