"""Annotations of a surface form in other sentences, weighted by the similarity of context."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.tokens import Span
from fastif.wrong_spans.tagged_words import TaggedWords

OUTSIDE, OTHER_WORDS = "", "\0"
"""Annotation of an occurrence without a span, and of one whose span has other words."""
SHARPNESS = 4.0
"""Decay of the weight of an occurrence with the cosine distance of its context."""
MAX_OCCURRENCES = 100
"""Largest number of occurrences of a form that are compared."""

Occurrence = tuple[int, int]
"""Sentence, and position of the first word in it."""


@dataclass(frozen=True, eq=False)
class SurfaceIndex:
    """Occurrences of the surface forms of all given spans.

    Attributes:
        words: Sentences with their given spans.
        embeddings: Embedding of every word, of norm 1; None to weight all occurrences equally.
        occurrences: Occurrences of each form, in lower case.
    """

    words: TaggedWords
    embeddings: Float[Tensor, "w d"] | None
    occurrences: dict[tuple[str, ...], list[Occurrence]] = field(init=False)

    def __post_init__(self) -> None:
        lowered = [[word.lower() for word in words] for words in self.words.sentences]
        forms = {
            tuple(lowered[row][span.start : span.end])
            for row, spans in enumerate(self.words.spans)
            for span in spans
        }
        lengths = sorted({len(form) for form in forms})
        occurrences: dict[tuple[str, ...], list[Occurrence]] = defaultdict(list)
        for row, words in enumerate(lowered):
            for place in range(len(words)):
                for length in lengths:
                    form = tuple(words[place : place + length])
                    if len(form) == length and form in forms:
                        occurrences[form].append((row, place))
        object.__setattr__(self, "occurrences", occurrences)

    def get_form(self, row: int, span: Span) -> tuple[str, ...]:
        """Return the surface form of a span."""
        return tuple(word.lower() for word in self.words.sentences[row][span.start : span.end])

    def count_annotations(self, row: int, span: Span) -> Mapping[str, float]:
        """Weigh the annotations of the same form in other sentences.

        Returns:
            Total weight by the type of the spans with exactly these words, `OUTSIDE` and
            `OTHER_WORDS`; the weight of an occurrence is between 0 and 1.
        """
        form = self.get_form(row, span)
        others = [place for place in self.occurrences.get(form, ()) if place[0] != row]
        others = others[:: 1 + len(others) // MAX_OCCURRENCES]
        weights = self._weigh((row, span.start), others, len(form))
        totals: dict[str, float] = defaultdict(float)
        for (other, place), weight in zip(others, weights, strict=True):
            totals[self.read_annotation(other, place, len(form))] += weight
        return totals

    def read_annotation(self, row: int, place: int, length: int) -> str:
        """Return how an occurrence is annotated."""
        for span in self.words.spans[row]:
            if (span.start, span.end) == (place, place + length):
                return span.kind or "span"
            if span.start < place + length and place < span.end:
                return OTHER_WORDS
        return OUTSIDE

    def _weigh(
        self, occurrence: Occurrence, others: Sequence[Occurrence], length: int
    ) -> Sequence[float]:
        if self.embeddings is None or not others:
            return [1.0] * len(others)
        own, rest = self._embed([occurrence], length), self._embed(others, length)
        return (SHARPNESS * (rest @ own[0] - 1)).exp().tolist()

    def _embed(self, occurrences: Sequence[Occurrence], length: int) -> Float[Tensor, "m d"]:
        assert self.embeddings is not None
        starts = torch.tensor([self.words.starts[row] + place for row, place in occurrences])
        places = starts[:, None] + torch.arange(length)
        return torch.nn.functional.normalize(self.embeddings[places].mean(1), dim=1)
