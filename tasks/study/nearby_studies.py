"""Study files in the folder of one that does not exist, for the remedy of its error."""

import tomllib
from pathlib import Path

from tasks.study.command_lines import DEFAULT_STUDY
from tasks.study.errors import join_some, suggest

MAX_BYTES = 1_000_000
"""Size above which a file is not read: studies are much smaller."""


def suggest_study(path: Path) -> str:
    """Suggest the study that may be meant instead of a missing file."""
    names = list_studies(path.parent)
    if len(names) == 1 and path.name == DEFAULT_STUDY.name:
        return f"name the only study there, {names[0]}, after the command"
    hint = suggest(path.name, names)
    if hint and path.name != DEFAULT_STUDY.name:
        return hint
    return f"name one of the studies there: {join_some(names)}" if names else "correct the path"


def list_studies(folder: Path) -> list[str]:
    """List the names of the files in a folder that look like studies, in order."""
    try:
        paths = sorted(folder.glob("*.toml"))
    except OSError:
        return []
    return [path.name for path in paths if _is_study(path)]


def _is_study(path: Path) -> bool:
    """Whether a file is TOML with the keys that every study has."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return False
        values = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False
    return {"labels", "train"} <= values.keys()
