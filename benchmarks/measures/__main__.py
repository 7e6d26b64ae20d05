"""Do effects on measures that need no label rank the training rows as effects on the loss do?

`python -m benchmarks.measures` reads SST-2 and MultiNLI under FASTIF_DATA, and writes
benchmarks/results/measures.json with its page; five minutes.
"""

import copy
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.flips.heads import Head
from benchmarks.machine import describe
from benchmarks.measures.report import NAME, build_pages
from benchmarks.page import publish
from fastif import ExhaustiveSearch, predict
from fastif.data.replace_labels import replace_labels
from fastif.losses.query_measure import QUERY_MEASURES
from fastif.numerics.correlation import spearman

WORK = Path("benchmarks/.work/measures")
ROWS, QUERIES = 2_000, 300


def main() -> None:
    """Measure both data sets, and write the result and its page."""
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "sst2").is_dir():
        sys.exit("FASTIF_DATA must name the folder with sst2 and multinli")
    torch.set_num_threads(1)
    subjects = {
        name: _measure(Head(name, data, ROWS, QUERIES, WORK)) for name in ("sst2", "multinli")
    }
    result = {"rows": ROWS, "queries": QUERIES, "subjects": subjects, "machine": describe()}
    publish(NAME, result, build_pages(result))


def _measure(subject: Head) -> list[dict]:
    labels = subject.queries.labels
    predicted = predict(subject.attributor.objective, subject.queries)[0].argmax(1)
    reference = _compute_effects(subject, "loss", labels)
    entries = []
    for name, measure in QUERY_MEASURES.items():
        if measure.needs_label:
            continue
        agreement = spearman(_compute_effects(subject, name, predicted), reference)
        for is_right in (True, False):
            chosen = agreement[(predicted == labels) == is_right]
            entries.append(
                {
                    "title": subject.title,
                    "measure": name,
                    "is_right": is_right,
                    "queries": len(chosen),
                    "mean": float(chosen.mean()),
                    "least": float(chosen.min()),
                }
            )
    return entries


def _compute_effects(subject: Head, name: str, targets: Tensor) -> Tensor:
    """Removal effects [q n] of all training rows on a measure at these labels."""
    objective = copy.copy(subject.attributor.objective)
    objective.measure = QUERY_MEASURES[name].function
    search = ExhaustiveSearch(keep=len(subject.train))
    attributor = replace(subject.attributor, objective=objective, search=search, leverage="off")
    queries = replace_labels(subject.queries, targets)
    influences = attributor(queries, torch.arange(len(targets))).influences
    effects = torch.zeros(len(targets), len(subject.train), dtype=torch.float64)
    return effects.scatter_(1, influences.ids, influences.removal_effect.double())


if __name__ == "__main__":
    main()
