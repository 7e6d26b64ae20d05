"""Are injected errors among numbers and several labels a row found, and before simpler scores?

`python -m benchmarks.wrong_targets EMOTIONS` reads Amazon reviews under FASTIF_DATA, and
GoEmotions (train.tsv and labels.txt) in the folder EMOTIONS if it is given; writes
benchmarks/results/wrong-targets.json with its page. cleanlab is compared if it is importable.
"""

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict

from benchmarks.machine import describe
from benchmarks.page import publish
from benchmarks.wrong_targets.report import NAME, build_pages
from benchmarks.wrong_targets.subjects import (
    Subject,
    inject_labels,
    inject_numbers,
    make_label_subjects,
    make_number_subjects,
)
from fastif.mislabels import LabelSetData, LabelSetDetector, NumberData, OutlierDetector

WORK = Path("benchmarks/.work/wrong_targets")
NUMBER_KINDS, LABEL_KINDS = ("swapped", "shifted", "unit"), ("forgotten", "added", "exchanged")
SEED = 5


def main() -> None:
    """Measure all tables and kinds of errors, and write the result and its page."""
    data = Path(os.environ.get("FASTIF_DATA", ""))
    emotions = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if not (data / "amazon_reviews5").is_dir():
        sys.exit("FASTIF_DATA must name the folder with amazon_reviews5")
    torch.set_num_threads(1)
    numbers = [
        _measure_numbers(subject, kind)
        for subject in make_number_subjects(data, WORK)
        for kind in NUMBER_KINDS
    ]
    labels = [
        _measure_labels(subject, kind)
        for subject in make_label_subjects(emotions, WORK)
        for kind in LABEL_KINDS
    ]
    result = {"numbers": numbers, "labels": labels, "machine": describe()}
    publish(NAME, result, build_pages(result))


def _measure_numbers(subject: Subject, kind: str) -> dict:
    given = inject_numbers(subject.right, kind, SEED)
    is_wrong = given != subject.right
    start = time.perf_counter()
    outliers = OutlierDetector()(NumberData(subject.features, torch.from_numpy(given)))
    seconds = time.perf_counter() - start
    x = subject.features.numpy().astype(np.float64)
    ridge = cross_val_predict(RidgeCV(alphas=np.logspace(-4, 3, 8)), x, given, cv=5)
    scores = {
        "score": outliers.score.numpy(),
        "strength": outliers.strength.numpy(),
        "residual": (torch.from_numpy(given) - outliers.predicted).abs().numpy(),
        "ridge residual": np.abs(given - ridge),
        "self-influence": outliers.self_influence.numpy(),
    }
    if find_spec("cleanlab"):
        scores |= _score_numbers_by_cleanlab(x, given, ridge)
    inside = (outliers.low.numpy() <= subject.right) & (subject.right <= outliers.high.numpy())
    entry = _describe(subject, kind, is_wrong, scores)
    counts = {"expected": float(outliers.score.sum()), "inside": float(inside.mean())}
    print(entry, counts, f"{seconds:.1f} s", flush=True)
    return entry | counts | {"seconds": seconds}


def _score_numbers_by_cleanlab(x: np.ndarray, given: np.ndarray, ridge: np.ndarray) -> dict:
    from cleanlab.regression.learn import CleanLearning
    from cleanlab.regression.rank import get_label_quality_scores

    learner = CleanLearning(RidgeCV(alphas=np.logspace(-4, 3, 4)), n_boot=2, seed=0)
    issues = learner.find_label_issues(
        x, given, coarse_search_range=[0.02, 0.05, 0.1], fine_search_size=0
    )
    return {
        "cleanlab, CleanLearning": -issues["label_quality"].to_numpy(),
        "cleanlab, OUTRE": -get_label_quality_scores(given, ridge),
    }


def _measure_labels(subject: Subject, kind: str) -> dict:
    given = inject_labels(subject.right, kind, SEED)
    is_wrong = given != subject.right
    rows = LabelSetData(subject.features, torch.from_numpy(given))
    start = time.perf_counter()
    detector = LabelSetDetector()
    errors = detector(rows)
    seconds = time.perf_counter() - start
    p, _, _ = detector.predict_labels(rows)
    searched = (~p.isnan().any(0)).numpy()
    probability = errors.probability.nan_to_num(0.0)
    loss = -torch.where(rows.given == 1, p, 1 - p).log().nan_to_num(0.0)
    cells = {"probability": probability.flatten().numpy(), "loss": loss.flatten().numpy()}
    by_row = {
        "probability": errors.row_probability.numpy(),
        "loss": loss.max(1).values.numpy(),
    }
    if find_spec("cleanlab"):
        by_row |= _score_labels_by_cleanlab(given[:, searched], p.numpy()[:, searched])
    entry = _describe(subject, kind, is_wrong.flatten(), cells)
    entry["row_ap"] = _measure_ap(is_wrong.any(1), by_row)
    entry |= {"wrong_rows": int(is_wrong.any(1).sum()), "expected": float(probability.sum())}
    print(entry, f"{seconds:.1f} s", flush=True)
    return entry | {"seconds": seconds}


def _score_labels_by_cleanlab(given: np.ndarray, on: np.ndarray) -> dict:
    """Quality of rows by cleanlab, from the same out-of-fold probabilities."""
    from cleanlab.multilabel_classification import get_label_quality_scores

    lists = [np.flatnonzero(row).tolist() for row in given]
    return {
        f"cleanlab, {method.replace('_', ' ')}": -get_label_quality_scores(lists, on, method=method)
        for method in ("self_confidence", "normalized_margin")
    }


def _describe(subject: Subject, kind: str, is_wrong: np.ndarray, scores: dict) -> dict:
    return {
        "title": subject.title,
        "kind": kind,
        "is_reported": subject.is_reported,
        "rows": len(subject.right),
        "wrong": int(is_wrong.sum()),
        "ap": _measure_ap(is_wrong, scores),
    }


def _measure_ap(is_wrong: np.ndarray, scores: dict) -> dict:
    return {
        name: float(average_precision_score(is_wrong, np.nan_to_num(values)))
        for name, values in scores.items()
    }


if __name__ == "__main__":
    main()
