"""Which rows are one row, or nearly: the same words in the same order but for one in ten."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from tasks.data.dataset import Table
from tasks.data.normalize_text import letters

ALIKE, LEAST = 0.9, 10
"""Share of the words that near-duplicates have in common, in their order; and how many words a text
needs for it: of short ones a single word, such as "not", may turn the label."""
WORDS = re.compile(r"\w+")


def alike_rows(table: Table, near: Tensor) -> Tensor:
    """Equal numbers for rows that are alike, whatever their labels, [n].

    Texts of the same letters and digits are, and of the pairs among `near` those that nearly have
    the same words. Rows that are no texts are alike if they are equal.

    Args:
        table: rows, in an order that depends on their contents alone.
        near: of each row the positions of others that are like it.
    """
    same = same_rows(table)
    distinct = len(same.unique())
    if table.measured is not None or distinct < 2:
        return same
    numbers = same.tolist()
    return torch.tensor(_joined(numbers, _pairs(table, numbers, near), distinct))


def same_rows(table: Table) -> Tensor:
    """Equal numbers, from 0, for rows of the same letters and digits, or of equal measurements."""
    keys = _keys(table)
    number = {key: i for i, key in enumerate(sorted(set(keys)))}
    return torch.tensor([number[key] for key in keys])


def _keys(table: Table) -> list[tuple[str, str]]:
    if table.measured is not None:
        return [(words, "") for words in table.texts]
    pairs = table.text_pairs or [""] * len(table)
    return [(letters(a), letters(b)) for a, b in zip(table.texts, pairs, strict=True)]


def _pairs(table: Table, same: Sequence[int], near: Tensor) -> list[tuple[int, int]]:
    """Numbers of texts that are nearly each other."""
    columns = [table.texts, *([table.text_pairs] if table.text_pairs else [])]
    words = [[WORDS.findall(text.casefold()) for text in column] for column in columns]
    rows = list(zip(*words, strict=True))
    found = set()
    for row, others in enumerate(near.tolist()):
        for other in others:
            pair = tuple(sorted((same[row], same[other])))
            if pair[0] != pair[1] and pair not in found and _alike(rows[row], rows[other]):
                found.add(pair)
    return sorted(found)


def _alike(one: Sequence[list[str]], other: Sequence[list[str]]) -> bool:
    """Of pairs of texts both have to be."""
    return all(a == b or _nearly(a, b) for a, b in zip(one, other, strict=True))


def _nearly(a: list[str], b: list[str]) -> bool:
    if min(len(a), len(b)) < LEAST:
        return False
    common = len(set(a) & set(b)) / max(len(set(a)), len(set(b)))
    if common < 2 * ALIKE - 1:  # cheap, and rules out nearly all
        return False
    return SequenceMatcher(None, a, b, autojunk=False).ratio() >= ALIKE


def _joined(same: Sequence[int], pairs: Sequence[tuple[int, int]], count: int) -> list[int]:
    """The number of each row's component; the components in the order of their first member."""
    if not pairs:
        return list(same)
    left, right = np.array(pairs).T
    graph = coo_matrix((np.ones(len(pairs)), (left, right)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    first: dict[int, int] = {}
    for member, number in enumerate(component.tolist()):
        first.setdefault(number, member)
    return [first[int(component[number])] for number in same]
