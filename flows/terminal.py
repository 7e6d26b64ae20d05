"""The terminal as a place that prints, and never obeys, what a table holds."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_BIDIRECTIONAL = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_INERT = {
    **_PICTURES,
    0x7F: 0x2421,
    **dict.fromkeys((*range(0x80, 0xA0), *_BIDIRECTIONAL), 0xFFFD),
}
"""Control characters by their pictures; those of eight bits and of direction have none."""


def inert_text(text: str) -> str:
    r"""A text whose control characters are shown instead of carried out.

    >>> inert_text("a\x1b[2Jb\tc")
    'a␛[2Jb\tc'
    """
    return text.translate(_INERT)


class InertConsole(Console):
    """A console on which ids, labels and texts of a user's table move no cursor and ring no bell.

    Rich's own styles and controls are added after rendering and stay as they are.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Segments whose text is inert."""
        for segment in super().render(renderable, options):
            safe = segment.text if segment.control else inert_text(segment.text)
            yield segment if safe == segment.text else segment._replace(text=safe)
