"""Rows that are the same or nearly so: within the training set, and between it and the queries."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tasks.data.normalize_text import normalize_text
from tasks.report.formatting import Row, index_rows
from tasks.report.run_data import RunData
from tasks.report.tfidf_space import WORDS, TfidfSpace

MIN_COSINE, MIN_JACCARD = 0.9, 0.8
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
        near_conflicting: groups of alike rows, not all the same, that do.
        leaked: queries that are training rows, exactly.
        near_leaked: that nearly are.
        cluster: of each training row; -1 for none.
        groups: the largest clusters: their rows.
        leaks: queries with the training row that they are like.
    """

    exact: int
    near: int
    conflicting: int
    near_conflicting: int
    leaked: int
    near_leaked: int
    cluster: np.ndarray
    groups: list[list[Row]]
    leaks: list[Row]


def find_duplicates(data: RunData, space: TfidfSpace) -> Duplicates:
    """All pairs that are near by their words are compared word by word."""
    train_keys, query_keys = (_make_keys(frame) for frame in (data.train, data.queries))
    word_sets = [_split_words(frame) for frame in (data.train, data.queries)]
    first: dict[str, int] = {}
    pairs = [(i, first.setdefault(key, i)) for i, key in enumerate(train_keys)]
    exact_pairs = [(i, j) for i, j in pairs if i != j]
    near_pairs = [
        (i, j)
        for i, j in _find_near_pairs(space.similarity, space.neighbours)
        if train_keys[i] != train_keys[j]
        and _jaccard(word_sets[0][i], word_sets[0][j]) >= MIN_JACCARD
    ]
    cluster = _cluster_pairs(len(train_keys), [*exact_pairs, *near_pairs])
    labels = data.train["label"].to_list()
    members: dict[int, list[int]] = {}
    for position, number in enumerate(cluster.tolist()):
        if number >= 0:
            members.setdefault(number, []).append(position)
    conflicting = {n for n, rows in members.items() if len({labels[i] for i in rows}) > 1}
    same_rows = {train_keys[i] for n in conflicting for i in members[n]}
    labels_by_key: dict[str, set[str]] = {key: set() for key in same_rows}
    for key, label in zip(train_keys, labels, strict=True):
        if key in labels_by_key:
            labels_by_key[key].add(label)
    exact = sum(len(key_labels) > 1 for key_labels in labels_by_key.values())
    leaked = {q: first[key] for q, key in enumerate(query_keys) if key in first}
    near_leaked = {
        q: t
        for q, t in reversed(_find_near_pairs(space.query_similarity, space.query_neighbours))
        if q not in leaked and _jaccard(word_sets[1][q], word_sets[0][t]) >= MIN_JACCARD
    }
    train = index_rows(data.train, "train")
    order = sorted(members, key=lambda n: (n not in conflicting, -len(members[n])))
    groups = [[train[i] for i in members[n][:10]] for n in order[:SHOWN]]
    leaks = _list_leaks(data, train, {**leaked, **near_leaked}, set(leaked))
    counts = (len(exact_pairs), len({i for i, _ in near_pairs}), exact, len(conflicting) - exact)
    return Duplicates(*counts, len(leaked), len(near_leaked), cluster, groups, leaks)


def _make_keys(frame: pl.DataFrame) -> list[str]:
    pairs = frame["text_pair"].fill_null("").to_list()
    return [
        f"{normalize_text(a)}\0{normalize_text(b)}"
        for a, b in zip(frame["text"], pairs, strict=True)
    ]


def _split_words(frame: pl.DataFrame) -> list[tuple[frozenset[str], ...]]:
    """The words of each text of a row."""
    columns = [name for name in ("text", "text_pair") if frame[name].null_count() < len(frame)]
    word_sets = [[frozenset(WORDS.findall(t.casefold())) for t in frame[name]] for name in columns]
    return list(zip(*word_sets, strict=True))


def _find_near_pairs(similarity, neighbours) -> Sequence[tuple[int, int]]:
    rows, columns = (similarity >= MIN_COSINE).nonzero(as_tuple=True)
    return list(zip(rows.tolist(), neighbours[rows, columns].tolist(), strict=True))


def _jaccard(a: tuple[frozenset[str], ...], b: tuple[frozenset[str], ...]) -> float:
    """Of the texts that are least alike: of a pair, both have to be."""
    return min(len(x & y) / max(1, len(x | y)) for x, y in zip(a, b, strict=True))


def _cluster_pairs(n: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """A number for each row; -1 for rows that are like no other."""
    if not pairs:
        return np.full(n, -1)
    left, right = np.array(pairs).T
    graph = coo_matrix((np.ones(len(pairs)), (left, right)), shape=(n, n))
    _, number = connected_components(graph, directed=False)
    sizes = np.bincount(number)
    return np.where(sizes[number] > 1, number, -1)


def _list_leaks(
    data: RunData, train: dict[int, Row], matches: dict[int, int], exact: set[int]
) -> list[Row]:
    queries = index_rows(data.queries, "query")
    order = sorted(matches, key=lambda q: (q not in exact, q))
    return [
        queries[q] | {"train_id": train[matches[q]]["id"], "train_text": train[matches[q]]["text"],
                      "train_label": train[matches[q]]["label"], "exact": q in exact}
        for q in order[:SHOWN]
    ]  # fmt: skip
