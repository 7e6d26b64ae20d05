"""Console that escapes control characters of the data, which could control the terminal."""

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
"""Replacements of control characters: their Unicode pictures, or the replacement character."""


def inert_text(text: str) -> str:
    r"""Replace control characters of a text by visible ones.

    >>> inert_text("a\x1b[2Jb\tc")
    'a␛[2Jb\tc'
    """
    return text.translate(_INERT)


class InertConsole(Console):
    """Console that escapes control characters in ids, labels and texts of the user's tables.

    Rich adds its own styles and controls after rendering; they are unaffected.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render segments with escaped text."""
        for segment in super().render(renderable, options):
            safe = segment.text if segment.control else inert_text(segment.text)
            yield segment if safe == segment.text else segment._replace(text=safe)
