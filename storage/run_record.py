"""What a run is: the record it was opened with, and how far it came."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

from storage.sealed import seal, unseal
from storage.shards import Shard, plan_shards


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compute_fingerprint(parts: Mapping[str, object]) -> str:
    """Sha256 of the canonical JSON of `parts`: the same for any order of keys.

    >>> first = compute_fingerprint({"damping": 0.1, "n": 3})
    >>> first == compute_fingerprint({"n": 3, "damping": 0.1})
    True

    Raises:
        TypeError: a part is not JSON (a path, a tensor).
        ValueError: a part is NaN or infinite.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class RunRecord:
    """What a run computes; `parts` is everything that its results depend on.

    Two runs with the same fingerprint have the same results. `created` is ISO 8601 in UTC.
    """

    run: str
    study: str
    fingerprint: str
    created: str
    parts: dict[str, object]
    query_rows: int
    train_rows: int
    shard_size: int

    def list_shards(self) -> tuple[Shard, ...]:
        """The shards this run is made of."""
        return plan_shards(self.query_rows, self.shard_size)

    def to_json(self) -> str:
        """Readable JSON with a digest of its own; from_json takes it back."""
        return seal(asdict(self), indent=2).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what to_json wrote.

        Raises:
            ValueError: not the JSON of a record, or its bytes changed.
        """
        try:
            return cls(**unseal(text.encode()))
        except TypeError as error:
            raise ValueError(f"not a run's record: {error}") from error

    def find_differences(self, other: RunRecord) -> list[str]:
        """What `other` would compute differently, as ``name: here -> there``.

        >>> a = RunRecord("r", "s", "f", "", {"solver": {"kind": "cg"}}, 4, 9, 2)
        >>> a.find_differences(RunRecord("r", "s", "g", "", {"solver": {"kind": "dual"}}, 4, 9, 2))
        ['solver.kind: "cg" -> "dual"']
        """
        here, there = self._flatten_parts(), other._flatten_parts()
        names = [*here, *(name for name in there if name not in here)]
        return [
            f"{name}: {here.get(name, 'absent')} -> {there.get(name, 'absent')}"
            for name in names
            if here.get(name) != there.get(name)
        ]

    def _flatten_parts(self) -> dict[str, str]:
        sizes = {
            "query_rows": self.query_rows,
            "train_rows": self.train_rows,
            "shard_size": self.shard_size,
        }
        return _flatten({**self.parts, **sizes})


@dataclass(frozen=True)
class RunStatus:
    """How far a run came: `done` of `planned` shards are committed and whole."""

    record: RunRecord
    done: int
    planned: int
    finished: bool
    """The row of table runs is committed."""
    was_finished: bool = False
    """It was finished once, whatever is left of it."""

    @property
    def is_intact(self) -> bool:
        """Whether it is finished and every shard of it is still there."""
        return self.finished and self.done == self.planned

    @property
    def is_damaged(self) -> bool:
        """Whether it was finished and has lost something since."""
        return self.was_finished and not self.is_intact

    @property
    def state(self) -> Literal["complete", "partial"]:
        """Complete when every planned shard is there."""
        return "complete" if self.done == self.planned else "partial"


def _flatten(parts: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in parts.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value, sort_keys=True)
    return flat
