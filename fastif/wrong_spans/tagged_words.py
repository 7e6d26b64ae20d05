"""Sentences with spans as classes of words, for heads and chains."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.tokens import Span


@dataclass(frozen=True, eq=False)
class TaggedWords:
    """Sentences with their given spans.

    Attributes:
        sentences: Words of each sentence.
        spans: Given spans of each sentence.
        kinds: Types of the spans.
        groups: Group of each sentence; sentences of a group, such as duplicates, share a fold.
    """

    sentences: Sequence[Sequence[str]]
    spans: Sequence[Sequence[Span]]
    kinds: Sequence[str]
    groups: Int[Tensor, " n"]

    @property
    def classes(self) -> int:
        """Number of BIO tags."""
        return 1 + 2 * len(self.kinds)

    @property
    def longest(self) -> int:
        """Number of words of the longest given span."""
        return max((len(span) for spans in self.spans for span in spans), default=1)

    @cached_property
    def share(self) -> float:
        """Number of given spans for each word."""
        return sum(map(len, self.spans)) / max(self.starts[-1], 1)

    @cached_property
    def starts(self) -> list[int]:
        """Position of the first word of each sentence among all words, and the number of words."""
        return [0, *torch.tensor([len(words) for words in self.sentences]).cumsum(0).tolist()]

    @cached_property
    def tags(self) -> Int[Tensor, " w"]:
        """BIO class of every word: 0 outside, 1 + 2k begins and 2 + 2k continues type k."""
        numbers = {kind: number for number, kind in enumerate(self.kinds)}
        tags = torch.zeros(self.starts[-1], dtype=torch.long)
        for start, spans in zip(self.starts, self.spans, strict=False):
            for span in spans:
                first = 1 + 2 * numbers[span.kind]
                tags[start + span.start : start + span.end] = first + 1
                tags[start + span.start] = first
        return tags

    @property
    def word_groups(self) -> Int[Tensor, " w"]:
        """Group of every word."""
        lengths = torch.tensor(self.starts).diff()
        return self.groups.repeat_interleave(lengths)

    def split(self, values: Float[Tensor, "w *c"] | Int[Tensor, "w *c"]) -> Sequence[Tensor]:
        """Split values of all words into those of each sentence."""
        return values.split(torch.tensor(self.starts).diff().tolist())

    def with_spans(self, spans: Sequence[Sequence[Span]]) -> "TaggedWords":
        """Return the same sentences with other spans."""
        return TaggedWords(self.sentences, spans, self.kinds, self.groups)


def group_sentences(
    sentences: Sequence[Sequence[str]], documents: Sequence[str | None]
) -> Int[Tensor, " n"]:
    """Group sentences of a document, and those with equal words in any documents.

    Documents with an equal sentence are one group, so that no copy of it is in another fold. A
    sentence of fewer than five words, such as a score or a heading, joins no documents.

    Examples:
        >>> group_sentences([["a"], ["b"], ["a"]], [None, None, None]).tolist()
        [0, 1, 0]
    """
    parent = list(range(len(sentences)))

    def find(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[tuple, int] = {}
    for place, (words, document) in enumerate(zip(sentences, documents, strict=True)):
        keys: list[tuple] = [] if document is None else [("document", document)]
        if document is None or len(words) >= MIN_JOINING_WORDS:
            keys.append(("words", *(word.lower() for word in words)))
        for key in keys:
            parent[find(place)] = find(first.setdefault(key, place))
    return torch.tensor([find(place) for place in range(len(sentences))])


MIN_JOINING_WORDS = 5
"""Fewest words of a sentence that joins the documents in which it occurs."""
