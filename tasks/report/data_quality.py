"""What else can be wrong with a table: rows that are alone, rare labels, groups that fail."""

from collections import Counter
from dataclasses import dataclass

import faiss
import numpy as np
import polars as pl
from scipy.stats import false_discovery_control, fisher_exact

from tasks.report.formatting import Row, examples
from tasks.report.run_data import Night
from tasks.report.tfidf_space import WORDS, Space

OUTLIERS, WORST, NAMES = 30, 10, 4
GROUPS, LEAST = 20, 10
"""Groups that queries are cut into at most, and queries of one on average at least."""

RARE = 0.2
"""A label is called rare below this share of what it would have if all were alike."""

SURE = 0.05


@dataclass(frozen=True)
class Quality:
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


def quality_of(night: Night, space: Space) -> Quality:
    """From the texts and the model's predictions."""
    tables = {"training rows": night.train, "queries": night.queries}
    empty = {
        name: int(frame.select(~pl.col("text").str.contains(r"[\p{L}\p{N}]")).sum().item())
        for name, frame in tables.items()
    }
    truncated = {name: int(frame["truncated"].sum()) for name, frame in tables.items()}
    return Quality(_outliers(night, space), _labels(night), _groups(night, space), empty, truncated)


def _outliers(night: Night, space: Space) -> list[Row]:
    mean = space.similarity.mean(1)
    order = mean.argsort(stable=True)[:OUTLIERS].tolist()
    train = examples(night.train, "train")
    return [train[i] | {"similarity": float(mean[i])} for i in order]


def _labels(night: Night) -> list[Row]:
    counts = night.train["label"].value_counts().sort("count", "label")
    fair = 1 / max(1, len(counts))
    return [
        {"label": label, "count": count, "share": count / len(night.train),
         "rare": count / len(night.train) < RARE * fair}
        for label, count in counts.iter_rows()
    ]  # fmt: skip


def _groups(night: Night, space: Space) -> list[Row]:
    """K-means of the queries' points; each group's errors against the others', Fisher's test."""
    q = len(night.queries)
    count = min(GROUPS, q // LEAST)
    if count < 2:
        return []
    points = np.ascontiguousarray(space.queries.numpy())
    means = faiss.Kmeans(points.shape[1], count, niter=20, seed=1, min_points_per_centroid=1)
    means.train(points)
    number = means.index.search(points, 1)[1][:, 0]
    wrong = ~night.queries["correct"].to_numpy()
    words = [_words(row) for row in night.queries.select("text", "text_pair").iter_rows()]
    everywhere = Counter(word for row in words for word in row)
    found: list[Row] = []
    for group in np.unique(number):
        of = number == group
        inside, outside = int(wrong[of].sum()), int(wrong[~of].sum())
        table = [[inside, int(of.sum()) - inside], [outside, int((~of).sum()) - outside]]
        p = float(fisher_exact(table, alternative="greater")[1])  # type: ignore[arg-type]
        name = _name([words[i] for i in of.nonzero()[0]], everywhere, q)
        ids = night.queries["id"].to_numpy()[of & wrong][:3].tolist()
        found.append({"name": name, "queries": int(of.sum()), "accuracy": 1 - inside / of.sum(),
                      "p": p, "ids": ids})  # fmt: skip
    adjusted = false_discovery_control([row["p"] for row in found])
    found = [
        row | {"q": float(v), "worse": v < SURE} for row, v in zip(found, adjusted, strict=True)
    ]
    return sorted(found, key=lambda row: float(str(row["accuracy"])))[:WORST]


def _words(texts: tuple[str | None, ...]) -> set[str]:
    found = (word for text in texts for word in WORDS.findall((text or "").casefold()))
    return {word for word in found if len(word) > 2}


def _name(rows: list[set[str]], everywhere: Counter[str], q: int) -> str:
    """Words that are in many of these rows and in few others: by share times log lift."""
    inside = Counter(word for row in rows for word in row)
    worth = {
        word: n / len(rows) * np.log(n * q / (everywhere[word] * len(rows)))
        for word, n in inside.items()
        if n > 1
    }
    best = sorted(worth, key=lambda word: (-worth[word], word))[:NAMES]
    return ", ".join(best) or "nothing in common"
