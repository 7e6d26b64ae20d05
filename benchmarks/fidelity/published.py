"""Published truth of a workload: outcomes of retraining as Parquet, without texts.

A folder a workload:

    train.parquet     position, train_id, label
    queries.parquet   position, query_id, label
    subsets.parquet   subset, train_id
    outcomes.parquet  subset, seed, query_id, margin
    workload.json     title, model and recipe, source, licence, ceiling, scores of known methods

Ids are those of the data sets, within the file that is named before the slash.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch

from benchmarks.fidelity.truth import Truth, describe_truth, seed_path, write_seed
from benchmarks.fidelity.workload import Workload
from fastif.errors import InputError

FILES = {
    "train.parquet": ("position", "train_id", "label"),
    "queries.parquet": ("position", "query_id", "label"),
    "subsets.parquet": ("subset", "train_id"),
    "outcomes.parquet": ("subset", "seed", "query_id", "margin"),
}
"""Columns of each file of a published truth."""

FACTS = "workload.json"

PUBLISHED = Path(__file__).parents[1] / "truth"
"""Published truth in the repository."""


@dataclass(frozen=True, eq=False)
class PublishedTruth:
    """Truth of a workload with the ids of its rows.

    Attributes:
        train_ids: Ids of the training rows, in the order of the columns of effects.
        query_ids: Ids of the queries, in the order of the rows of effects.
        labels: Class that each training row and each query was trained or measured with.
        truth: Halves and margins.
        facts: Description of the workload for JSON.
    """

    train_ids: Sequence[str]
    query_ids: Sequence[str]
    labels: tuple[Sequence[int], Sequence[int]]
    truth: Truth
    facts: dict

    @classmethod
    def of(cls, workload: Workload, truth: Truth, known: dict) -> "PublishedTruth":
        """Return the truth of a workload; `known` is its kept result, or empty.

        Scores against another truth, with fewer or more seeds, are left out.
        """
        facts = {"name": workload.name, **describe_truth(workload, truth)}
        labels = _read_labels(workload)
        methods = list_scores_on(truth, known)
        return cls(
            workload.train_ids,
            workload.query_ids,
            labels,
            truth,
            {**facts, "recipe": workload.recipe_words, "methods": methods},
        )


def _read_labels(workload: Workload) -> tuple[list[int], list[int]]:
    """Return the class of each training row, and of each query."""
    rows, queries = (
        workload.answers(examples).tolist()
        for examples in (workload.train, workload.query_examples)
    )
    return rows, queries


def list_scores_on(truth: Truth, known: dict) -> list[dict]:
    """Return the scores of a kept result if it was measured on this truth; else none."""
    is_same = (known.get("seeds"), known.get("sets")) == (truth.seeds, sorted(truth.sets))
    return list_scores(known) if is_same else []


def list_scores(known: dict) -> list[dict]:
    """Return name, package, LDS and standard error of every method of a kept result.

    >>> list_scores({"methods": {"exact": {"lds": 0.5, "error": 0.1}}})
    [{'name': 'exact', 'package': 'fastif', 'lds': 0.5, 'error': 0.1}]
    """
    chosen = known.get("chosen")
    named = [("fastif", known.get("methods", {})), ("other", known.get("peers", {}))]
    named += [("fastif", {f"chosen by fastif: {chosen['name']}": chosen})] if chosen else []
    return [
        {"name": name, "package": package, "lds": method["lds"], "error": method["error"]}
        for package, methods in named
        for name, method in methods.items()
        if "lds" in method
    ]


def write_published(published: PublishedTruth, folder: Path) -> None:
    """Write the files of a published truth."""
    folder.mkdir(parents=True, exist_ok=True)
    truth, ids = published.truth, published.train_ids
    sides = (("train", ids), ("query", published.query_ids))
    for (name, names), labels in zip(sides, published.labels, strict=True):
        rows = {"position": range(len(names)), f"{name}_id": names, "label": labels}
        file = "train.parquet" if name == "train" else "queries.parquet"
        _write(pl.DataFrame(rows), folder / file)
    members = [(at, ids[row]) for at, half in enumerate(truth.halves) for row in half.tolist()]
    _write(_frame(members, "subsets.parquet"), folder / "subsets.parquet")
    outcomes = [
        (at, seed, query_id, margin)
        for seed, margins in sorted(truth.by_seed.items())
        for at, row in enumerate(margins.tolist())
        for query_id, margin in zip(published.query_ids, row, strict=True)
    ]
    frame = _frame(outcomes, "outcomes.parquet").cast({"margin": pl.Float32})
    _write(frame, folder / "outcomes.parquet")
    (folder / FACTS).write_text(json.dumps(published.facts, indent=1) + "\n", "utf-8")


def read_published(folder: Path) -> PublishedTruth:
    """Return a published truth.

    Raises:
        InputError: A file or column is missing, or the outcomes are not one of each half, seed and
            query.
    """
    tables = {name: _read(folder / name, columns) for name, columns in FILES.items()}
    train, queries = (tables[n].sort("position") for n in ("train.parquet", "queries.parquet"))
    position = {name: at for at, name in enumerate(train["train_id"])}
    subsets = tables["subsets.parquet"].sort("subset")
    unknown = set(subsets["train_id"]) - set(position)
    if unknown:
        raise _broken(folder / "subsets.parquet", f"the training row {min(unknown)!r}")
    halves = [
        torch.tensor(sorted(position[name] for name in group["train_id"]))
        for _, group in subsets.group_by("subset", maintain_order=True)
    ]
    query_ids = queries["query_id"].to_list()
    path = folder / "outcomes.parquet"
    by_seed = {
        int(str(seed)): _pivot(group, len(halves), query_ids, path)
        for (seed,), group in tables["outcomes.parquet"]
        .sort("seed")
        .group_by("seed", maintain_order=True)
    }
    facts = json.loads((folder / FACTS).read_text("utf-8"))
    labels = (train["label"].to_list(), queries["label"].to_list())
    truth = Truth.from_seeds(halves, by_seed)
    return PublishedTruth(list(position), query_ids, labels, truth, facts)


def restore_seeds(workload: Workload, published: Path, truths: Path) -> int:
    """Write the seeds of a published truth that are missing here, and return their number.

    Nothing is restored if rows, queries, their labels, halves or the recipe are others now.

    Args:
        workload: Workload whose models would be retrained otherwise.
        published: Folder of the published truths.
        truths: Folder with the seeds of each workload.
    """
    folder = published / workload.name
    if not (folder / FACTS).is_file():
        return 0
    stored = read_published(folder)
    is_same = (
        list(stored.train_ids) == workload.train_ids
        and list(stored.query_ids) == workload.query_ids
        and stored.labels == _read_labels(workload)
        and stored.facts["recipe"] == workload.recipe_words
        and len(stored.truth.halves) == len(workload.halves)
        and all(map(torch.equal, stored.truth.halves, workload.halves))
    )
    missing = {
        seed: margins
        for seed, margins in stored.truth.by_seed.items()
        if not seed_path(truths / workload.key, seed).is_file()
    }
    if not is_same or not missing:
        return 0
    for seed, margins in missing.items():
        write_seed(seed_path(truths / workload.key, seed), margins)
    return len(missing)


def _pivot(group: pl.DataFrame, count: int, query_ids: Sequence[str], path: Path) -> torch.Tensor:
    """Return the margins [m q] of a set of seeds."""
    order = pl.DataFrame({"query_id": query_ids, "place": range(len(query_ids))})
    ordered = group.join(order, on="query_id").sort("subset", "place")
    expected = [(at, place) for at in range(count) for place in range(len(query_ids))]
    if ordered.select("subset", "place").rows() != expected or len(group) != len(expected):
        raise _broken(path, "outcomes that are missing or twice there")
    return torch.tensor(ordered["margin"].to_list(), dtype=torch.float64).view(count, -1)


def _frame(rows: Sequence[tuple], file: str) -> pl.DataFrame:
    return pl.DataFrame(rows, list(FILES[file]), orient="row")


def _write(frame: pl.DataFrame, path: Path) -> None:
    frame.write_parquet(path, compression="zstd", statistics=False)


def _read(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(
            str(path), "a file of a published truth", "none", "Publish the truth again."
        )
    frame = pl.read_parquet(path)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise _broken(path, f"no column {missing[0]}")
    return frame


def _broken(path: Path, got: str) -> InputError:
    return InputError(str(path), "the file as it was published", got, "Publish the truth again.")
