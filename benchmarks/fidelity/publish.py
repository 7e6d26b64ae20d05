"""Truth of all workloads as Parquet with a data card, for attribution methods of any origin."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fidelity.overview import CEILING, LDS
from benchmarks.fidelity.published import (
    FACTS,
    FILES,
    PublishedTruth,
    read_published,
    write_published,
)
from benchmarks.fidelity.truth import read_truth
from benchmarks.fidelity.workload import Workload
from benchmarks.fidelity.workloads import WORKLOADS
from benchmarks.page import bullets, join_parts, read_result, table

MEANINGS = {
    "position": "place of the row in the order of effects, from 0",
    "train_id": "id of a training row: file of the data set / id in it",
    "query_id": "id of a query: file of the data set / id in it",
    "label": "class index that the models were trained or measured with",
    "subset": "number of the half, from 0",
    "seed": "seed of the training; 1000 and more are set A, 2000 and more set B",
    "margin": "log p / (1 - p) of the query's label",
}
SNIPPET = """```python
import polars as pl
from scipy.stats import spearmanr

subsets = pl.read_parquet("{name}/subsets.parquet")
outcomes = pl.read_parquet("{name}/outcomes.parquet")
outcomes = outcomes.with_columns(seed_set=pl.col("seed") // 1000)  # 1: set A, 2: set B
outcomes = outcomes.group_by("subset", "query_id", "seed_set").agg(pl.mean("margin"))
effects = pl.read_parquet("mine.parquet")  # query_id, train_id, effect; positive = helpful
sums = subsets.join(effects, on="train_id").group_by("subset", "query_id").agg(pl.sum("effect"))
pairs = outcomes.join(sums, on=["subset", "query_id"])
lds = [
    spearmanr(group["effect"], group["margin"]).statistic
    for _, group in pairs.group_by("query_id", "seed_set")
]
print(sum(lds) / len(lds))
```"""


def main(arguments: Sequence[str]) -> int:
    """Write the truth of every workload that has outcomes; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fidelity publish", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/.work"))
    options = parser.parse_args(arguments)
    data = Path(os.environ.get("FASTIF_DATA", ""))
    for make in WORKLOADS.values():
        workload = make(data)
        if not publish_workload(workload, options.work / "truth", options.folder):
            print(f"{workload.name}: left out, since the two sets of seeds have no outcomes here")
    write_card(options.folder)
    return 0


def publish_workload(workload: Workload, truths: Path, folder: Path) -> bool:
    """Write the truth of a workload if both sets of seeds have outcomes; return whether."""
    truth = read_truth(workload.halves, truths / workload.key, workload.seeds)
    if len(truth.sets) < 2:
        return False
    known = read_result("fidelity").get("workloads", {}).get(workload.name, {})
    write_published(PublishedTruth.of(workload, truth, known), folder / workload.name)
    print(f"{workload.name}: {len(workload.halves)} halves, {truth.seeds} seeds in each set")
    return True


def write_card(folder: Path) -> None:
    """Write README.md for all workloads in a folder."""
    names = list_published(folder)
    if not names:
        sys.exit(f"{folder}: no workload has outcomes")
    published = [read_published(folder / name) for name in names]
    (folder / "README.md").write_text(render_card(published), "utf-8")


def list_published(folder: Path) -> list[str]:
    """Return the workloads with a published truth in a folder."""
    return [name for name in WORKLOADS if (folder / name / FACTS).is_file()]


def render_card(published: Sequence[PublishedTruth]) -> str:
    """Return the data card of published truths."""
    return join_parts(
        "# Truth for training-data attribution of classifiers",
        "How the margins of queries change when a classifier is really trained again on random "
        "halves of its training set. With it any method that says which training rows help or "
        "hurt a prediction can be scored. The files have ids and numbers, and no text or image.",
        "## Workloads",
        _workload_table(published),
        *(_describe(part) for part in published),
        "## Files",
        "One folder a workload, Parquet with zstd compression, and `workload.json` with the facts "
        "above and the scores of known methods.",
        _schema(),
        "## How it was made",
        bullets(
            "The rows and queries are random rows of the data sets. A half has half of the "
            "training rows, sampled uniformly without replacement, separately for each half.",
            "For each half and each seed a model is trained from its start by the recipe above, "
            "and its margin is measured on every query.",
            "The seeds are two disjoint sets of equal size: A from 1000 and B from 2000.",
            CEILING,
        ),
        "## How to score",
        f"{LDS}",
        "An effect is positive if the training row helps: without it the query's margin would be "
        "lower. Any positive multiple will do, since only the order of the sums counts.",
        "```sh\npython -m benchmarks.fidelity score effects.parquet --workload "
        f"{published[0].facts['name']} --truth .\n```",
        "in a checkout of fastif prints the table with all known methods and the ceiling. The file "
        "is Parquet (`query_id, train_id, effect`, or `query_id` and a column for each training "
        "row), or `.npy` or `.safetensors` of the shape [queries, training rows] in the order of "
        "`position`. Without fastif:",
        SNIPPET.format(name=published[0].facts["name"]),
        "Do not tune a method on these halves and queries.",
        "## Licence",
        "The outcomes and subsets: Apache 2.0, as fastif. The ids refer to data sets with the "
        "licences above, which are not part of this folder.",
    )


def _workload_table(published: Sequence[PublishedTruth]) -> str:
    head = ["workload", "training rows", "queries", "halves", "seeds in each set", "ceiling"]
    return table(head, [_workload_row(part) for part in published])


def _workload_row(part: PublishedTruth) -> list[str]:
    ceiling = part.truth.ceiling
    return [
        f"`{part.facts['name']}`",
        f"{len(part.train_ids):,}",
        f"{len(part.query_ids):,}",
        f"{len(part.truth.halves)}",
        f"{part.truth.seeds}",
        f"{ceiling.value:.3f} ({ceiling.low:.3f} to {ceiling.high:.3f})" if ceiling else "",
    ]


def _describe(part: PublishedTruth) -> str:
    facts = part.facts
    return (
        f"**`{facts['name']}`**: {facts['title']}. Model: {facts['recipe']}. "
        f"Source: {facts['source']}. Licence of the data: {facts['licence']}."
    )


def _schema() -> str:
    rows = [
        [f"`{file}`", f"`{column}`", MEANINGS[column]]
        for file, columns in FILES.items()
        for column in columns
    ]
    return table(["file", "column", "meaning"], rows, left=3)
