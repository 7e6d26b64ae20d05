"""Decisions on rows by their annotations: the right label of a row, or why there is none."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.mislabels.label_words import normalize_word
from tasks.mislabels.merged_annotations import Annotation, Annotations

State = Literal["known", "disputed", "foreign"]
"""Known: reviewers agree. Disputed: they do not. Foreign: the right label is none of the study."""


@dataclass(frozen=True)
class Decision:
    """Decision on a row.

    Attributes:
        state: Whether the right label is known.
        right: The right label; None where no label fits.
        annotations: Annotations that the decision follows from.
    """

    state: State
    right: str | None
    annotations: tuple[Annotation, ...]


class Decisions:
    """Decisions by the annotations of a store.

    A row whose label was corrected since has another digest, and may have been reviewed again. So
    annotations of one content that lead from label to label, such as "a should be b" and "b should
    be a", are decided together, the newest of each reviewer counting: the corrected row then has
    the same decision as the row before.
    """

    def __init__(self, annotations: Annotations, labels: Sequence[str]) -> None:
        """Index annotations.

        Args:
            annotations: Merged annotations of the store.
            labels: Label names of the study.
        """
        self._latest, self._labels = annotations.latest, frozenset(labels)
        self._by_content: dict[bytes, list[Annotation]] = defaultdict(list)
        for by_reviewer in self._latest.values():
            for annotation in by_reviewer:
                if annotation.content is not None:
                    self._by_content[annotation.content].append(annotation)

    def decide_row(self, row: bytes, content: bytes, label: str) -> Decision | None:
        """Decide on a row by its annotations; None if it has none.

        Args:
            row: Digest of the row's texts and given label.
            content: Digest of the row's texts.
            label: Given label.
        """
        annotations = self._latest.get(row)
        if annotations is None:
            return None
        decision = self._decide(annotations)
        if decision.state == "disputed" or decision.right == label:
            return decision
        linked = _select_linked(self._by_content[content], label)
        if len({annotation.right for annotation in linked}) <= 1:
            return decision
        return self._decide(_select_newest(linked))

    def decide_content(self, content: bytes) -> Decision | None:
        """Decide on a content by all its annotations; None if it has none or they differ.

        Args:
            content: Digest of the row's texts.
        """
        annotations = self._by_content.get(content, [])
        decision = self._decide(annotations) if annotations else None
        return None if decision is None or decision.state == "disputed" else decision

    def has_annotation(self, row: bytes) -> bool:
        """Whether a row has an annotation, by its digest."""
        return row in self._latest

    def is_corrected(self, content: bytes, label: str) -> bool:
        """Whether a label is the right one by all annotations of a content."""
        decision = self.decide_content(content)
        return decision is not None and decision.right == label

    def _decide(self, annotations: Sequence[Annotation]) -> Decision:
        rights = {annotation.right for annotation in annotations}
        if len(rights) != 1:
            return Decision("disputed", None, tuple(annotations))
        (right,) = rights
        is_known = right is None or right in self._labels
        return Decision("known" if is_known else "foreign", right, tuple(annotations))


def _select_linked(annotations: Sequence[Annotation], label: str) -> list[Annotation]:
    """Annotations of one content whose given and right labels are linked to a label.

    >>> def annotate(label: str, right: str) -> Annotation:
    ...     return Annotation(b"", b"", label, right, "ann", None, False)
    >>> linked = _select_linked([annotate("a", "b"), annotate("c", "c"), annotate("b", "d")], "d")
    >>> [annotation.label for annotation in linked]
    ['a', 'b']
    """
    linked = {label}
    while True:
        selected = [a for a in annotations if a.label in linked or a.right in linked]
        names = {name for a in selected for name in (a.label, a.right) if name is not None}
        if names <= linked:
            return selected
        linked |= names


def _select_newest(annotations: Iterable[Annotation]) -> list[Annotation]:
    """The annotations by the last import of each reviewer."""
    by_reviewer: dict[str, list[Annotation]] = defaultdict(list)
    for annotation in annotations:
        by_reviewer[normalize_word(annotation.reviewer)].append(annotation)
    return [
        annotation
        for group in by_reviewer.values()
        for annotation in group
        if annotation.number == max(each.number for each in group)
    ]
