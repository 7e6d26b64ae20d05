"""Doubtful spans: given ones that may be wrong, and those that may be missed."""

from dataclasses import dataclass

from fastif.tokens import Span
from fastif.tokens.span_comparison import DifferenceKind


@dataclass(frozen=True)
class SpanDoubt:
    """Given span that may be wrong, or a span that may be missed.

    Attributes:
        sentence: Position of the sentence.
        kind: Most probable kind of error.
        given: Given span; None for a missed one.
        suggested: Most probable span in its place; None for a spurious one.
        probability: Probability that the annotation is wrong there.
    """

    sentence: int
    kind: DifferenceKind
    given: Span | None
    suggested: Span | None
    probability: float

    @property
    def place(self) -> Span:
        """Words that are in doubt: those of the given span, else of the suggested one."""
        span = self.given or self.suggested
        assert span is not None  # one of them is there
        return span
