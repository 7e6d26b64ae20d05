"""Which rows are one row, or nearly: the same words in the same order but for one in ten."""

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
"""Share of the words that near-duplicates have in common, in their order; and how many words a text
needs for it: of short ones a single word, such as "not", may turn the label."""
WORDS = re.compile(r"\w+")

TextColumns = Sequence[Sequence[str]]
"""Texts of rows; a second column where rows are pairs of texts."""
Words = tuple[list[str], ...]
"""The words of each text of a row, in their order."""


def group_near_duplicates(table: Table, neighbours: Tensor) -> Tensor:
    """Equal numbers for rows that are alike, whatever their labels, [n].

    Texts of the same letters and digits are, and of the pairs among `neighbours` those that nearly
    have the same words. Rows that are no texts are alike if they are equal.

    Args:
        table: rows, in an order that depends on their contents alone.
        neighbours: of each row the positions of others that are like it.
    """
    groups = group_exact_duplicates(table)
    if table.measurements is not None or len(groups.unique()) < 2:
        return groups
    words = split_words(_list_texts(table))
    return torch.tensor(merge_near_texts(groups.tolist(), words, neighbours.tolist()))


def group_exact_duplicates(table: Table) -> Tensor:
    """Equal numbers, from 0, for rows of the same letters and digits, or of equal measurements."""
    is_text = table.measurements is None
    return torch.tensor(_number(table.texts) if not is_text else number_texts(_list_texts(table)))


def number_texts(columns: TextColumns) -> list[int]:
    """Equal numbers, from 0, for rows of the same letters and digits.

    Args:
        columns: the texts.
    """
    normalized = [[normalize_text(text) for text in column] for column in columns]
    return _number(list(zip(*normalized, strict=True)))


def split_words(columns: TextColumns) -> list[Words]:
    """The words of each text of a row, in lower case.

    Args:
        columns: the texts.
    """
    # Interned: a word that stands in many rows takes memory once.
    words = [[[*map(sys.intern, WORDS.findall(text.casefold()))] for text in c] for c in columns]
    return list(zip(*words, strict=True))


def merge_near_texts(
    groups: Sequence[int],
    words: Sequence[Words],
    neighbours: Iterable[Iterable[int]],
) -> list[int]:
    """Numbers of groups that hold near-duplicates made one, as connected components.

    Args:
        groups: number of each row's group, as `number_texts` gives them.
        words: of each row.
        neighbours: of each row the positions of others that it is compared with.
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


def is_near_duplicate(left: Words, right: Words) -> bool:
    """Whether two rows nearly have the same words in the same order; of pairs of texts, both.

    Args:
        left: words of a row.
        right: of another.
    """
    return all(a == b or _has_similar_words(a, b) for a, b in zip(left, right, strict=True))


def _list_texts(table: Table) -> TextColumns:
    return [table.texts, *([table.text_pairs] if table.text_pairs else [])]


def _number(keys: Sequence) -> list[int]:
    """Positions among the distinct keys in order."""
    number = {key: i for i, key in enumerate(sorted(set(keys)))}
    return [number[key] for key in keys]


def _has_similar_words(a: list[str], b: list[str]) -> bool:
    shorter, longer = sorted((len(a), len(b)))
    # Cheap, as what follows; both rule out nearly all.
    if shorter < MIN_WORDS or 2 * shorter / (shorter + longer) < MIN_SIMILARITY:
        return False
    common = len(set(a) & set(b)) / max(len(set(a)), len(set(b)))
    if common < 2 * MIN_SIMILARITY - 1:
        return False
    return SequenceMatcher(None, a, b, autojunk=False).ratio() >= MIN_SIMILARITY


def _merge_pairs(groups: Sequence[int], pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The number of each row's component; the components in the order of their first member."""
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
