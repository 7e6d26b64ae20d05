"""Evidence of each kind of error: of given spans, and of those that may be missed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fastif.tokens import Span
from fastif.tokens.span_comparison import DifferenceKind
from fastif.wrong_spans.sentence_spans import LEAST, SentenceSpans
from fastif.wrong_spans.surface_index import OTHER_WORDS, OUTSIDE, SurfaceIndex

MIN_MISSED, MIN_SHARE = 0.005, 0.1
"""A missed span has at least this probability, or this part of the given spans of each word."""
MAX_LENGTH = 12
"""Largest number of words of a span that is suggested."""
GIVEN_KINDS: tuple[DifferenceKind, ...] = ("spurious", "type", "boundary")
MISSED_KINDS: tuple[DifferenceKind, ...] = ("missed",)
NUM_COMMON = 3
"""Number of first features that are larger with more doubt of any kind."""


@dataclass(frozen=True)
class SpanEvidence:
    """Evidence of the errors that a given span may have, or that a span is missed.

    Attributes:
        sentence: Position of the sentence.
        given: Given span; None for one that may be missed.
        suggestions: Most probable span in its place by the kind of the error; None for no span.
        features: Evidence, see `list_signs`.
    """

    sentence: int
    given: Span | None
    suggestions: Mapping[DifferenceKind, Span | None]
    features: tuple[float, ...]

    @property
    def kinds(self) -> tuple[DifferenceKind, ...]:
        """Kinds of errors that are compared."""
        return MISSED_KINDS if self.given is None else GIVEN_KINDS


def list_signs(kinds: Sequence[DifferenceKind]) -> list[list[bool]]:
    """List which features of a span never count against an error of each kind.

    Features are the log odds against the annotation by the chain; the largest loss of a given tag
    by the head, and its largest margin below the best tag; then for each kind the log odds of its
    spans by the chain and the log ratio of such annotations of the same words elsewhere; last the
    logs of the number of occurrences elsewhere and of words.
    """
    return [
        [
            *[True] * NUM_COMMON,
            *[own == kind for own in kinds for _ in range(2)],
            *[False] * 2,
        ]
        for kind in kinds
    ]


def list_evidence(
    sentence: SentenceSpans, given: Sequence[Span], index: SurfaceIndex
) -> Iterator[SpanEvidence]:
    """List the evidence of every given span of a sentence, and every span that may be missed."""
    for span in given:
        yield _weigh_given(sentence, span, index)
    taken = list(given)
    for span in _list_candidates(sentence, given, index):
        if not any(map(span.overlaps, taken)):
            taken.append(span)
            yield _weigh_missed(sentence, span, index)


def _list_candidates(
    sentence: SentenceSpans, given: Sequence[Span], index: SurfaceIndex
) -> Iterator[Span]:
    """Iterate over spans that may be missed, and the most probable one of every sentence.

    Without any improbable ones, nothing would tell missed spans from others.
    """
    least = min(MIN_MISSED, MIN_SHARE * index.words.share)
    free = [row for row in sentence.probable if not any(map(row[1].overlaps, given))]
    for number, (probability, span) in enumerate(free):
        if probability >= least or not number:
            yield span
    yield from (span for _, span in _list_known_forms(sentence, given, index))


def _weigh_given(sentence: SentenceSpans, span: Span, index: SurfaceIndex) -> SpanEvidence:
    masses = dict.fromkeys(GIVEN_KINDS, 0.0)
    masses["spurious"] = sentence.chain.compute_outside(span.start, span.end)
    suggestions: dict[DifferenceKind, Span | None] = {"spurious": None}
    for probability, other in sentence.probable:
        if other == span or not other.overlaps(span):
            continue
        kind = "boundary" if other.kind == span.kind else "type"
        masses[kind] += probability
        suggestions.setdefault(kind, other)  # the most probable one comes first
    counts = index.count_annotations(sentence.row, span)
    same, total = counts.get(span.kind or "span", 0.0), sum(counts.values())
    elsewhere: dict[DifferenceKind, float] = {
        "spurious": counts.get(OUTSIDE, 0.0),
        "boundary": counts.get(OTHER_WORDS, 0.0),
    }
    elsewhere["type"] = total - same - sum(elsewhere.values())
    common = _find_common_type(counts)
    if common is not None and common != span.kind and elsewhere["type"] > same:
        suggestions["type"] = Span(span.start, span.end, common)
    features = [*_list_common(sentence, span, sentence.get_probability(span), outside=False)]
    for kind in GIVEN_KINDS:
        features += [_logit(masses[kind]), _log((elsewhere[kind] + 0.3) / (same + 0.3))]
    return SpanEvidence(
        sentence.row, span, suggestions, (*features, _log(1 + total), _log(len(span)))
    )


def _weigh_missed(sentence: SentenceSpans, span: Span, index: SurfaceIndex) -> SpanEvidence:
    counts = index.count_annotations(sentence.row, span)
    same, total = counts.get(OUTSIDE, 0.0), sum(counts.values())
    outside = sentence.chain.compute_outside(span.start, span.end)
    common = _find_common_type(counts)
    suggested = span
    if common is not None and counts[common] > sum(counts.values()) / 2:
        suggested = Span(span.start, span.end, common)
    features = (
        *_list_common(sentence, span, outside, outside=True),
        _logit(sentence.get_probability(span)),
        _log((total - same + 0.3) / (same + 0.3)),
        _log(1 + total),
        _log(len(span)),
    )
    return SpanEvidence(sentence.row, None, {"missed": suggested}, features)


def _find_common_type(counts: Mapping[str, float]) -> str | None:
    """Return the type that the form mostly has elsewhere."""
    kinds = {kind: c for kind, c in counts.items() if kind not in (OUTSIDE, OTHER_WORDS, "span")}
    return max(kinds, key=lambda kind: kinds[kind]) if kinds else None


def _list_common(
    sentence: SentenceSpans, span: Span, kept: float, *, outside: bool
) -> tuple[float, float, float]:
    """Return the evidence that counts for all kinds, see `list_signs`."""
    losses = sentence.compute_losses(span, outside=outside)
    margins = losses[:, 0] - losses[:, 1]
    return -_logit(kept), float(losses[:, 0].max()), float(margins.max())


def _list_known_forms(
    sentence: SentenceSpans, given: Sequence[Span], index: SurfaceIndex
) -> Iterator[tuple[float, Span]]:
    """Iterate over forms of given spans elsewhere, the longest first, with their common type."""
    words = [word.lower() for word in index.words.sentences[sentence.row]]
    longest = min(index.words.longest, MAX_LENGTH)
    for length in range(longest, 0, -1):
        for start in range(len(words) - length + 1):
            form = tuple(words[start : start + length])
            place = Span(start, start + length, "")
            if form not in index.occurrences or any(map(place.overlaps, given)):
                continue
            counts = index.count_annotations(sentence.row, place)
            kinds = {k: c for k, c in counts.items() if k not in (OUTSIDE, OTHER_WORDS)}
            if kinds and sum(kinds.values()) > counts[OUTSIDE]:
                common = max(kinds, key=lambda kind: kinds[kind])
                kind = "" if common == "span" else common
                yield 0.0, Span(start, start + length, kind)


def _logit(probability: float) -> float:
    clipped = min(max(probability, LEAST), 1 - LEAST)
    return _log(clipped / (1 - clipped))


def _log(value: float | int) -> float:
    return math.log(max(value, LEAST))
