"""Journal of a long measurement: finished steps are kept, so that it continues where it stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Journal:
    """Values of finished steps in a file, by the name of the step.

    Args:
        path: JSON file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """Return the kept value of a step, or run it and keep its value, which JSON can hold."""
        if name not in self.values:
            value = work()
            values = {**self.values, name: value}
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text(json.dumps(values), "utf-8")
            temporary.replace(self.path)
            self.values = values
        return self.values[name]
