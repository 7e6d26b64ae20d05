"""Score of a stranger's effects on the truth of a workload, next to all known methods."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.fidelity.effects_file import read_effects
from benchmarks.fidelity.published import (
    FACTS,
    PUBLISHED,
    PublishedTruth,
    list_scores_on,
    read_published,
)
from benchmarks.fidelity.truth import read_truth
from benchmarks.fidelity.workloads import WORKLOADS
from benchmarks.page import read_result
from fastif.errors import InputError

WORK = Path("benchmarks/.work")


def main(arguments: Sequence[str]) -> int:
    """Print the table of a file of effects; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fidelity score", description=__doc__
    )
    parser.add_argument("file", type=Path, help=".parquet, .npy or .safetensors")
    parser.add_argument("--workload", required=True, help=", ".join(WORKLOADS))
    parser.add_argument("--truth", type=Path, help="folder of a published truth")
    parser.add_argument("--name", default="", help="name of the method in the table")
    options = parser.parse_args(arguments)
    try:
        published = find_truth(options.workload, options.truth)
        effects = read_effects(options.file, published.query_ids, published.train_ids)
        print(format_table(published, effects, options.name or options.file.stem))
    except InputError as error:
        print(error)
        return 1
    return 0


def find_truth(name: str, folder: Path | None) -> PublishedTruth:
    """Return the truth of a workload from a folder, the repository, or the data sets.

    Raises:
        InputError: No folder has it, and no model of the workload was retrained here.
    """
    known = read_result("fidelity").get("workloads", {}).get(name, {})
    if folder is not None:
        return read_published(folder / name)
    if (PUBLISHED / name / FACTS).is_file():
        published = read_published(PUBLISHED / name)
        methods = list_scores_on(published.truth, known)
        return replace(published, facts={**published.facts, "methods": methods})
    if name in WORKLOADS and os.environ.get("FASTIF_DATA"):
        workload = WORKLOADS[name](Path(os.environ["FASTIF_DATA"]))
        truth = read_truth(workload.halves, WORK / "truth" / workload.key, workload.seeds)
        if truth.sets:
            return PublishedTruth.of(workload, truth, known)
    raise InputError(
        "--workload",
        "a workload with a truth",
        repr(name),
        f"Name one of {', '.join(WORKLOADS)}, and give its published truth as --truth FOLDER.",
    )


def format_table(published: PublishedTruth, effects: torch.Tensor, name: str) -> str:
    """Return the LDS of effects and of all known methods, the best first, with the ceiling."""
    by_query = published.truth.score(effects)
    lds, error = float(by_query.mean()), float(by_query.std() / len(by_query) ** 0.5)
    facts, ceiling = published.facts, published.truth.ceiling
    yours = {"name": name, "package": "yours", "lds": lds, "error": error}
    methods = sorted([yours, *facts["methods"]], key=lambda m: (-m["lds"], m["name"]))
    width = max(len(method["name"]) for method in methods)
    lines = [f"{'method':{width}}  package      LDS   error  of the ceiling"]
    for method in methods:
        share = f"{method['lds'] / ceiling.value:7.1%}" if ceiling else ""
        mark = "  <-" if method is yours else ""
        lines.append(
            f"{method['name']:{width}}  {method['package']:7} {method['lds']:8.3f}"
            f" {method['error']:7.3f}  {share}{mark}"
        )
    return "\n".join([facts["title"], "", *lines, "", *_notes(published, effects, lds)])


def _notes(published: PublishedTruth, effects: torch.Tensor, lds: float) -> list[str]:
    ceiling = published.truth.ceiling
    notes = [
        "LDS: Spearman's correlation over the halves of summed effects and margins after "
        "retraining, mean over queries."
    ]
    if ceiling:
        notes.append(
            f"Ceiling of a predictor without noise: {ceiling.value:.3f} "
            f"({ceiling.low:.3f} to {ceiling.high:.3f})."
        )
    constant = int((effects.amax(1) == effects.amin(1)).sum())
    if constant:
        notes.append(f"{constant} queries have the same effect of every row; their LDS counts 0.")
    if lds < 0:
        notes.append(
            "The LDS is negative. Positive effects are of helpful rows: their removal worsens the "
            "query. Is the sign reversed?"
        )
    return notes
