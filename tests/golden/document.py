"""JSON that can be read and compared by lines: objects unfold, lists stay on their line."""

import json
from pathlib import Path
from typing import Any

WIDTH = 320


def dumps(value: Any, margin: str = "") -> str:
    """Indented by one; what fits into a line, and every list of plain values, is one."""
    line = json.dumps(value, ensure_ascii=False)
    plain = isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)
    if plain or not isinstance(value, dict | list) or len(margin) + len(line) <= WIDTH:
        return line
    inner = margin + " "
    if isinstance(value, list):
        parts = [dumps(item, inner) for item in value]
        return "[\n" + ",\n".join(f"{inner}{part}" for part in parts) + f"\n{margin}]"
    parts = [f"{json.dumps(key)}: {dumps(item, inner)}" for key, item in value.items()]
    return "{\n" + ",\n".join(f"{inner}{part}" for part in parts) + f"\n{margin}}}"


def write(path: Path, value: Any) -> None:
    """Write a document."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(dumps(value) + "\n", "utf-8")


def read(path: Path) -> Any:
    """Read a document."""
    return json.loads(path.read_text("utf-8"))
