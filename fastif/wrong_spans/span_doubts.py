"""Doubtful spans: given ones with their most probable alternative, and those that may be missed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.tokens import Span
from fastif.tokens.span_comparison import DifferenceKind
from fastif.wrong_spans.surface_index import OTHER_WORDS, OUTSIDE, SurfaceIndex
from fastif.wrong_spans.tag_chain import TagChain

MIN_MISSED = 0.02
"""Smallest probability of a span outside of all given ones that is a candidate."""
MAX_LENGTH = 12
"""Largest number of words of a span that is suggested."""
TINY = 1e-6
NUM_SIGNED = 5
"""Number of first features that are larger with more doubt."""


@dataclass(frozen=True)
class SpanDoubt:
    """Given span that may be wrong, or a span that may be missed.

    Attributes:
        sentence: Position of the sentence.
        kind: Most probable kind of error.
        given: Given span; None for a missed one.
        suggested: Most probable span in its place; None for a spurious one.
        features: Evidence, see `_make_features`.
        probability: Probability that the annotation is wrong there; NaN before calibration.
    """

    sentence: int
    kind: DifferenceKind
    given: Span | None
    suggested: Span | None
    features: tuple[float, ...]
    probability: float = float("nan")

    @property
    def place(self) -> Span:
        """Words that are in doubt: those of the given span, else of the suggested one."""
        span = self.given or self.suggested
        assert span is not None  # one of them is there
        return span


@dataclass(frozen=True, eq=False)
class SentenceSpans:
    """Marginal probabilities of the spans of one sentence.

    Attributes:
        row: Position of the sentence.
        chain: Chain of its tags.
        probabilities: Probability of each start, length and type, [t l k].
        log_probabilities: Log probability of the tags of each word by the head, [t c].
        kinds: Types of the spans.
    """

    row: int
    chain: TagChain
    probabilities: Float[Tensor, "t l k"]
    log_probabilities: Float[Tensor, "t c"]
    kinds: list[str]

    def get_probability(self, span: Span) -> float:
        """Return the probability of a span; 0 if it is longer than those computed."""
        length = len(span)
        if length > self.probabilities.shape[1] or span.kind not in self.kinds:
            return 0.0
        return float(self.probabilities[span.start, length - 1, self.kinds.index(span.kind)])

    def list_probable(self, least: float) -> list[tuple[float, Span]]:
        """List the spans of at least this probability, the most probable first."""
        places: list[list[int]] = (self.probabilities >= least).nonzero().tolist()
        rows = [
            (float(self.probabilities[s, n, k]), Span(s, s + n + 1, self.kinds[k]))
            for s, n, k in places
        ]
        return sorted(rows, key=lambda row: (-row[0], row[1]))


def list_doubts(
    sentence: SentenceSpans, given: Sequence[Span], index: SurfaceIndex
) -> Iterator[SpanDoubt]:
    """List a doubt for every given span of a sentence, and for every span that may be missed."""
    probable = sentence.list_probable(TINY)
    for span in given:
        yield _doubt_given(sentence, span, probable, index)
    taken = list(given)
    candidates = [row for row in probable if row[0] >= MIN_MISSED]
    candidates += list(_list_known_forms(sentence, given, index))
    for _, span in candidates:
        if not any(map(span.overlaps, taken)):
            taken.append(span)
            yield _doubt_missed(sentence, span, index)


def _doubt_given(
    sentence: SentenceSpans,
    span: Span,
    probable: Sequence[tuple[float, Span]],
    index: SurfaceIndex,
) -> SpanDoubt:
    """Return the doubt of a given span; its kind is that of most probability."""
    masses = {"spurious": sentence.chain.compute_outside(span.start, span.end)}
    suggestions: dict[str, Span | None] = {"spurious": None}
    for probability, other in probable:
        if other == span or not other.overlaps(span):
            continue
        kind = "boundary" if other.kind == span.kind else "type"
        masses[kind] = masses.get(kind, 0.0) + probability
        suggestions.setdefault(kind, other)  # the most probable one comes first
    counts = index.count_annotations(sentence.row, span)
    _add_consistency(masses, suggestions, span, counts, sentence.get_probability(span))
    kind = max(masses, key=lambda name: masses[name])
    features = _make_features(sentence, span, masses, counts, span.kind or "span")
    return SpanDoubt(sentence.row, _as_kind(kind), span, suggestions[kind], features)


def _as_kind(kind: str) -> DifferenceKind:
    return next(name for name in get_args(DifferenceKind) if name == kind)


def _add_consistency(
    masses: dict[str, float],
    suggestions: dict[str, Span | None],
    span: Span,
    counts: Mapping[str, float],
    probability: float,
) -> None:
    """Suggest the type that the form mostly has elsewhere, where the chain does not know it."""
    kinds = {kind: c for kind, c in counts.items() if kind not in (OUTSIDE, OTHER_WORDS, "span")}
    total = sum(counts.values())
    if not kinds or total <= 0:
        return
    common = max(kinds, key=lambda kind: kinds[kind])
    share = kinds[common] / (total + 1)
    if common != span.kind and share > max(masses.get("type", 0.0), probability, 0.5):
        masses["type"] = share
        suggestions["type"] = Span(span.start, span.end, common)


def _doubt_missed(sentence: SentenceSpans, span: Span, index: SurfaceIndex) -> SpanDoubt:
    counts = index.count_annotations(sentence.row, span)
    masses, suggestions = {"missed": sentence.get_probability(span)}, {}
    _add_consistency({}, suggestions, span, counts, masses["missed"])
    span = suggestions.get("type", span)
    features = _make_features(sentence, span, masses, counts, OUTSIDE)
    return SpanDoubt(sentence.row, "missed", None, span, features)


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


def _make_features(
    sentence: SentenceSpans,
    span: Span,
    masses: Mapping[str, float],
    counts: Mapping[str, float],
    own: str,
) -> tuple[float, ...]:
    """Return the evidence that an annotation is wrong.

    The first ones, `NUM_SIGNED`, are larger with more doubt: log odds of the best alternative by
    the chain, of all others against the given annotation, and of other annotations of the same form
    elsewhere; largest loss of a given tag by the head, and its largest margin below the best tag.
    The others are the logs of the number of occurrences elsewhere and of words.
    """
    missed = own == OUTSIDE
    outside = sentence.chain.compute_outside(span.start, span.end)
    kept = outside if missed else sentence.get_probability(span)
    same = counts.get(own, 0.0)
    total = sum(counts.values())
    losses, losses_of_best = _compute_losses(sentence, span, missed)
    return (
        _logit(max(masses.values())),
        -_logit(kept),
        _log((total - same + 0.3) / (same + 0.3)),
        float(losses.max()),
        float((losses - losses_of_best).max()),
        _log(1 + total),
        _log(len(span)),
    )


def _compute_losses(
    sentence: SentenceSpans, span: Span, missed: bool
) -> tuple[Float[Tensor, " t"], Float[Tensor, " t"]]:
    """Return the losses of the given tags of a span's words by the head, and of the best tags."""
    rows = sentence.log_probabilities[span.start : span.end]
    tags = torch.zeros(len(span), dtype=torch.long)
    if not missed:
        tags += 2 + 2 * sentence.kinds.index(span.kind)
        tags[0] -= 1
    return -rows.gather(1, tags[:, None])[:, 0], -rows.amax(1)


def _logit(probability: float) -> float:
    clipped = min(max(probability, TINY), 1 - TINY)
    return _log(clipped / (1 - clipped))


def _log(value: float | int) -> float:
    return math.log(max(value, TINY))
