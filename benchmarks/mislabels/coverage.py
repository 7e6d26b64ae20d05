"""Simulated random audits: coverage and width of the counts of wrong labels.

`python -m benchmarks.mislabels.coverage` searches each set once for wrong labels, keeps the error
probabilities under benchmarks/.work, and simulates the verdicts of 1,000 random samples from the
true labels, which are used for nothing else.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.mislabels.corpora import WORK, Corpus, Reader, corpora, news
from benchmarks.mislabels.coverage_page import build_pages
from benchmarks.page import publish, read_result
from fastif.mislabels.audit_draws import AuditDraw, list_draws
from fastif.mislabels.audit_sample import AuditedRows, AuditSample
from fastif.mislabels.betting_bounds import bound_total, compute_evidence
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.sampling_sizes import stratify_by_error

RESULT = "label-error-count"
TRIALS, WIDTHS = 1000, 100
"""Number of simulated samples, and of those whose intervals are searched for their width."""
VERDICTS = 100
Z90 = 1.645
SETS = (
    "noisy_ag_news",
    "hausa",
    "lingnli",
    "sst2, uniform 20 %",
    "sst2, confusable 20 %",
    "mnist, pairs 10 %",
    "amazon_reviews5, uniform 5 %",
    "amazon_reviews5, uniform 20 %",
    "ag_news, uniform 10 %",
    "ag_news, confusable 5 %",
)


@dataclass(frozen=True, eq=False)
class ScoredSet:
    """Data set with the error probabilities of the detector.

    Attributes:
        labels: Given labels, [n].
        wrong: Mask of the wrong labels, used for verdicts and scoring only, [n].
        prior_error: Error probabilities of the detector, [n].
    """

    labels: Tensor
    wrong: Tensor
    prior_error: Tensor


def score(name: str, read: Callable[[], Corpus]) -> ScoredSet:
    """Return a set with error probabilities, computed once."""
    path = WORK / f"counts-{name.replace(' ', '-')}.pt"
    if not path.is_file():
        corpus = read()
        prior_error = MislabelDetector()(corpus.rows).prior_error
        columns = {"labels": corpus.rows.labels, "wrong": corpus.wrong, "prior_error": prior_error}
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(columns, path)
    columns = torch.load(path, weights_only=True)
    return ScoredSet(columns["labels"], columns["wrong"], columns["prior_error"])


def measure(of: ScoredSet, trials: int = TRIALS, widths: int = WIDTHS) -> dict:
    """Return coverage and width, in all and by label, of weighted and of simple samples."""
    n, total = len(of.wrong), int(of.wrong.sum())
    masks = {None: torch.ones(n, dtype=torch.bool)}
    masks |= {int(label): of.labels == label for label in of.labels.unique()}
    missed: dict[int | None, int] = dict.fromkeys(masks, 0)
    sizes: dict[str, list[float]] = {"weighted": [], "simple": [], "label": []}
    for trial, audited in enumerate(_simulate(of, trials, weighted=True)):
        for label, mask in masks.items():
            draws = list_draws(audited, mask.double().numpy(), 0.0)
            count = float((of.wrong & mask).sum())
            missed[label] += bool(draws) and bool(compute_evidence(draws, np.array([count])) >= 1)
            if trial < widths:
                sizes["weighted" if label is None else "label"].append(_width(draws, mask))
    for audited in _simulate(of, widths, weighted=False):
        draws = list_draws(audited, np.ones(n), 0.0)
        sizes["simple"].append(_width(draws, masks[None]))
    held = {label: 1 - count / trials for label, count in missed.items()}
    wilson = _mean_wilson_width(of)
    return {
        "rows": n, "wrong": total, "verdicts": VERDICTS, "trials": trials,
        "inside": held.pop(None), "labels_inside": list(held.values()),
        "width": float(np.mean(sizes["weighted"])), "wilson": wilson,
        "simple": float(np.mean(sizes["simple"])), "least": _least_ratio(of) * wilson,
        "label_width": float(np.mean(sizes["label"])),
    }  # fmt: skip


def _simulate(of: ScoredSet, trials: int, weighted: bool) -> Iterator[AuditedRows]:
    n = len(of.wrong)
    rows, each, outside = torch.arange(n), torch.ones(n, dtype=torch.long), torch.zeros(n) > 0
    stratum, size, prior_error = torch.zeros(n).long(), torch.ones(n), torch.full((n,), 0.5)
    if weighted:
        (stratum, size), prior_error = stratify_by_error(of.prior_error), of.prior_error
    for trial in range(trials):
        generator = torch.Generator().manual_seed(trial)
        waiting = -torch.rand(n, generator=generator, dtype=torch.float64).log() / size
        order = waiting.argsort()[:VERDICTS]
        verdict = torch.full((n,), -1).index_copy(0, order, of.wrong[order].long())
        sample = AuditSample(rows, each, stratum, size, prior_error, order, VERDICTS)
        yield AuditedRows((sample,), of.labels, verdict, each, rows, outside)


def _width(draws: list[AuditDraw], mask: Tensor) -> float:
    low, high = bound_total(draws, float(mask.sum()))
    return high - low


def _mean_wilson_width(of: ScoredSet) -> float:
    """Return the mean width of Wilson's interval after as many rows of a simple random sample."""
    n, widths = len(of.wrong), []
    draw = np.random.default_rng(0)
    for _ in range(TRIALS):
        share = of.wrong.numpy()[draw.permutation(n)[:VERDICTS]].mean()
        z2 = Z90**2 * (1 / VERDICTS - 1 / n)
        widths.append(2 * n * (share * (1 - share) * z2 + z2**2 / 4) ** 0.5 / (1 + z2))
    return float(np.mean(widths))


def _least_ratio(of: ScoredSet) -> float:
    """Return the least width that any allocation could have by the ranking, as a share of SRS.

    The probabilities are calibrated by isotonic regression on the true labels, and the rows
    allocated by Neyman with these.
    """
    order = of.prior_error.argsort(stable=True)
    p = np.clip(isotonic_regression(of.wrong[order].double().numpy()).x, 0, 1)
    share = float(of.wrong.double().mean())
    return float(np.sqrt(p * (1 - p)).mean() / np.sqrt(share * (1 - share)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="sets with this text in their name")
    options = parser.parse_args()
    reader = Reader(Path(os.environ.get("FASTIF_DATA", "")), WORK)
    readers = {**dict(corpora(reader)), **dict(news(reader))}
    sets = read_result(RESULT).get("sets", {})
    for name in SETS:
        if options.only in name:
            sets[name] = measure(score(name, readers[name]))
            print(name, sets[name], flush=True)
            parts = {"sets": sets, "machine": describe()}
            publish(RESULT, parts, build_pages(parts))


if __name__ == "__main__":
    main()
