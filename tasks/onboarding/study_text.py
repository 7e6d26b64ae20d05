"""Text of a study file: one commented line a key, quoted for TOML."""

import json
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COLUMN, WIDTH = 40, 100
"""Column at which comments start, and width of a line."""
CHECK = "<- check"
"""Mark of a guess."""


@dataclass(frozen=True)
class Line:
    """Key of a study with its value.

    Attributes:
        key: Name of the key.
        value: Text, number, list or truth value.
        comment: Explanation, and when to change the value.
        alternatives: Other plausible values; the line is marked if there are any.
        doubt: Evidence against the value; the line is marked if there is any.
        is_active: Whether the line counts, or is commented out.
    """

    key: str
    value: object
    comment: str
    alternatives: tuple[object, ...] = ()
    doubt: str = ""
    is_active: bool = True

    def render(self) -> str:
        """Return the line, its comment aligned and continued on further lines."""
        comment = self.comment
        if self.alternatives or self.doubt:
            others = ", ".join(map(quote_toml, self.alternatives))
            parts = [f"or {others}" if others else "", self.doubt, comment]
            comment = f"{CHECK}: {'. '.join(filter(None, parts))}"
        pair = f"{'' if self.is_active else '# '}{self.key} = {quote_toml(self.value)}"
        return _attach_comment(pair, comment)


@dataclass(frozen=True)
class Part:
    """Section of a study file.

    Attributes:
        name: Name of the section; empty for the top of the file.
        comment: Explanation of the section.
        lines: Keys of the section.
        is_active: Whether the section counts, or is commented out.
    """

    name: str
    comment: str
    lines: Sequence[Line]
    is_active: bool = True

    def render(self) -> str:
        """Return the section, ended by an empty line."""
        head = []
        if self.name:
            mark = "" if self.is_active else "# "
            head = [_attach_comment(f"{mark}[{self.name}]", self.comment)]
        return "\n".join([*head, *(line.render() for line in self.lines)]) + "\n"


def render_study(head: Sequence[str], parts: Sequence[Part]) -> str:
    """Return the text of a study file.

    Args:
        head: Sentences at the top of the file, one a line.
        parts: Sections in order.
    """
    comments = "".join(f"# {line}\n" for line in head)
    return "\n".join([comments, *(part.render() for part in parts)])


def quote_toml(value: object) -> str:
    r"""Write a value as TOML does.

    >>> print(quote_toml("a\\b"), quote_toml(["ä", "x y"]), quote_toml(True), quote_toml(3e-4))
    "a\\b" ["ä", "x y"] true 0.0003
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(quote_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


def relate_path(path: Path, folder: Path) -> str:
    """Return a path relative to the folder of the study, with slashes; absolute if it is far away.

    >>> relate_path(Path("/a/data/x.csv"), Path("/a/studies")), relate_path(Path("/a"), Path("/a"))
    ('../data/x.csv', '.')
    """
    try:
        relative = Path(os.path.relpath(path.absolute(), folder.absolute()))
    except ValueError:  # another drive
        return path.absolute().as_posix()
    is_far = relative.parts[:3] == ("..", "..", "..")
    return path.absolute().as_posix() if is_far else relative.as_posix()


def _attach_comment(code: str, comment: str) -> str:
    if not comment:
        return code
    start = f"{code} ".ljust(COLUMN) if len(code) < COLUMN else f"{code}\n{' ' * COLUMN}"
    rows = textwrap.wrap(
        comment, WIDTH - COLUMN - 2, break_long_words=False, break_on_hyphens=False
    )
    margin = "\n" + " " * COLUMN
    return start + margin.join(f"# {row}" for row in rows)
