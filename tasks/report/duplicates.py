"""Rows that are the same or nearly so: within the training set, and between it and the queries."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tasks.data.normalize_text import letters
from tasks.report.formatting import Row, examples
from tasks.report.run_data import Night
from tasks.report.tfidf_space import WORDS, Space

NEAR, WORDS_ALIKE = 0.9, 0.8
"""Cosine from which a pair is looked at, and share of their words that near-duplicates have in
common (Jaccard)."""

SHOWN = 50


@dataclass(frozen=True)
class Duplicates:
    """What is alike.

    Attributes:
        exact: training rows that repeat an earlier one, letter by letter and digit by digit.
        near: that nearly do.
        conflicting: groups of the same rows that bear different labels.
        nearly: groups of alike rows, not all the same, that do.
        leaked: queries that are training rows, exactly.
        nearly_leaked: that nearly are.
        cluster: of each training row; -1 for none.
        groups: the largest clusters: their rows.
        leaks: queries with the training row that they are like.
    """

    exact: int
    near: int
    conflicting: int
    nearly: int
    leaked: int
    nearly_leaked: int
    cluster: np.ndarray
    groups: list[list[Row]]
    leaks: list[Row]


def duplicates_of(night: Night, space: Space) -> Duplicates:
    """All pairs that are near by their words are compared word by word."""
    own, asked = (_keys(frame) for frame in (night.train, night.queries))
    sets = [_words(frame) for frame in (night.train, night.queries)]
    first: dict[str, int] = {}
    pairs = [(i, first.setdefault(key, i)) for i, key in enumerate(own)]
    same = [(i, j) for i, j in pairs if i != j]
    near = [
        (i, j)
        for i, j in _close(space.similarity, space.near)
        if own[i] != own[j] and _jaccard(sets[0][i], sets[0][j]) >= WORDS_ALIKE
    ]
    cluster = _clusters(len(own), [*same, *near])
    labels = night.train["label"].to_list()
    members: dict[int, list[int]] = {}
    for place, number in enumerate(cluster.tolist()):
        if number >= 0:
            members.setdefault(number, []).append(place)
    conflicting = {n for n, rows in members.items() if len({labels[i] for i in rows}) > 1}
    same_rows = {own[i] for n in conflicting for i in members[n]}
    said: dict[str, set[str]] = {key: set() for key in same_rows}
    for key, label in zip(own, labels, strict=True):
        if key in said:
            said[key].add(label)
    exact = sum(len(told) > 1 for told in said.values())
    leaked = {q: first[key] for q, key in enumerate(asked) if key in first}
    nearly = {
        q: t
        for q, t in reversed(_close(space.leaked, space.leaks))
        if q not in leaked and _jaccard(sets[1][q], sets[0][t]) >= WORDS_ALIKE
    }
    train = examples(night.train, "train")
    order = sorted(members, key=lambda n: (n not in conflicting, -len(members[n])))
    groups = [[train[i] for i in members[n][:10]] for n in order[:SHOWN]]
    leaks = _leaks(night, train, {**leaked, **nearly}, set(leaked))
    counts = (len(same), len({i for i, _ in near}), exact, len(conflicting) - exact)
    return Duplicates(*counts, len(leaked), len(nearly), cluster, groups, leaks)


def _keys(frame: pl.DataFrame) -> list[str]:
    pairs = frame["text_pair"].fill_null("").to_list()
    return [f"{letters(a)}\0{letters(b)}" for a, b in zip(frame["text"], pairs, strict=True)]


def _words(frame: pl.DataFrame) -> list[tuple[frozenset[str], ...]]:
    """The words of each text of a row."""
    columns = [name for name in ("text", "text_pair") if frame[name].null_count() < len(frame)]
    found = [[frozenset(WORDS.findall(t.casefold())) for t in frame[name]] for name in columns]
    return list(zip(*found, strict=True))


def _close(similarity, near) -> Sequence[tuple[int, int]]:
    rows, columns = (similarity >= NEAR).nonzero(as_tuple=True)
    return list(zip(rows.tolist(), near[rows, columns].tolist(), strict=True))


def _jaccard(a: tuple[frozenset[str], ...], b: tuple[frozenset[str], ...]) -> float:
    """Of the texts that are least alike: of a pair, both have to be."""
    return min(len(x & y) / max(1, len(x | y)) for x, y in zip(a, b, strict=True))


def _clusters(n: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """A number for each row; -1 for rows that are like no other."""
    if not pairs:
        return np.full(n, -1)
    left, right = np.array(pairs).T
    graph = coo_matrix((np.ones(len(pairs)), (left, right)), shape=(n, n))
    _, number = connected_components(graph, directed=False)
    sizes = np.bincount(number)
    return np.where(sizes[number] > 1, number, -1)


def _leaks(
    night: Night, train: dict[int, Row], found: dict[int, int], exact: set[int]
) -> list[Row]:
    queries = examples(night.queries, "query")
    order = sorted(found, key=lambda q: (q not in exact, q))
    return [
        queries[q] | {"train_id": train[found[q]]["id"], "train_text": train[found[q]]["text"],
                      "train_label": train[found[q]]["label"], "exact": q in exact}
        for q in order[:SHOWN]
    ]  # fmt: skip
