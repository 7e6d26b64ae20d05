"""Search for wrong spans in synthetic sentences with known truth."""

from functools import cache

import pytest
import torch
from synthetic_entities import make_sentences

from fastif import InputError
from fastif.tokens import Span, compare_spans
from fastif.wrong_spans.error_model import fit_error_model
from fastif.wrong_spans.injected_errors import KINDS, inject_errors
from fastif.wrong_spans.span_search import SpanSearch
from fastif.wrong_spans.surface_index import OUTSIDE, SurfaceIndex
from fastif.wrong_spans.tagged_words import TaggedWords, group_sentences
from fastif.wrong_spans.word_features import get_shape, make_word_features

TYPES = ("LOC", "ORG", "PER")


@cache
def make_words(count=240):
    sentences, spans = make_sentences(count)
    return TaggedWords(sentences, spans, TYPES, torch.arange(count))


@cache
def search_injected():
    """True sentences, those with injected errors, and the doubts."""
    words = make_words()
    injected = inject_errors(words, 0.04, seed=11)
    return words, injected, SpanSearch()(injected)


def list_errors(words, injected):
    return [
        (row, difference)
        for row, (given, true) in enumerate(zip(injected.spans, words.spans, strict=True))
        for difference in compare_spans(given, true)
    ]


def test_injected_errors_come_first():
    """The injected errors, of every kind, are most of the first doubts."""
    words, injected, doubts = search_injected()
    errors = {(row, d.given or d.other) for row, d in list_errors(words, injected)}
    first = {(doubt.sentence, doubt.place) for doubt in doubts[: len(errors)]}
    assert len(first & errors) >= 0.7 * len(errors)


def test_probabilities_are_calibrated():
    words, injected, doubts = search_injected()
    places = {(row, d.given or d.other) for row, d in list_errors(words, injected)}
    expected = sum(doubt.probability for doubt in doubts)
    assert expected == pytest.approx(len(places), rel=0.35)
    likely = [doubt for doubt in doubts if doubt.probability > 0.5]
    wrong = sum((doubt.sentence, doubt.place) in places for doubt in likely)
    assert wrong >= 0.6 * len(likely) > 0


def test_kinds_and_suggestions_are_those_of_the_truth():
    words, injected, doubts = search_injected()
    errors = {(row, d.given or d.other): d for row, d in list_errors(words, injected)}
    likely = [
        (doubt, errors[doubt.sentence, doubt.place])
        for doubt in doubts
        if doubt.probability > 0.5 and (doubt.sentence, doubt.place) in errors
    ]
    assert {error.kind for _, error in likely} == set(KINDS)
    right = sum(doubt.kind == error.kind for doubt, error in likely)
    suggested = sum(doubt.suggested == error.other for doubt, error in likely)
    assert right >= 0.8 * len(likely)
    assert suggested >= 0.7 * len(likely)


def test_every_given_span_has_one_doubt():
    _, injected, doubts = search_injected()
    given = sorted((doubt.sentence, doubt.given) for doubt in doubts if doubt.given is not None)
    assert given == sorted((row, span) for row, own in enumerate(injected.spans) for span in own)
    assert all(0 <= doubt.probability <= 1 for doubt in doubts)
    for doubt in doubts:
        if doubt.given is None:
            assert not any(map(doubt.place.overlaps, injected.spans[doubt.sentence]))


def test_the_order_of_sentences_changes_nothing():
    words = make_words(60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0)).tolist()
    moved = TaggedWords(
        [words.sentences[i] for i in order],
        [words.spans[i] for i in order],
        TYPES,
        torch.tensor(order),
    )
    index, other = SurfaceIndex(words, None), SurfaceIndex(moved, None)
    for place, row in enumerate(order):
        for span in words.spans[row]:
            assert index.count_annotations(row, span) == pytest.approx(
                other.count_annotations(place, span)
            )


def test_probabilities_of_the_user_replace_the_heads():
    """With the truth as probabilities nearly all injected errors come first."""
    words = make_words()
    injected = inject_errors(words, 0.04, seed=11)
    truth = torch.full((len(words.tags), words.classes), 0.01, dtype=torch.float64)
    truth.scatter_(1, words.tags[:, None], 1 - 0.01 * (words.classes - 1))
    doubts = SpanSearch(log_probabilities=truth.log())(injected)
    errors = {(row, d.given or d.other) for row, d in list_errors(words, injected)}
    first = {(doubt.sentence, doubt.place) for doubt in doubts[: len(errors)]}
    assert len(first & errors) >= 0.95 * len(errors)


def test_injected_errors_are_of_their_kind():
    words = make_words()
    for kind in KINDS:
        injected = inject_errors(words, 0.1, seed=3, kinds=[kind])
        kinds = [difference.kind for _, difference in list_errors(words, injected)]
        assert len(kinds) > 20
        assert kinds.count(kind) >= 0.95 * len(kinds)
    assert inject_errors(words, 0.0, seed=3).spans == words.spans


def test_equal_sentences_and_those_of_a_document_share_a_group():
    long = ["a", "b", "c", "d", "e"]
    sentences = [long, ["x"], long, ["x"], ["A", "B", "C", "D", "E"], ["y"]]
    groups = group_sentences(sentences, ["1", "1", "2", "3", None, None]).tolist()
    assert groups[0] == groups[1] == groups[2] == groups[4]
    assert groups[3] not in groups[:3]  # a short heading joins no documents
    assert len(set(groups)) == 3


