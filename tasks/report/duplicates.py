"""Exact and near duplicates among the training rows, and between them and the queries (leaks)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from torch import Tensor

from tasks.data.near_duplicates import (
    Words,
    find_near_images,
    is_near_duplicate,
    merge_near_images,
    merge_near_texts,
    number_texts,
    split_words,
)
from tasks.report.formatting import Row, index_rows
from tasks.report.report_rows import ReportRows
from tasks.report.tfidf_space import TfidfSpace

SHOWN = 50


@dataclass(frozen=True)
class Duplicates:
    """Counts and lists of duplicates.

    Attributes:
        exact: Number of training rows that duplicate an earlier one after text normalization.
        near: Number of training rows with a near duplicate, see `tasks.data.near_duplicates`.
        conflicting: Number of groups of exact duplicates with different labels.
        near_conflicting: Number of groups of near duplicates with different labels.
        leaked: Number of queries that are exact duplicates of a training row.
        near_leaked: Number of queries that are near duplicates of a training row.
        cluster: Number of the duplicate group of each training row, [n]; -1 for none.
        groups: Rows of the largest groups, those with different labels first.
        leaks: Leaked queries, each with the position and text of its training row.
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


def find_duplicates(data: ReportRows, space: TfidfSpace) -> Duplicates:
    """Find rows with equal normalized text, and neighbours that pass `is_near_duplicate`."""
    train_texts, query_texts = (_list_texts(data, frame) for frame in (data.train, data.queries))
    both = [[*first, *second] for first, second in zip(train_texts, query_texts, strict=True)]
    # Features and images are compared by their values; a sign or a case of them counts.
    numbers = number_texts(both) if data.has_texts else _number_values(both[0])
    train_numbers, query_numbers = numbers[: len(data.train)], numbers[len(data.train) :]
    words, query_words = (
        split_words(texts) if data.has_texts else [()] * len(texts[0])
        for texts in (train_texts, query_texts)
    )
    groups = merge_near_texts(train_numbers, words, _list_candidates(words, space.neighbours))
    images = data.image_vectors
    if images:
        groups = merge_near_images(train_numbers, images[0], space.neighbours.numpy())
    members: dict[int, list[int]] = {}
    for position, number in enumerate(groups):
        members.setdefault(number, []).append(position)
    members = {number: rows for number, rows in members.items() if len(rows) > 1}
    conflicting, exact = _find_conflicts(members, train_numbers, data.train["label"].to_list())
    first = {number: i for i, number in reversed(list(enumerate(train_numbers)))}
    leaked = {q: first[number] for q, number in enumerate(query_numbers) if number in first}
    nearest = _find_near_texts(query_words, words, space) if not images else {}
    if len(images) > 1:
        pairs = find_near_images(images[1], images[0], space.query_neighbours.numpy())
        nearest = dict(reversed(pairs))  # the nearest comes last and wins
    near_leaked = {q: row for q, row in nearest.items() if q not in leaked}
    near = [rows for rows in members.values() if len({train_numbers[i] for i in rows}) > 1]
    train = index_rows(data.train, "train")
    order = sorted(members, key=lambda n: (n not in conflicting, -len(members[n])))
    return Duplicates(
        len(train_numbers) - len(first),
        sum(map(len, near)),
        exact,
        len(conflicting) - exact,
        len(leaked),
        len(near_leaked),
        np.array([number if number in members else -1 for number in groups]),
        [[train[i] for i in members[n][:10]] for n in order[:SHOWN]],
        _list_leaks(data, train, {**leaked, **near_leaked}, set(leaked)),
    )


def _find_near_texts(
    query_words: Sequence[Words], words: Sequence[Words], space: TfidfSpace
) -> dict[int, int]:
    """Return the nearest training row that is a near duplicate of each query that has one."""
    return {
        q: row
        for q, rows in enumerate(_list_candidates(query_words, space.query_neighbours))
        for row in reversed(rows)  # the nearest comes last and wins
        if is_near_duplicate(query_words[q], words[row])
    }


def _number_values(values: Sequence[str]) -> list[int]:
    """Number the descriptions of values; equal ones have equal numbers."""
    number: dict[str, int] = {}
    return [number.setdefault(value, len(number)) for value in values]


def _list_texts(data: ReportRows, frame: pl.DataFrame) -> list[list[str]]:
    columns = ["text", "text_pair"] if data.has_pairs else ["text"]
    return [frame[name].fill_null("").to_list() for name in columns]


def _list_candidates(words: Sequence[Words], neighbours: Tensor) -> list[list[int]]:
    """Candidates that each row is compared with; none for a row without words, such as ":)"."""
    has_words = [any(row) for row in words]
    return [rows if has_words[i] else [] for i, rows in enumerate(neighbours.tolist())]


def _find_conflicts(
    members: dict[int, list[int]], numbers: Sequence[int], labels: Sequence[str]
) -> tuple[set[int], int]:
    """Groups with several labels, and the number of sets of exact duplicates among them."""
    conflicting = {n for n, rows in members.items() if len({labels[i] for i in rows}) > 1}
    exact_labels: dict[int, set[str]] = {}
    for n in conflicting:
        for i in members[n]:
            exact_labels.setdefault(numbers[i], set()).add(labels[i])
    return conflicting, sum(len(distinct) > 1 for distinct in exact_labels.values())


def _list_leaks(
    data: ReportRows, train: dict[int, Row], matches: dict[int, int], exact: set[int]
) -> list[Row]:
    queries = index_rows(data.queries, "query")
    order = sorted(matches, key=lambda q: (q not in exact, q))
    return [
        queries[q] | {"train": matches[q], "train_id": train[matches[q]]["id"],
                      "train_text": train[matches[q]]["text"],
                      "train_label": train[matches[q]]["label"], "exact": q in exact}
        for q in order[:SHOWN]
    ]  # fmt: skip
