"""Differences between two annotations of a sentence."""

import pytest

from fastif.tokens import Span, compare_spans, score_spans

PER = Span(2, 4, "PER")


@pytest.mark.parametrize(
    ("given", "other", "kinds"),
    [
        ([PER], [PER], []),
        ([PER], [], ["spurious"]),
        ([], [PER], ["missed"]),
        ([PER], [Span(2, 4, "LOC")], ["type"]),
        ([PER], [Span(2, 5, "PER")], ["boundary"]),
        ([PER], [Span(3, 5, "LOC")], ["type"]),
        ([PER], [Span(4, 5, "PER")], ["spurious", "missed"]),
        ([PER], [Span(2, 3, "PER"), Span(3, 4, "PER")], ["boundary", "missed"]),
        ([Span(0, 1, "A"), Span(1, 2, "A")], [Span(0, 2, "A")], ["boundary", "spurious"]),
    ],
)
def test_every_kind_of_difference(given, other, kinds):
    assert [difference.kind for difference in compare_spans(given, other)] == kinds


def test_equal_words_are_paired_before_larger_overlaps():
    given = [Span(0, 2, "A")]
    other = [Span(0, 2, "B")]
    (difference,) = compare_spans(given, other)
    assert (difference.given, difference.other) == (given[0], other[0])


def test_scores_are_those_of_exact_matches():
    scores = score_spans([[PER, Span(0, 1, "LOC")], []], [[PER], [Span(0, 1, "PER")]])
    assert scores == (0.5, 0.5, 0.5)
    assert score_spans([[]], [[]]) == (0.0, 0.0, 0.0)
