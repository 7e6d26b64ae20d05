"""Further data quality: outliers, rare labels, clusters of queries with low accuracy."""

from collections import Counter
from dataclasses import dataclass

import faiss
import numpy as np
import polars as pl
from scipy.stats import false_discovery_control, fisher_exact

from tasks.report.formatting import Row, index_rows
from tasks.report.report_rows import ReportRows
from tasks.report.run_data import RunData
from tasks.report.tfidf_space import WORDS, TfidfSpace

OUTLIERS, WORST, NAMES = 30, 10, 4
MAX_GROUPS, MIN_GROUP_SIZE = 20, 10
"""Largest number of clusters of the queries, and least average size of a cluster."""

RARE_SHARE = 0.2
"""Share of its count under a uniform distribution below which a label is called rare."""

MAX_Q_VALUE = 0.05


@dataclass(frozen=True)
class DataQuality:
    """Outliers, label counts, clusters of queries, and counts of empty and truncated rows.

    Attributes:
        outliers: Training rows with the lowest mean cosine similarity to their nearest neighbours.
        labels: Labels of the training rows: count, share, and whether the label is rare.
        groups: Clusters of similar queries, the least accurate first, named by typical words.
        empty: Number of rows without a letter or digit, by table; no table without texts.
        truncated: Number of rows that exceed the model's maximum length, by table; no table
            without a model.
    """

    outliers: list[Row]
    labels: list[Row]
    groups: list[Row]
    empty: dict[str, int]
    truncated: dict[str, int]


def assess_data_quality(data: RunData, space: TfidfSpace) -> DataQuality:
    """Compute the section from the texts and the model's predictions."""
    tables = {"training rows": data.train, "queries": data.queries}
    return DataQuality(
        _find_outliers(data, space),
        _count_labels(data),
        _find_weak_groups(data, space),
        {name: _count_empty(frame) for name, frame in tables.items() if data.has_texts},
        {name: int(frame["truncated"].sum()) for name, frame in tables.items()},
    )


def assess_row_quality(data: ReportRows, space: TfidfSpace) -> DataQuality:
    """Compute what needs no model: outliers, label counts and empty texts."""
    tables = {"training rows": data.train} | (
        {"queries": data.queries} if len(data.queries) else {}
    )
    empty = {name: _count_empty(frame) for name, frame in tables.items() if data.has_texts}
    return DataQuality(_find_outliers(data, space), _count_labels(data), [], empty, {})


def _count_empty(frame: pl.DataFrame) -> int:
    return int(frame.select(pl.any_horizontal(_lacks_letters("text", "text_pair"))).sum().item())


def _lacks_letters(*columns: str) -> list[pl.Expr]:
    """Return whether a text has no letter or digit; false for the missing second text of a row."""
    return [~pl.col(name).str.contains(r"[\p{L}\p{N}]").fill_null(True) for name in columns]


def _find_outliers(data: ReportRows, space: TfidfSpace) -> list[Row]:
    if not space.similarity.shape[1]:  # a single row has no other to be similar to
        return []
    mean = space.similarity.mean(1)
    order = mean.argsort(stable=True)[:OUTLIERS].tolist()
    train = index_rows(data.train, "train")
    return [train[i] | {"similarity": float(mean[i])} for i in order]


def _count_labels(data: ReportRows) -> list[Row]:
    labels = data.train[data.label_column].alias("label")
    counts = labels.value_counts().sort("count", "label")
    uniform_share = 1 / max(1, len(counts))
    return [
        {
            "label": label,
            "count": count,
            "share": count / len(data.train),
            "rare": count / len(data.train) < RARE_SHARE * uniform_share,
        }
        for label, count in counts.iter_rows()
    ]


def _find_weak_groups(data: RunData, space: TfidfSpace) -> list[Row]:
    """Cluster the queries by k-means; compare errors in and outside each by Fisher's exact test."""
    if data.queries["correct"].null_count():
        return []  # without labels no group has an accuracy
    q = len(data.queries)
    count = min(MAX_GROUPS, q // MIN_GROUP_SIZE)
    if count < 2:
        return []
    points = np.ascontiguousarray(space.queries.numpy())
    kmeans = faiss.Kmeans(points.shape[1], count, niter=20, seed=1, min_points_per_centroid=1)
    kmeans.train(points)
    assignment = kmeans.index.search(points, 1)[1][:, 0]
    wrong = ~data.queries["correct"].to_numpy()
    words = [_split_words(row) for row in data.queries.select("text", "text_pair").iter_rows()]
    word_counts = Counter(word for row in words for word in row)
    groups: list[Row] = []
    for group in np.unique(assignment):
        in_group = assignment == group
        inside, outside = int(wrong[in_group].sum()), int(wrong[~in_group].sum())
        table = [
            [inside, int(in_group.sum()) - inside],
            [outside, int((~in_group).sum()) - outside],
        ]
        p = float(fisher_exact(table, alternative="greater")[1])  # type: ignore[arg-type]
        name = _name_group([words[i] for i in in_group.nonzero()[0]], word_counts, q)
        ids = data.queries["id"].to_numpy()[in_group & wrong][:3].tolist()
        groups.append(
            {
                "name": name,
                "queries": int(in_group.sum()),
                "accuracy": 1 - inside / in_group.sum(),
                "p": p,
                "ids": ids,
            }
        )
    adjusted = false_discovery_control([row["p"] for row in groups])
    groups = [
        row | {"q": float(v), "worse": v < MAX_Q_VALUE}
        for row, v in zip(groups, adjusted, strict=True)
    ]
    return sorted(groups, key=lambda row: float(str(row["accuracy"])))[:WORST]


def _split_words(texts: tuple[str | None, ...]) -> set[str]:
    words = (word for text in texts for word in WORDS.findall((text or "").casefold()))
    return {word for word in words if len(word) > 2}


def _name_group(rows: list[set[str]], word_counts: Counter[str], q: int) -> str:
    """Name a cluster by words that are frequent in it and rare elsewhere: share times log lift."""
    inside = Counter(word for row in rows for word in row)
    weights = {
        word: n / len(rows) * np.log(n * q / (word_counts[word] * len(rows)))
        for word, n in inside.items()
        if n > 1
    }
    best = sorted(weights, key=lambda word: (-weights[word], word))[:NAMES]
    return ", ".join(best) or "nothing in common"
