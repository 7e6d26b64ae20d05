"""The damping that was chosen for a study, as a part of its store."""

import json
from dataclasses import asdict
from pathlib import Path

from fastif.damping import DampingChoice
from storage import Store

KIND, FILE = "damping", "damping.json"


def read_choice(store: Store, digest: str) -> DampingChoice | None:
    """What was chosen, if it has been."""
    part = store.part(KIND, digest)
    if part is None:
        return None
    known = json.loads((part / FILE).read_text("utf-8"))
    dampings, agreement = (tuple(known.pop(name)) for name in ("dampings", "agreement"))
    return DampingChoice(**known, dampings=dampings, agreement=agreement)


def write_choice(store: Store, digest: str, choice: DampingChoice) -> None:
    """Keep a choice with its whole curve."""

    def write(folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(choice), indent=1) + "\n", "utf-8")

    store.write_part(KIND, digest, write)
