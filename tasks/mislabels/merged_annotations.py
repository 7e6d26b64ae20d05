"""Merged annotations of all reviewers: agreed labels, conflicts, renamed and missing labels."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.mislabels.label_words import normalize_word
from tasks.mislabels.stored_samples import StoredSample


@dataclass(frozen=True)
class Annotation:
    """Annotation of a row by one reviewer.

    Attributes:
        row: Digest of the row's texts and given label.
        content: Digest of the row's texts; None for annotations of an earlier version whose row is
            missing.
        label: Given label at the time of the review.
        right: Right label; None where no label fits.
        reviewer: Name of the reviewer, as written.
        probability: Error probability of the given label before the review; None if unknown.
        audited: Whether the row was in a random audit sample.
        number: Number of the import; 0 for versions without numbers.
        when: ISO time of the import, for display; empty if unknown.
        copied: Whether it was given to a near duplicate of the row.
    """

    row: bytes
    content: bytes | None
    label: str
    right: str | None
    reviewer: str
    probability: float | None
    audited: bool
    number: int = 0
    when: str = ""
    copied: bool = False


@dataclass(frozen=True)
class Annotations:
    """Merged annotations by row digest.

    Attributes:
        agreed: Right label of rows on which all reviewers agree; None where no label fits.
        conflicts: Right label by reviewer, for rows on which reviewers disagree.
        labels: Given label of each reviewed row at the time of the review.
        predicted_at_review: Error probability of agreed rows before the review.
        by_text: Right label by text digest, where all annotations of a text agree.
        audited: Agreed rows that were reviewed as part of a random audit sample.
        samples: Random audit samples, the oldest first.
        renamed: New name of each renamed label.
        unusable: Number of rows by right label that is no label of the study. If the given label is
            one, the row counts as wrong without a known right label.
        latest: Last annotation of each reviewer, by row digest.
    """

    agreed: Mapping[bytes, str | None] = field(default_factory=dict)
    conflicts: Mapping[bytes, Mapping[str, str | None]] = field(default_factory=dict)
    labels: Mapping[bytes, str] = field(default_factory=dict)
    predicted_at_review: Mapping[bytes, float] = field(default_factory=dict)
    by_text: Mapping[bytes, str | None] = field(default_factory=dict)
    audited: frozenset[bytes] = frozenset()
    samples: Sequence[StoredSample] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    unusable: Mapping[str, int] = field(default_factory=dict)
    latest: Mapping[bytes, Sequence[Annotation]] = field(default_factory=dict)

    def find_right_label(self, row: bytes, content: bytes, label: str) -> tuple[bool, str | None]:
        """Return whether a row's right label is known, and that label; None where no label fits.

        It follows from the row's annotations; for a corrected row, from those of its text if it
        equals the current label.

        Args:
            row: Digest of the row's texts and given label.
            content: Digest of the row's texts.
            label: Current label of the row.
        """
        if row in self.agreed:
            return True, self.agreed[row]
        is_corrected = row not in self.conflicts and self.by_text.get(content) == label
        return is_corrected, label if is_corrected else None

    @property
    def digest(self) -> str:
        """Digest of everything that affects a detection or its report."""
        agreed = sorted((row.hex(), label) for row, label in self.agreed.items())
        audited = sorted(row.hex() for row in self.audited)
        samples = [
            [
                sorted(row.hex() for row in sample.population_digests),
                [row.hex() for row in sample.sampled_rows],
                sample.design,
            ]
            for sample in self.samples
            if not self.audited.isdisjoint(sample.sampled_rows)
        ]
        text = json.dumps([agreed, sorted(row.hex() for row in self.conflicts), audited, samples])
        return hashlib.sha256(text.encode()).hexdigest()


def merge_annotations(
    annotations: Sequence[Annotation],
    samples: Sequence[StoredSample],
    names: Mapping[str, str],
    labels: Sequence[str],
) -> Annotations:
    """Merge annotations: the last one of each reviewer on a row, and their agreement.

    Args:
        annotations: All annotations, in the order of their imports.
        samples: Random audit samples, the oldest first.
        names: New name of each renamed label.
        labels: Label names of the study.
    """
    latest: dict[bytes, dict[str, Annotation]] = defaultdict(dict)
    for annotation in annotations:  # a later one replaces an earlier one
        latest[annotation.row][normalize_word(annotation.reviewer)] = annotation
    agreed, conflicts, unusable = _compare_reviewers(latest, labels)
    agreed_annotations = {row: list(latest[row].values()) for row in agreed}
    return Annotations(
        agreed,
        conflicts,
        {row: next(iter(by_reviewer.values())).label for row, by_reviewer in latest.items()},
        {
            row: annotation.probability
            for row, by_reviewer in agreed_annotations.items()
            for annotation in by_reviewer
            if annotation.probability is not None
        },
        _merge_by_text(agreed, latest),
        frozenset(annotation.row for annotation in annotations if annotation.audited)
        & agreed.keys(),
        samples,
        names,
        unusable,
        {row: list(by_reviewer.values()) for row, by_reviewer in latest.items()},
    )


def _compare_reviewers(
    latest: Mapping[bytes, Mapping[str, Annotation]], labels: Sequence[str]
) -> tuple[dict[bytes, str | None], dict[bytes, dict[str, str | None]], Counter[str]]:
    """Return agreed labels, conflicts, and counts of right labels that the study does not have."""
    agreed: dict[bytes, str | None] = {}
    conflicts: dict[bytes, dict[str, str | None]] = {}
    unusable: Counter[str] = Counter()
    for row, by_reviewer in latest.items():
        right_labels = {annotation.right for annotation in by_reviewer.values()}
        if len(right_labels) > 1:
            conflicts[row] = {
                annotation.reviewer: annotation.right for annotation in by_reviewer.values()
            }
            continue
        (right,) = right_labels
        if not labels or right is None or right in labels:
            agreed[row] = right
            continue
        unusable[right] += 1
        if next(iter(by_reviewer.values())).label in labels:
            agreed[row] = None  # the right label is missing, but the given label is wrong
    return agreed, conflicts, unusable


def _merge_by_text(
    agreed: Mapping[bytes, str | None], latest: Mapping[bytes, Mapping[str, Annotation]]
) -> dict[bytes, str | None]:
    right_labels: dict[bytes, set[str | None]] = defaultdict(set)
    for row, by_reviewer in latest.items():
        for annotation in by_reviewer.values():
            if annotation.content is not None:
                right_label = agreed[row] if row in agreed else f"disputed {row.hex()}"
                right_labels[annotation.content].add(right_label)
    return {
        content: next(iter(labels)) for content, labels in right_labels.items() if len(labels) == 1
    }