def test_the_annotations_of_a_form_are_those_of_other_sentences():
    sentences = [["in", "Paris"], ["to", "paris"], ["paris", "runs"], ["in", "Paris"]]
    spans = [[Span(1, 2, "LOC")], [Span(1, 2, "LOC")], [], [Span(0, 2, "LOC")]]
    words = TaggedWords(sentences, spans, ("LOC",), torch.tensor([0, 1, 2, 3]))
    counts = SurfaceIndex(words, None).count_annotations(0, Span(1, 2, "LOC"))
    assert counts == {"LOC": 1.0, OUTSIDE: 1.0, "\0": 1.0}


def test_features_of_words_use_no_tags():
    features = make_word_features([["Anna", "runs"], ["Anna", "runs"], []])
    assert features.shape[0] == 4
    assert get_shape("McDonald's-12") == "XxXx'x-d"
    norms = features.multiply(features).sum(1)
    assert norms == pytest.approx(1)


def draw_annotations(count, rates, generator):
    """Kinds of annotations, and evidence of which each feature is larger by 3 with one kind."""
    kinds = torch.multinomial(
        torch.tensor([1 - sum(rates), *rates]), count, True, generator=generator
    )
    evidence = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    evidence[kinds == 1, 0] += 3
    evidence[kinds == 2, 1] += 3
    return kinds, evidence


def test_rates_are_those_of_each_kind_where_one_is_alone():
    """The rates are distinguished from those of the injected errors, 0.1 of each kind."""
    generator = torch.Generator().manual_seed(0)
    before, evidence = draw_annotations(6000, [0.08, 0.0], generator)
    injected, shifted = draw_annotations(6000, [0.1, 0.1], generator)
    evidence = torch.where((injected > 0)[:, None], shifted, evidence)
    model = fit_error_model(evidence, injected, torch.eye(2, dtype=torch.bool), 200.0)
    assert float(model.rates[0]) == pytest.approx(0.08, abs=0.02)
    assert float(model.rates[1]) < 0.01
    probabilities = model.compute_probabilities(evidence)[injected == 0]
    wrong = before[injected == 0] == 1
    assert float(probabilities.sum()) == pytest.approx(float(wrong.sum()), rel=0.25)
    high = probabilities[:, 0] > 0.5
    assert float(wrong[high].double().mean()) == pytest.approx(
        float(probabilities[high, 0].mean()), abs=0.15
    )


def test_an_impossible_kind_has_no_probability():
    generator = torch.Generator().manual_seed(1)
    kinds, evidence = draw_annotations(500, [0.1, 0.1], generator)
    model = fit_error_model(evidence, kinds, torch.eye(2, dtype=torch.bool), 200.0)
    possible = torch.tensor([[True, False]]).expand(500, 2)
    values = model.compute_probabilities(evidence, possible)
    assert not values[:, 1].any()
    # The rest is a Bernoulli of the odds that it had before.
    both = model.compute_probabilities(evidence)
    torch.testing.assert_close(values[:, 0], both[:, 0] / (1 - both[:, 1]))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_sum_of_probabilities_is_the_number_of_errors_of_one_kind(kind):
    words = make_words()
    injected = inject_errors(words, 0.08, seed=21, kinds=[kind])
    errors = list_errors(words, injected)
    doubts = SpanSearch()(injected)
    own = sum(doubt.probability for doubt in doubts if doubt.kind == kind)
    total = sum(doubt.probability for doubt in doubts)
    # All missed spans differ from all other words in the same way, so the prior sets their rate.
    assert own >= (0.2 if kind == "missed" else 0.5) * len(errors)
    assert own >= 0.9 * total
    assert total <= 1.3 * len(errors)
    places = {(row, d.given or d.other) for row, d in errors}
    first = {(doubt.sentence, doubt.place) for doubt in doubts[: len(errors)]}
    assert len(first & places) >= 0.7 * len(errors)


def test_one_group_is_refused():
    sentences, spans = make_sentences(30)
    words = TaggedWords(sentences, spans, TYPES, torch.zeros(30, dtype=torch.long))
    with pytest.raises(InputError, match="distinct"):
        SpanSearch()(words)


def test_a_single_type_and_a_type_seen_once_are_searched():
    sentences, spans = make_sentences(60)
    for kinds in ({"PER": "PER", "LOC": "PER", "ORG": "PER"}, {}):
        renamed = [[Span(s.start, s.end, kinds.get(s.kind, s.kind)) for s in own] for own in spans]
        if not kinds:
            first = next(i for i, own in enumerate(renamed) if own)
            renamed[first][0] = Span(renamed[first][0].start, renamed[first][0].end, "RARE")
        types = tuple(sorted({span.kind for own in renamed for span in own}))
        doubts = SpanSearch()(TaggedWords(sentences, renamed, types, torch.arange(60)))
        assert sum(doubt.given is not None for doubt in doubts) == sum(map(len, renamed))
        if len(types) == 1:
            assert all(doubt.kind != "type" for doubt in doubts)
