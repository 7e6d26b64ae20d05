"""Verdicts of all reviewers merged: where they agree, where they conflict."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tasks.mislabels.label_words import normalize_word
from tasks.mislabels.stored_samples import StoredSample


@dataclass(frozen=True)
class Annotation:
    """What a reviewer said of a row.

    Attributes:
        row: digest of its texts and given label.
        content: digest of its texts; None of verdicts of before on rows that are gone.
        label: given when it was looked at.
        right: what it should be; None where no label fits.
        reviewer: who says so, as written.
        probability: of a wrong label, as it stood before; None if it is not known.
        audited: whether the row was one of a random sample.
    """

    row: bytes
    content: bytes | None
    label: str
    right: str | None
    reviewer: str
    probability: float | None
    audited: bool


@dataclass(frozen=True)
class Annotations:
    """What is known of rows by their digest.

    Attributes:
        agreed: the right label of rows on which all reviewers agree; None where no label fits.
        conflicts: what each reviewer said of the others.
        labels: the label that each of these rows had.
        predicted_at_review: probability of a wrong label that settled rows had when they were
            looked at.
        by_text: right label of texts, by their digest, where all verdicts on a text agree.
        audited: settled rows that were looked at as part of a random sample.
        samples: random samples, the first drawn first.
        renamed: new names of labels that the study had under others.
        unusable: rows whose right label the study does not have, by this label; of what has one of
            the study's labels it is known that it is wrong, and no right one.
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

    def find_right_label(self, row: bytes, content: bytes, label: str) -> tuple[bool, str | None]:
        """Whether the right label of a row is known, and what it is; None where none fits.

        By the verdict on it; else, of a row whose label was mended since, by that on its text, if
        this is the label that it has now.

        Args:
            row: digest of its texts and label.
            content: digest of its texts.
            label: that it has.
        """
        if row in self.agreed:
            return True, self.agreed[row]
        is_corrected = row not in self.conflicts and self.by_text.get(content) == label
        return is_corrected, label if is_corrected else None

    @property
    def digest(self) -> str:
        """Of all that changes an answer, or what is told beside it."""
        agreed = sorted((row.hex(), label) for row, label in self.agreed.items())
        audited = sorted(row.hex() for row in self.audited)
        samples = [
            [
                sorted(row.hex() for row in sample.population_digests),
                [row.hex() for row in sample.sampled_rows],
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
    """Of each reviewer on a row the last annotation, and what they agree on."""
    latest: dict[bytes, dict[str, Annotation]] = defaultdict(dict)
    for annotation in annotations:  # a later one replaces the earlier
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
    )


def _compare_reviewers(
    latest: Mapping[bytes, Mapping[str, Annotation]], labels: Sequence[str]
) -> tuple[dict[bytes, str | None], dict[bytes, dict[str, str | None]], Counter[str]]:
    """Right labels where all agree, who says what elsewhere, and how many rows have no usable one.

    A right label that is none of `labels` is not usable.
    """
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
            agreed[row] = None  # whatever else is right, the given label is wrong
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
