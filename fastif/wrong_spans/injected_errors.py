"""Injected errors of spans, by which the error probability is calibrated."""

import random
from collections import Counter
from collections.abc import Sequence

from fastif.tokens import Span
from fastif.tokens.span_comparison import DifferenceKind
from fastif.wrong_spans.tagged_words import TaggedWords
from fastif.wrong_spans.word_features import get_shape

KINDS: tuple[DifferenceKind, ...] = ("missed", "spurious", "type", "boundary")


def inject_errors(
    words: TaggedWords, rate: float, seed: int, kinds: Sequence[DifferenceKind] = KINDS
) -> TaggedWords:
    """Inject errors of each kind in a share of the spans.

    Missed spans are removed, types are replaced by another one by their frequencies, a boundary
    moves by one word, and spurious spans are words outside of every span with a capital letter,
    where there are some, as many as spans are altered by each of the others.

    Args:
        words: Sentences with their given spans.
        rate: Share of the spans with an error of each kind.
        seed: Random seed.
        kinds: Kinds of errors to plant; "type" needs two types.

    Returns:
        The sentences with altered spans.
    """
    generator = random.Random(seed)
    frequencies = Counter(span.kind for spans in words.spans for span in spans)
    altered = []
    for sentence, spans in zip(words.sentences, words.spans, strict=True):
        rows = [
            _alter(span, spans, len(sentence), frequencies, rate, kinds, generator)
            for span in spans
        ]
        altered.append(sorted(span for span in rows if span is not None))
    if "spurious" in kinds:
        count = round(rate * sum(frequencies.values()))
        _add_spurious(words, altered, count, frequencies, generator)
    return words.with_spans(altered)


def _alter(
    span: Span,
    spans: Sequence[Span],
    length: int,
    frequencies: Counter[str],
    rate: float,
    kinds: Sequence[DifferenceKind],
    generator: random.Random,
) -> Span | None:
    """Return a span with an error of one kind, or unchanged; None for a missed one."""
    draw = generator.random()
    chosen = [kind for kind in kinds if kind != "spurious"]
    place = int(draw / rate) if rate else len(chosen)
    if place >= len(chosen):
        return span
    if chosen[place] == "missed":
        return None
    if chosen[place] == "type":
        others = {kind: count for kind, count in frequencies.items() if kind != span.kind}
        if not others:
            return span
        kind = generator.choices(list(others), list(others.values()))[0]
        return Span(span.start, span.end, kind)
    return _move_boundary(span, spans, length, generator)


def _move_boundary(
    span: Span, spans: Sequence[Span], length: int, generator: random.Random
) -> Span:
    """Return a span with one word more or less; unchanged if there is no room."""
    moves = [
        Span(span.start + first, span.end + last, span.kind)
        for first, last in ((-1, 0), (1, 0), (0, -1), (0, 1))
    ]
    others = [other for other in spans if other != span]
    # A boundary that takes a word of a neighbour would alter two spans.
    valid = [
        moved
        for moved in moves
        if 0 <= moved.start < moved.end <= length and not any(map(moved.overlaps, others))
    ]
    return generator.choice(valid) if valid else span


def _add_spurious(
    words: TaggedWords,
    spans: list[list[Span]],
    count: int,
    frequencies: Counter[str],
    generator: random.Random,
) -> None:
    """Add spans at random words outside of all spans, given and altered, in place."""
    free = [
        (row, place)
        for row, sentence in enumerate(words.sentences)
        for place in range(len(sentence))
        if not any(s.start <= place < s.end for s in (*words.spans[row], *spans[row]))
    ]
    capital = [pair for pair in free if get_shape(words.sentences[pair[0]][pair[1]])[0] == "X"]
    for number in range(count):
        pool = capital if capital and number % 2 == 0 else free
        if not pool:
            return
        row, place = generator.choice(pool)
        kind = generator.choices(list(frequencies), list(frequencies.values()))[0]
        span = Span(place, place + 1, kind)
        if not any(map(span.overlaps, spans[row])):
            spans[row] = sorted([*spans[row], span])
