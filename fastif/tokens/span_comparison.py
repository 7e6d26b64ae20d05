"""Comparison of the given spans of a sentence with those of another annotation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fastif.tokens.span import Span

DifferenceKind = Literal["missed", "spurious", "type", "boundary"]
"""Kind of an error of the given spans: one is missing, none is there, another type, other words."""


@dataclass(frozen=True)
class SpanDifference:
    """Difference between a given span and that of another annotation.

    Attributes:
        kind: Kind of the difference; "type" also where the words differ as well.
        given: Given span; None if it is missed.
        other: Span of the other annotation; None if the given one is spurious.
    """

    kind: DifferenceKind
    given: Span | None
    other: Span | None


class SpanScores(NamedTuple):
    """Precision, recall and F1 of spans; 0 where one is undefined."""

    precision: float
    recall: float
    f1: float


def compare_spans(given: Iterable[Span], other: Iterable[Span]) -> list[SpanDifference]:
    """Compare two annotations of a sentence, span by span.

    Equal spans are left out. Of the others, overlapping spans are paired, those with equal words
    first, then those with the same type, then the largest overlaps.

    Returns:
        Differences by the place of their first word.

    Examples:
        >>> compare_spans([Span(0, 1, "PER")], [Span(0, 2, "PER"), Span(4, 5, "LOC")])[0].kind
        'boundary'
    """
    first, second = set(given), set(other)
    shared = first & second
    left, right = sorted(first - shared), sorted(second - shared)
    differences = []
    for pair in sorted(_list_overlaps(left, right), key=_rank_pair):
        if pair[0] in left and pair[1] in right:
            left.remove(pair[0])
            right.remove(pair[1])
            differences.append(SpanDifference(_name_difference(*pair), *pair))
    differences += [SpanDifference("spurious", span, None) for span in left]
    differences += [SpanDifference("missed", None, span) for span in right]
    return sorted(differences, key=_get_start)


def _list_overlaps(left: Sequence[Span], right: Sequence[Span]) -> list[tuple[Span, Span]]:
    return [(span, match) for span in left for match in right if span.overlaps(match)]


def _rank_pair(pair: tuple[Span, Span]) -> tuple:
    first, second = pair
    overlap = min(first.end, second.end) - max(first.start, second.start)
    return not first.has_extent_of(second), first.kind != second.kind, -overlap, pair


def _name_difference(given: Span, other: Span) -> DifferenceKind:
    return "boundary" if given.kind == other.kind else "type"


def _get_start(difference: SpanDifference) -> int:
    span = difference.given or difference.other
    assert span is not None  # one of them is there
    return span.start


def score_spans(given: Sequence[Iterable[Span]], other: Sequence[Iterable[Span]]) -> SpanScores:
    """Score spans against those of another annotation: exact match of words and type.

    Args:
        given: Spans of each sentence.
        other: Spans of each sentence by the annotation that counts as true.

    Examples:
        >>> score_spans([[Span(0, 1, "PER")]], [[Span(0, 1, "PER"), Span(2, 3, "LOC")]]).recall
        0.5
    """
    pairs = [(set(spans), set(truth)) for spans, truth in zip(given, other, strict=True)]
    right = sum(len(spans & truth) for spans, truth in pairs)
    stated, true = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    precision, recall = right / max(stated, 1), right / max(true, 1)
    return SpanScores(precision, recall, 2 * precision * recall / max(precision + recall, 1e-12))
