"""Table of a study: rows with their content, targets and groups."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastif.errors import InputError
from tasks.data.tabular import Measurements
from tasks.data.target_text import Target, format_target
from tasks.study.errors import format_value
from tasks.study.target_kind import CLASS, MEANINGS, ONE_CLASS


@dataclass(frozen=True)
class Table:
    """Rows in the order of their source; all lists have one entry per row.

    Attributes:
        ids: Ids of the rows.
        texts: First texts; descriptions of the values for features and images.
        text_pairs: Second texts of pairs; None for single texts.
        given_labels: Targets of the rows, for classes the positions in the study's label names;
            None for a row without.
        groups: Values of each group column.
        digest: SHA-256 of ids, texts, labels and groups in order, independent of the file format.
        place: Name of the source for messages.
        measurements: Values of features or pixels of images; None for texts.
        notes: Sentences on what was detected in the file, and on columns that may be unintended.
        kind: Kind of the targets.
        weights: Weight of each row in the training loss; None for equal weights.
        focus: Position of the one label of several that each row is about; None for all of them.
    """

    ids: list[str]
    texts: list[str]
    text_pairs: list[str] | None
    given_labels: Sequence[Target | None]
    groups: dict[str, list[str | None]]
    digest: str
    place: str
    measurements: Measurements | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)
    kind: str = CLASS
    weights: Sequence[float] | None = None
    focus: Sequence[int] | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.ids)

    @property
    def labels(self) -> list[int]:
        """Positions of the labels in the study's label names.

        Raises:
            InputError: The targets are no classes, or a row has no label.
        """
        self._check_classes()
        return [label for label in self.targets if isinstance(label, int)]

    @property
    def class_labels(self) -> list[int | None]:
        """Positions of the labels in the study's label names; None for a row without.

        Raises:
            InputError: The targets are no classes.
        """
        self._check_classes()
        return [label if isinstance(label, int) else None for label in self.given_labels]

    @property
    def targets(self) -> list[Target]:
        """Target of each row.

        Raises:
            InputError: A row has no target.
        """
        targets = [target for target in self.given_labels if target is not None]
        if len(targets) == len(self.given_labels):
            return targets
        unlabelled = len(self.given_labels) - len(targets)
        raise InputError(
            self.place,
            "a label in every row",
            f"{unlabelled:,} of {len(self):,} rows without a label",
            "Add the labels, or leave these rows out.",
        )

    def name_targets(self, labels: Sequence[str]) -> list[str | None]:
        """Return each target as text, as in a store; None for a row without.

        Args:
            labels: Label names of the study.
        """
        focus = self.focus or [None] * len(self)
        return [
            format_target(target, self.kind, labels, label)
            for target, label in zip(self.given_labels, focus, strict=True)
        ]

    @property
    def is_labelled(self) -> bool:
        """Whether every row has a label."""
        return None not in self.given_labels

    def with_labels(self, labels: Sequence[Target]) -> "Table":
        """Return the same rows with other labels, and the digest of the given ones."""
        return dataclasses.replace(self, given_labels=list(labels))

    def take(self, rows: Sequence[int]) -> "Table":
        """Select rows by position, in this order."""
        groups = {name: [values[i] for i in rows] for name, values in self.groups.items()}
        pairs = None if self.text_pairs is None else [self.text_pairs[i] for i in rows]
        ids, texts = [self.ids[i] for i in rows], [self.texts[i] for i in rows]
        labels = [self.given_labels[i] for i in rows]
        weights = None if self.weights is None else [self.weights[i] for i in rows]
        digest = compute_digest(ids, texts, pairs, labels, groups, weights)
        measurements = self.measurements.take(rows) if self.measurements else None
        return Table(
            *(ids, texts, pairs, labels, groups, digest, self.place, measurements),
            kind=self.kind,
            weights=weights,
            focus=None if self.focus is None else [self.focus[i] for i in rows],
        )

    def expand_by_label(self, labels: Sequence[str]) -> "Table":
        """Return each row once for each label, about this label alone, with the ids `id:label`.

        Their groups have the label as the last one.

        Args:
            labels: Label names of the study.
        """
        places = [row for row in range(len(self)) for _ in labels]
        focus = [label for _ in range(len(self)) for label in range(len(labels))]
        rows = self.take(places)
        ids = [f"{id_}:{labels[label]}" for id_, label in zip(rows.ids, focus, strict=True)]
        groups: dict[str, list[str | None]] = {**rows.groups}
        groups["label"] = [labels[label] for label in focus]
        pairs = rows.text_pairs
        digest = compute_digest(ids, rows.texts, pairs, rows.given_labels, groups)
        return dataclasses.replace(
            rows, ids=ids, groups=groups, digest=digest, focus=focus, notes=self.notes
        )

    def _check_classes(self) -> None:
        if self.kind not in ONE_CLASS:
            raise InputError(
                self.place,
                "one class a row",
                f"{MEANINGS[self.kind]}, since the study has target = {format_value(self.kind)}",
                "Use a study of classes for this command; docs/guides/targets.md lists what the "
                "others support.",
            )


def compute_digest(
    ids: list[str],
    texts: list[str],
    pairs: list[str] | None,
    labels: Sequence[Target | None],
    groups: dict[str, list[str | None]],
    weights: Sequence[float] | None = None,
) -> str:
    """SHA-256 of one JSON array per row, preceded by one with the names of the groups."""
    names = sorted(groups)
    hasher = hashlib.sha256(json.dumps(["table 1", pairs is not None, *names]).encode())
    labels = labels if weights is None else [*zip(labels, weights, strict=True)]  # type: ignore
    second_texts: Sequence[str | None] = pairs if pairs is not None else [None] * len(ids)
    for row in zip(
        ids, texts, second_texts, labels, *(groups[name] for name in names), strict=True
    ):
        hasher.update(b"\n" + json.dumps(row).encode())
    return hasher.hexdigest()
