"""What else can be wrong with a table: rows that are alone, rare labels, groups that fail."""

from collections import Counter
from dataclasses import dataclass

import faiss
import numpy as np
import polars as pl
from scipy.stats import false_discovery_control, fisher_exact

from tasks.report.formatting import Row, index_rows
from tasks.report.run_data import RunData
from tasks.report.tfidf_space import WORDS, TfidfSpace

OUTLIERS, WORST, NAMES = 30, 10, 4
MAX_GROUPS, MIN_GROUP_SIZE = 20, 10
"""Groups that queries are cut into at most, and queries of one on average at least."""

RARE_SHARE = 0.2
"""A label is called rare below this share of what it would have if all were alike."""

MAX_Q_VALUE = 0.05


@dataclass(frozen=True)
class DataQuality:
    """The rest of data quality.

    Attributes:
        outliers: training rows whose nearest rows are farthest, with the mean cosine to these.
        labels: of the training rows: count, share, and whether it is rare.
        groups: queries that are like each other, the least accurate first; named by their words.
        empty: rows of either table without a letter or digit.
        truncated: rows that were longer than the model reads.
    """

    outliers: list[Row]
    labels: list[Row]
    groups: list[Row]
    empty: dict[str, int]
    truncated: dict[str, int]


def assess_data_quality(data: RunData, space: TfidfSpace) -> DataQuality:
    """From the texts and the model's predictions."""
    tables = {"training rows": data.train, "queries": data.queries}
    empty = {
        name: int(frame.select(~pl.col("text").str.contains(r"[\p{L}\p{N}]")).sum().item())
        for name, frame in tables.items()
    }
    truncated = {name: int(frame["truncated"].sum()) for name, frame in tables.items()}
    return DataQuality(
        _find_outliers(data, space),
        _count_labels(data),
        _find_weak_groups(data, space),
        empty,
        truncated,
    )


def _find_outliers(data: RunData, space: TfidfSpace) -> list[Row]:
    mean = space.similarity.mean(1)
    order = mean.argsort(stable=True)[:OUTLIERS].tolist()
    train = index_rows(data.train, "train")
    return [train[i] | {"similarity": float(mean[i])} for i in order]


def _count_labels(data: RunData) -> list[Row]:
    counts = data.train["label"].value_counts().sort("count", "label")
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
    """K-means of the queries' points; each group's errors against the others', Fisher's test."""
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
    """Words that are in many of these rows and in few others: by share times log lift."""
    inside = Counter(word for row in rows for word in row)
    weights = {
        word: n / len(rows) * np.log(n * q / (word_counts[word] * len(rows)))
        for word, n in inside.items()
        if n > 1
    }
    best = sorted(weights, key=lambda word: (-weights[word], word))[:NAMES]
    return ", ".join(best) or "nothing in common"
