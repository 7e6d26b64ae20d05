"""Recall of candidate methods against a full scan."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

import fastif
from benchmarks.bulk.corpora import Corpus, FlippedSst2, MultiNli
from benchmarks.bulk.recall import AT, SHARES, Ranking, chance, curve, mean_and_error
from benchmarks.bulk.scan import read_scan
from benchmarks.bulk.sketches import MOST_BYTES, SIZES, SketchScores, read_sketch_scores
from benchmarks.bulk.study import Study
from benchmarks.machine import describe
from fastif.numerics.correlation import pearson, spearman

CORPORA: tuple[type[Corpus], ...] = (FlippedSst2, MultiNli)
GOAL = {10: 0.98, 100: 0.90}
GOAL_SHARE = 0.05


def retrieval(data: Path, work: Path, known: dict, only: Sequence[str] = ()) -> dict:
    """Return the recall curves of each corpus.

    Args:
        data: Folder of the data sets.
        work: Folder of cached parts.
        known: Result of an earlier run.
        only: Names of corpora; all if empty.
    """
    results = dict(known)
    for make in CORPORA:
        corpus = make(data)
        if not only or corpus.name in only:
            print(f"== {corpus.title}", flush=True)
            results[corpus.name] = measure_retrieval(Study(corpus, work / corpus.key))
    return results


def measure_retrieval(study: Study) -> dict:
    """Return the measurements of one corpus for JSON."""
    scan, corpus = read_scan(study), study.corpus
    sizes = {size.name: read_sketch_scores(study, size) for size in SIZES}
    methods = {
        **_score_plain_rankings(scan),
        **{name: _of_sketch(s, scan) for name, s in sizes.items()},
    }
    choice = study.choice
    return {
        "title": corpus.title,
        "rows": corpus.rows,
        "queries": corpus.queries,
        "labels": len(corpus.labels),
        "flipped": corpus.flipped,
        "parameters": study.matrix.size,
        "query_accuracy": _accuracy(study),
        "damping": {
            "chosen": choice.effective_damping,
            "rule": "best agreement with retraining on 6 random halves "
            "(fastif.evaluation.select_damping)",
            "curve": [
                (damping + choice.penalty, agreement)
                for damping, agreement in zip(choice.dampings, choice.agreement, strict=True)
            ],
        },
        "curvature_rows": study.matrix.count,
        "largest_residual": float(scan["residual"].max()),
        "shares": SHARES,
        "methods": methods,
        "goal": verdict(methods),
        "machine": describe(),
    }


def rankings(scan: dict[str, Tensor]) -> dict[str, Ranking]:
    """Return the methods that are not sketches, by name."""
    return {
        "last-layer influence": Ranking(scan["head"], both_ends=True),
        "gradient product": Ranking(scan["product"], both_ends=True),
        "gradient norm alone": Ranking(scan["norm"], both_ends=False),
        "nearest (kNN)": Ranking(-scan["distance"], both_ends=False),
    }


def verdict(methods: dict[str, dict]) -> dict:
    """Return the best sketch within the size limit, with the goals for its recall."""
    place = SHARES.index(GOAL_SHARE)
    within = {
        name: method["recall"]
        for name, method in methods.items()
        if method.get("bytes_a_row", MOST_BYTES + 1) <= MOST_BYTES
    }
    best = max(within, key=lambda name: within[name][str(max(AT))][place]["mean"])
    reached = {str(at): within[best][str(at)][place]["mean"] for at in AT}
    return {
        "share": GOAL_SHARE,
        "most_bytes": MOST_BYTES,
        "asked": {str(at): GOAL[at] for at in AT},
        "best": best,
        "found": reached,
        "reached": {str(at): reached[str(at)] >= GOAL[at] for at in AT},
    }


def _score_plain_rankings(scan: dict[str, Tensor]) -> dict[str, dict]:
    exact = scan["exact"]
    methods = {name: _score_ranking(ranking, exact) for name, ranking in rankings(scan).items()}
    chance_recall = {str(at): chance(SHARES, exact.shape[1]) for at in AT}
    return {**methods, "chance": {"recall": chance_recall}}


def _of_sketch(sketch: SketchScores, scan: dict[str, Tensor]) -> dict:
    return {
        **_score_ranking(Ranking(sketch.scores, both_ends=True), scan["exact"]),
        **sketch.cost(),
    }


def _score_ranking(ranking: Ranking, exact: Tensor) -> dict:
    scores: dict = {"recall": {str(at): curve(ranking, exact, at) for at in AT}}
    if ranking.both_ends:
        scores["spearman"] = mean_and_error(spearman(ranking.scores, exact))
        scores["pearson"] = mean_and_error(pearson(ranking.scores, exact))
    return scores


def _accuracy(study: Study) -> float:
    logits = fastif.predict(study.objective, study.corpus.query_examples)[0]
    right: Tensor = logits.argmax(1) == study.corpus.answers(study.corpus.query_examples)
    return float(right.to(torch.double).mean())
