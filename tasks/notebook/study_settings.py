"""Settings of a study file that a caller overrides, set in its text."""

import re
import tomllib
from collections.abc import Mapping

from tasks.onboarding.study_text import quote_toml

Settings = Mapping[tuple[str, str], object]


def override_settings(text: str, settings: Settings) -> str:
    r"""Set keys of a study file; all other keys are kept with their comments.

    Args:
        text: Study file.
        settings: Value of each key, by section and name.

    >>> text = "[curvature]\ndamping = 0.1 # larger\n   # is\nrows = 2"
    >>> print(override_settings(text, {("curvature", "damping"): 1}))
    [curvature]
    damping = 1
    rows = 2
    """
    for (section, key), value in settings.items():
        text = _set_key(text, section, key, f"{key} = {quote_toml(value)}")
        assert tomllib.loads(text)[section][key] is not None
    return text


def _set_key(text: str, section: str, key: str, line: str) -> str:
    lines = text.splitlines()
    heads = [i for i, row in enumerate(lines) if row.split("#")[0].strip() == f"[{section}]"]
    if not heads:
        return "\n".join([*lines, "", f"[{section}]", line, ""])
    start = heads[0] + 1
    ends = (i for i in range(start, len(lines)) if lines[i].startswith("["))
    end = next(ends, len(lines))
    rows = [i for i in range(start, end) if re.match(rf"{key}\s*=", lines[i])]
    first = last = rows[0] if rows else start
    if rows:  # its comment is continued on lines that begin with spaces
        last = next((i for i in range(first + 1, end) if not lines[i].startswith(" ")), end)
    lines[first:last] = [line]
    return "\n".join(lines) + "\n"
