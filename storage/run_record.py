"""Record of a run, and the state of its commits."""

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
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compute_fingerprint(parts: Mapping[str, object]) -> str:
    """Return the SHA-256 of the canonical JSON of `parts`, independent of the order of keys.

    Args:
        parts: Everything that the results of a run depend on; values that JSON can encode.

    Returns:
        64 hexadecimal digits.

    Examples:
        >>> first = compute_fingerprint({"damping": 0.1, "n": 3})
        >>> first == compute_fingerprint({"n": 3, "damping": 0.1})
        True

    Raises:
        TypeError: A value is not JSON (a path, a tensor).
        ValueError: A number is NaN or infinite.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class RunRecord:
    """Record of a run: what it computes, from which tables, in which shards.

    Runs with equal fingerprints have equal results.

    Attributes:
        run: Name of the run.
        study: Name of the study.
        fingerprint: `compute_fingerprint` of everything the results depend on.
        created: Time at which the run was opened, ISO 8601 in UTC.
        parts: Settings and digests that the results depend on, nested by section.
        query_rows: Number of queries.
        train_rows: Number of training rows.
        shard_size: Number of queries a shard.
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
        """Return the shards of the run."""
        return plan_shards(self.query_rows, self.shard_size)

    def to_json(self) -> str:
        """Return indented JSON with a checksum; `from_json` reads it."""
        return seal(asdict(self), indent=2).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the JSON of `to_json`.

        Args:
            text: JSON with a checksum.

        Raises:
            ValueError: The text is not a record, or its checksum does not match.
        """
        try:
            return cls(**unseal(text.encode()))
        except TypeError as error:
            raise ValueError(f"not a run's record: {error}") from error

    def find_differences(self, other: RunRecord) -> list[str]:
        """List the settings in which `other` differs, as `name: here -> there`.

        Args:
            other: Record to compare with.

        Returns:
            One line a setting; nested settings have dotted names.

        Examples:
            >>> a = RunRecord("r", "s", "f", "", {"solver": {"kind": "cg"}}, 4, 9, 2)
            >>> b = RunRecord("r", "s", "g", "", {"solver": {"kind": "dual"}}, 4, 9, 2)
            >>> a.find_differences(b)
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
    """State of a run's commits.

    Attributes:
        record: Record of the run.
        done: Number of committed, intact shards.
        planned: Number of shards of the run.
        finished: Whether the last commit, with the row of table `runs`, is intact.
        was_finished: Whether the run was finished at some time, intact now or not.
    """

    record: RunRecord
    done: int
    planned: int
    finished: bool
    was_finished: bool = False

    @property
    def is_intact(self) -> bool:
        """Whether the run is finished and all its shards are intact."""
        return self.finished and self.done == self.planned

    @property
    def is_damaged(self) -> bool:
        """Whether the run was finished and has lost a commit since."""
        return self.was_finished and not self.is_intact

    @property
    def state(self) -> Literal["complete", "partial"]:
        """State of the run: complete if all shards are committed, else partial."""
        return "complete" if self.done == self.planned else "partial"


def _flatten(parts: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in parts.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value, sort_keys=True)
    return flat
