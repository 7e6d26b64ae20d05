"""Result of the loop: its two models, the errors reviewed, and the curves of several orders."""

from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from benchmarks.review_loop.curve import compare_orders, summarize_curves
from benchmarks.review_loop.features import encode_texts, make_head
from benchmarks.review_loop.orders import FOLDS, order_by_cleanlab, order_randomly
from benchmarks.review_loop.retraining import (
    DROPPED,
    GIVEN,
    HeadTrainer,
    predict_kept,
)
from benchmarks.review_loop.study import CLEAN, LABELS, News
from tasks.results.compare_runs import SliceDifference
from tasks.results.limits import compare_paired_accuracy

PAGE, ONCE = "fastif, the page in rounds", "fastif, one search"
RANDOM = "random"


def collect_result(loop: dict, news: News, folder: Path, size: dict) -> dict:
    """Return the result of a finished loop, with retrained heads."""
    first, mean = encode_texts(news.texts, folder)
    n = len(news.ids)
    orders = order_rows(loop, news, mean[:n])
    trainer = HeadTrainer(first, news, range(size["seeds"]), folder / "heads")
    baselines, hits = trainer.measure_baselines(), trainer.measure_orders(orders)
    before, after = (
        predict_kept(make_head(0), folder / name, first[n:], news.test_labels)
        for name in loop["heads"]
    )
    queries = [torch.tensor([float(run[key]) for key in sorted(run)]) for run in loop["queries"]]
    reviewed = len(loop["decisions"])
    return {
        **size,
        "wrong": int(news.wrong.sum()),
        "steps": loop["steps"],
        "rounds_reviewed": count_rounds(loop, news, size["rounds"]),
        "corrected": count_corrected(folder, news),
        "runs": {
            "queries": compare_hits(*queries),
            "test rows": compare_hits(before, after),
        },
        "errors": {
            name: {str(count): int(news.wrong[order[:count]].sum()) for count in hits[name]}
            for name, order in orders.items()
        },
        "reviewed": reviewed,
        "curves": summarize_curves(baselines, hits, GIVEN, DROPPED),
        "leads": compare_orders(hits, PAGE, size["verdicts"]),
    }


def order_rows(loop: dict, news: News, features: Tensor, folds: int = FOLDS) -> dict[str, Tensor]:
    """Return the positions of the training rows in each order, the first to review first."""
    place = {name: row for row, name in enumerate(news.ids)}
    decided = dict.fromkeys(decision["id"] for decision in loop["decisions"])
    rest = [name for name in loop["orders"]["last search"] if name not in decided]
    listed = {PAGE: [*decided, *rest], ONCE: loop["orders"]["first search"]}
    return {
        **{name: torch.tensor([place[each] for each in ids]) for name, ids in listed.items()},
        **order_by_cleanlab(features, news.given, folds),
        RANDOM: order_randomly(len(news.ids)),
    }


def count_rounds(loop: dict, news: News, rounds: int) -> list[dict[str, int]]:
    """Return the number of decisions in each round, and of wrong labels among them."""
    place = {name: row for row, name in enumerate(news.ids)}
    wrong = [bool(news.wrong[place[decision["id"]]]) for decision in loop["decisions"]]
    share = -(-len(wrong) // rounds)
    parts = [wrong[start : start + share] for start in range(0, len(wrong), share)]
    return [{"decisions": len(part), "wrong": sum(part)} for part in parts]


def count_corrected(folder: Path, news: News) -> dict[str, int]:
    """Compare the corrected table with the right labels."""
    clean = pl.read_parquet(folder / CLEAN)
    place = {name: row for row, name in enumerate(news.ids)}
    rows = torch.tensor([place[name] for name in clean["id"]])
    labels = torch.tensor([LABELS.index(label) for label in clean["label"]])
    return {
        "rows": len(clean),
        "changed": int((labels != news.given[rows]).sum()),
        "wrong": int((labels != news.truth[rows]).sum()),
    }


def compare_hits(before: Tensor, after: Tensor) -> dict[str, float]:
    """Return two accuracies on the same rows, their difference with its interval, and a test."""
    broken, repaired = int((before > after).sum()), int((after > before).sum())
    part = SliceDifference(
        None, len(before), float(before.mean()), float(after.mean()), None, None, broken, repaired
    )
    low, high, p = compare_paired_accuracy(part)
    return {
        "rows": part.queries,
        "before": part.before,
        "after": part.after,
        "broken": broken,
        "repaired": repaired,
        "low": low,
        "high": high,
        "p": p,
    }
