"""Marginal probabilities of the spans of a sentence."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.tokens import Span
from fastif.wrong_spans.tag_chain import TagChain

LEAST = 1e-6
"""Smallest probability of a span that is listed."""


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

    @cached_property
    def probable(self) -> list[tuple[float, Span]]:
        """Spans of at least the probability `LEAST`, the most probable first."""
        places = (self.probabilities >= LEAST).nonzero()
        values: list[float] = self.probabilities[tuple(places.T)].tolist()
        rows = [
            (value, Span(start, start + size + 1, self.kinds[kind]))
            for value, (start, size, kind) in zip(values, places.tolist(), strict=True)
        ]
        return sorted(rows, key=lambda row: (-row[0], row[1]))

    def compute_losses(self, span: Span, *, outside: bool) -> Float[Tensor, "t 2"]:
        """Return the loss of each word's tag by the head, and that of the best tag.

        Args:
            span: Words of the sentence, with the type of their tags.
            outside: Whether the tags are those of words outside of all spans.
        """
        rows = self.log_probabilities[span.start : span.end]
        tags = torch.zeros(len(span), dtype=torch.long)
        if not outside:
            tags += 2 + 2 * self.kinds.index(span.kind)
            tags[0] -= 1
        return -torch.stack([rows.gather(1, tags[:, None])[:, 0], rows.amax(1)], 1)
