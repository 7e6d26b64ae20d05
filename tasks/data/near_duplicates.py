"""Groups of exact and near duplicates: normalized texts, and word sequences 90 % equal."""

import re
import sys
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from tasks.data.dataset import Table
from tasks.data.normalize_text import normalize_text

MIN_SIMILARITY, MIN_WORDS = 0.9, 10
"""Least share of words that near duplicates have in common, in order, and least number of words of
a text: in shorter ones a single word, such as "not", can change the label."""
MIN_CORRELATION, MIN_CONTRAST = 0.99, 1e-3
"""Least correlation of the pixels of nearly equal images, and least norm of their contrast."""
WORDS = re.compile(r"\w+")

TextColumns = Sequence[Sequence[str]]
"""Texts of the rows, one list per column; two columns for pairs of texts."""
Words = tuple[list[str], ...]
"""Words of each text of a row, in order."""


def group_near_duplicates(table: Table, neighbours: Tensor) -> Tensor:
    """Number of the duplicate group of each row, [n], for any labels.

    Exact duplicates have equal normalized texts. Near duplicates are pairs of `neighbours` with
    nearly equal word sequences, or nearly equal images. Rows of features are duplicates if they are
    equal.

    Args:
        table: Rows, in an order that depends on their contents alone.
        neighbours: Positions of similar rows for each row, [n, k].
    """
    groups = group_exact_duplicates(table)
    if len(groups.unique()) < 2:
        return groups
    if table.measurements is not None:
        if not table.measurements.image:
            return groups
        images = make_image_vectors(table.measurements.numbers)
        return torch.tensor(merge_near_images(groups.tolist(), images, neighbours.numpy()))
    words = split_words(_list_texts(table))
    return torch.tensor(merge_near_texts(groups.tolist(), words, neighbours.tolist()))


def group_exact_duplicates(table: Table) -> Tensor:
    """Group number of each row, from 0: equal for equal normalized texts or equal values, [n]."""
    is_text = table.measurements is None
    return torch.tensor(_number(table.texts) if not is_text else number_texts(_list_texts(table)))


def number_contents(table: Table) -> Tensor | None:
    """Number of each row's content where it determines the class: texts and images; else None, [n].

    Only the spaces around a text do not count: a case, a sign or an emoji may make the class. Equal
    measurements of a table may well be of different classes, since the columns do not say all.

    >>> rows = ["a", "b", "c"], ["C++ jobs", " C++ jobs", "C# jobs"], None, [0, 1, 1]
    >>> number_contents(Table(*rows, {}, "", "here")).tolist()
    [1, 1, 0]
    """
    if table.measurements is not None:
        return torch.tensor(_number(table.texts)) if table.measurements.image else None
    columns = ([text.strip() for text in column] for column in _list_texts(table))
    return torch.tensor(_number(list(zip(*columns, strict=True))))


def number_texts(columns: TextColumns) -> list[int]:
    """Group number of each row, from 0: equal for rows with equal normalized texts.

    Args:
        columns: Texts of the rows, one list per column.
    """
    normalized = [[normalize_text(text) for text in column] for column in columns]
    return _number(list(zip(*normalized, strict=True)))


def split_words(columns: TextColumns) -> list[Words]:
    """Split each text of each row into lower-case words.

    Args:
        columns: Texts of the rows, one list per column.
    """
    # Interned, so that a word of many rows takes memory once.
    words = [[[*map(sys.intern, WORDS.findall(text.casefold()))] for text in c] for c in columns]
    return list(zip(*words, strict=True))


def merge_near_texts(
    groups: Sequence[int],
    words: Sequence[Words],
    neighbours: Iterable[Iterable[int]],
) -> list[int]:
    """Merge groups that contain near duplicates of each other, as connected components.

    Args:
        groups: Group number of each row, from `number_texts`.
        words: Words of each row.
        neighbours: Positions of the rows that each row is compared with.
    """
    near_pairs: set[tuple[int, int]] = set()
    for row, others in enumerate(neighbours):
        for other in others:
            low, high = sorted((groups[row], groups[other]))
            if low == high or (low, high) in near_pairs:
                continue
            if is_near_duplicate(words[row], words[other]):
                near_pairs.add((low, high))
    return _merge_pairs(groups, sorted(near_pairs))


def make_image_vectors(pixels: np.ndarray) -> np.ndarray:
    """Return pixels centred and of unit length, [n, d]; zeros for an image of one colour."""
    centred = pixels - pixels.mean(1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(norms > MIN_CONTRAST, norms, np.inf)


def find_near_images(
    images: np.ndarray, others: np.ndarray, neighbours: np.ndarray
) -> list[tuple[int, int]]:
    """Find the candidates whose pixels are nearly equal: those of a correlation of 0.99 or more.

    Args:
        images: Vectors of `make_image_vectors`, [n, d].
        others: Vectors of the images that they are compared with, [m, d].
        neighbours: Positions of the candidates of each image, [n, k], by similar embeddings.

    Returns:
        Pairs of an image and its candidate.
    """
    pairs = []
    for column in neighbours.T:
        correlation = (images * others[column]).sum(1)
        rows = np.flatnonzero(correlation >= MIN_CORRELATION)
        pairs += zip(rows.tolist(), column[rows].tolist(), strict=True)
    return pairs


def merge_near_images(
    groups: Sequence[int], images: np.ndarray, neighbours: np.ndarray
) -> list[int]:
    """Merge groups that contain nearly equal images, as connected components.

    Args:
        groups: Group number of each row, of equal images.
        images: Vectors of `make_image_vectors`, [n, d].
        neighbours: Positions of the candidates of each image, [n, k].
    """
    near = find_near_images(images, images, neighbours)
    pairs = {(min(groups[a], groups[b]), max(groups[a], groups[b])) for a, b in near}
    return _merge_pairs(groups, sorted(pair for pair in pairs if pair[0] != pair[1]))


def is_near_duplicate(left: Words, right: Words) -> bool:
    """Whether two rows have nearly equal word sequences, in both texts of a pair.

    Args:
        left: Words of the first row.
        right: Words of the second row.
    """
    return all(a == b or _has_similar_words(a, b) for a, b in zip(left, right, strict=True))


def _list_texts(table: Table) -> TextColumns:
    return [table.texts, *([table.text_pairs] if table.text_pairs else [])]


def _number(keys: Sequence) -> list[int]:
    """Position of each key among the sorted distinct keys."""
    number = {key: i for i, key in enumerate(sorted(set(keys)))}
    return [number[key] for key in keys]


def _has_similar_words(a: list[str], b: list[str]) -> bool:
    shorter, longer = sorted((len(a), len(b)))
    # Cheap bounds on the ratio come first and exclude nearly all pairs.
    if shorter < MIN_WORDS or 2 * shorter / (shorter + longer) < MIN_SIMILARITY:
        return False
    common = len(set(a) & set(b)) / max(len(set(a)), len(set(b)))
    if common < 2 * MIN_SIMILARITY - 1:
        return False
    return SequenceMatcher(None, a, b, autojunk=False).ratio() >= MIN_SIMILARITY


def _merge_pairs(groups: Sequence[int], pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Number of the connected component of each row, by its first member."""
    if not pairs:
        return list(groups)
    count = max(groups) + 1
    left, right = np.array(pairs).T
    graph = coo_matrix((np.ones(len(pairs)), (left, right)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    first: dict[int, int] = {}
    for member, number in enumerate(component.tolist()):
        first.setdefault(number, member)
    return [first[int(component[number])] for number in groups]
