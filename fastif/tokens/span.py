"""Labelled span: consecutive words of a sentence with one type."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Span:
    """Labelled span of a sentence: the words from `start` up to, but without, `end`.

    Attributes:
        start: Position of the first word.
        end: Position after the last word.
        kind: Type of the span, such as PER; empty where a scheme has no types.

    Examples:
        >>> Span(1, 3, "PER").overlaps(Span(2, 4, "LOC"))
        True
    """

    start: int
    end: int
    kind: str

    def __len__(self) -> int:
        return self.end - self.start

    def overlaps(self, other: "Span") -> bool:
        """Whether the spans share a word."""
        return self.start < other.end and other.start < self.end

    def has_extent_of(self, other: "Span") -> bool:
        """Whether both spans hold the same words."""
        return (self.start, self.end) == (other.start, other.end)
