"""Average precision of wrong spans by hand, and the dictionary's annotations."""

import pytest
import torch

from benchmarks.tokens.noise import tag_by_dictionary
from benchmarks.tokens.rankings import compute_precision, count_errors, rank_by_words
from fastif.tokens import Span
from fastif.wrong_spans.tagged_words import TaggedWords

SENTENCES = (("Ann", "Lee", "met", "Bo"), ("in", "Rome"))


def make_words(*spans):
    return TaggedWords(SENTENCES, spans, ("LOC", "PER"), torch.arange(2))


def test_a_missed_span_counts_once_and_errors_at_no_place_lower_the_precision():
    true = make_words([Span(0, 2, "PER"), Span(3, 4, "PER")], [Span(1, 2, "LOC")])
    given = make_words([Span(3, 4, "LOC")], [])
    assert count_errors(given, true) == 3
    places = [
        (0, None, Span(0, 1, "")),  # found: 1 of 1
        (0, None, Span(1, 2, "")),  # of the same span: counts neither way
        (0, None, Span(2, 3, "")),  # right as it is
        (0, Span(3, 4, "LOC"), Span(3, 4, "LOC")),  # found: 2 of 3
    ]
    assert compute_precision(places, given, true) == pytest.approx((1 + 2 / 3) / 3)


def test_words_rank_given_spans_by_their_worst_word():
    words = make_words([Span(0, 2, "PER")], [])
    places = rank_by_words(words, torch.tensor([0.1, 0.9, 0.5, 0.2, 0.95, 0.0]))
    rows = [(row, place.start) for row, _, place in places]
    assert rows == [(1, 0), (0, 0), (0, 2), (0, 3), (1, 1)]
    assert places[1][1] == Span(0, 2, "PER")


def test_the_dictionary_takes_the_longest_form_and_its_most_frequent_type():
    source = TaggedWords(
        (("Ann", "Lee"), ("Ann",), ("Rome",), ("Rome",), ("Rome",)),
        [
            [Span(0, 2, "PER")],
            [Span(0, 1, "LOC")],
            [Span(0, 1, "PER")],
            [Span(0, 1, "LOC")],
            [Span(0, 1, "LOC")],
        ],
        ("LOC", "PER"),
        torch.arange(5),
    )
    spans = tag_by_dictionary(SENTENCES, source)
    assert spans == [[Span(0, 2, "PER")], [Span(1, 2, "LOC")]]
