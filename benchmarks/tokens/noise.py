"""Noise in the spans of tagged sentences: four injected kinds, and a dictionary's annotations."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from fastif.tokens import Span
from fastif.wrong_spans.injected_errors import inject_errors
from fastif.wrong_spans.tagged_words import TaggedWords

INJECTED = ("missed", "spurious", "type", "boundary")
AUTOMATIC = "automatic"
NOISES = (*INJECTED, AUTOMATIC)
CORRECTIONS = "corrections"
"""Errors that annotators found later: the original tags against the corrected ones."""
RATE = 0.08
"""Share of the spans with an injected error."""


def make_noisy(words: TaggedWords, noise: str, source: TaggedWords, seed: int) -> TaggedWords:
    """Return sentences with noise of one kind.

    Args:
        words: Sentences with their true spans.
        noise: One of `NOISES`.
        source: Other sentences, from whose spans the dictionary is made.
        seed: Random seed.
    """
    if noise == AUTOMATIC:
        return words.with_spans(tag_by_dictionary(words.sentences, source))
    return inject_errors(words, RATE, seed, [kind for kind in INJECTED if kind == noise])


def tag_by_dictionary(sentences: Sequence[Sequence[str]], source: TaggedWords) -> list[list[Span]]:
    """Tag the longest known forms, from left to right, with their most frequent type."""
    kinds: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for words, spans in zip(source.sentences, source.spans, strict=True):
        for span in spans:
            kinds[tuple(words[span.start : span.end])][span.kind] += 1
    known = {form: counts.most_common(1)[0][0] for form, counts in kinds.items()}
    longest = max(map(len, known))
    return [_tag_sentence(words, known, longest) for words in sentences]


def _tag_sentence(
    words: Sequence[str], known: dict[tuple[str, ...], str], longest: int
) -> list[Span]:
    spans, start = [], 0
    while start < len(words):
        ends = range(min(start + longest, len(words)), start, -1)
        end = next((end for end in ends if tuple(words[start:end]) in known), None)
        if end is not None:
            spans.append(Span(start, end, known[tuple(words[start:end])]))
        start = end or start + 1
    return spans
