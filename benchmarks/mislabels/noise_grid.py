"""Ranking of wrong labels on a grid of tables and kinds of noise, against its own columns.

`python -m benchmarks.mislabels.noise_grid` adds seven kinds of noise to each table of
`clean_tables.list_tables` and ranks the rows. `--held-out` takes the tables that have no part in
the development: they are for the end of it.
"""

import argparse
import os
import time
from pathlib import Path

import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks.machine import describe
from benchmarks.mislabels.clean_tables import CleanTable, list_held_out_tables, list_tables
from benchmarks.mislabels.corpora import WORK, Reader
from benchmarks.mislabels.noise_grid_page import build_pages
from benchmarks.mislabels.noise_kinds import KINDS, CleanLabels
from benchmarks.page import publish, read_result
from fastif.mislabels.cross_fitting import CrossFitter
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.labeled_data import LabeledData

RESULT = "label-noise-grid"
COLUMNS = ("loss", "in_sample_loss", "neighbours")
"""Columns of other detectors that are compared with the fused probability."""
SEED = 3


def measure(table: CleanTable, kind: str) -> dict:
    """Return the average precision of the fused probability and of single columns."""
    views = table.views.views
    clean = CleanLabels(table.labels, table.classes, views[min(1, len(views) - 1)], SEED)
    data, wrong = table.with_noise(KINDS[kind](clean))
    start = time.perf_counter()
    result = MislabelDetector()(data)
    seconds = time.perf_counter() - start
    scores = {"fused": result.probability, "adjusted_margin": adjust_margin(data)}
    scores |= {name: result.label_scores[name] for name in COLUMNS}
    return {
        "rows": len(wrong), "wrong": int(wrong.sum()), "classes": table.classes,
        "pseudo_r2": result.pseudo_r2, "seconds": seconds,
        "ap": {name: _average_precision(wrong, score) for name, score in scores.items()},
    }  # fmt: skip


def adjust_margin(data: LabeledData) -> Tensor:
    """Margin of the given labels by out-of-fold probabilities that are adjusted for each class.

    The mean self-confidence of the class is subtracted (Northcutt et al., 2021).
    """
    targets = one_hot(data.labels, data.classes).float()
    p = CrossFitter(5, 2, 1e-3, 0)(data, targets).softmax(1)
    thresholds = (p * targets).sum(0) / targets.sum(0).clamp_min(1)
    adjusted = p - thresholds + thresholds.max()
    adjusted /= adjusted.sum(1, keepdim=True)
    others = adjusted.scatter(1, data.labels[:, None], -torch.inf).amax(1)
    return others - adjusted.gather(1, data.labels[:, None])[:, 0]


def _average_precision(wrong: Tensor, score: Tensor) -> float:
    return float(average_precision_score(wrong.numpy(), score.numpy()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--only", default="", help="tables with this text in their name")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reader = Reader(Path(os.environ["FASTIF_DATA"]), WORK / "noise-grid")
    tables = (list_held_out_tables if arguments.held_out else list_tables)(reader)
    known = read_result(RESULT)
    before = known.get("held_out", {}) if arguments.held_out else known
    sets: dict[str, dict] = dict(before.get("sets", {})) if arguments.only else {}
    for name, read in tables.items():
        if arguments.only not in name:
            continue
        table = read()
        for kind in KINDS:
            entry = sets[f"{name}, {kind}"] = measure(table, kind)
            print(name, kind, {k: round(v, 3) for k, v in entry["ap"].items()}, flush=True)
    measured = {"machine": describe(), "sets": sets}
    known |= {"held_out": measured} if arguments.held_out else measured
    publish(RESULT, known, build_pages(known))


if __name__ == "__main__":
    main()
