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
from tasks.data.normalize_text import normalize_text

MIN_SIMILARITY, MIN_WORDS = 0.9, 10
"""Share of the words that near-duplicates have in common, in their order; and how many words a text
needs for it: of short ones a single word, such as "not", may turn the label."""
WORDS = re.compile(r"\w+")


def group_near_duplicates(table: Table, neighbours: Tensor) -> Tensor:
    """Equal numbers for rows that are alike, whatever their labels, [n].

    Texts of the same letters and digits are, and of the pairs among `neighbours` those that nearly
    have the same words. Rows that are no texts are alike if they are equal.

    Args:
        table: rows, in an order that depends on their contents alone.
        neighbours: of each row the positions of others that are like it.
    """
    groups = group_exact_duplicates(table)
    distinct = len(groups.unique())
    if table.measurements is not None or distinct < 2:
        return groups
    group_list = groups.tolist()
    return torch.tensor(
        _merge_pairs(group_list, _find_near_pairs(table, group_list, neighbours), distinct)
    )


def group_exact_duplicates(table: Table) -> Tensor:
    """Equal numbers, from 0, for rows of the same letters and digits, or of equal measurements."""
    keys = _normalize_rows(table)
    number = {key: i for i, key in enumerate(sorted(set(keys)))}
    return torch.tensor([number[key] for key in keys])


def _normalize_rows(table: Table) -> list[tuple[str, str]]:
    if table.measurements is not None:
        return [(words, "") for words in table.texts]
    pairs = table.text_pairs or [""] * len(table)
    return [(normalize_text(a), normalize_text(b)) for a, b in zip(table.texts, pairs, strict=True)]


def _find_near_pairs(
    table: Table, groups: Sequence[int], neighbours: Tensor
) -> list[tuple[int, int]]:
    """Numbers of texts that are nearly each other."""
    columns = [table.texts, *([table.text_pairs] if table.text_pairs else [])]
    words = [[WORDS.findall(text.casefold()) for text in column] for column in columns]
    rows = list(zip(*words, strict=True))
    near_pairs = set()
    for row, others in enumerate(neighbours.tolist()):
        for other in others:
            pair = tuple(sorted((groups[row], groups[other])))
            if (
                pair[0] != pair[1]
                and pair not in near_pairs
                and _is_near_duplicate(rows[row], rows[other])
            ):
                near_pairs.add(pair)
    return sorted(near_pairs)


def _is_near_duplicate(left: Sequence[list[str]], right: Sequence[list[str]]) -> bool:
    """Of pairs of texts both have to be."""
    return all(a == b or _has_similar_words(a, b) for a, b in zip(left, right, strict=True))


def _has_similar_words(a: list[str], b: list[str]) -> bool:
    if min(len(a), len(b)) < MIN_WORDS:
        return False
    common = len(set(a) & set(b)) / max(len(set(a)), len(set(b)))
    if common < 2 * MIN_SIMILARITY - 1:  # cheap, and rules out nearly all
        return False
    return SequenceMatcher(None, a, b, autojunk=False).ratio() >= MIN_SIMILARITY


def _merge_pairs(groups: Sequence[int], pairs: Sequence[tuple[int, int]], count: int) -> list[int]:
    """The number of each row's component; the components in the order of their first member."""
    if not pairs:
        return list(groups)
    left, right = np.array(pairs).T
    graph = coo_matrix((np.ones(len(pairs)), (left, right)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    first: dict[int, int] = {}
    for member, number in enumerate(component.tolist()):
        first.setdefault(number, member)
    return [first[int(component[number])] for number in groups]
