"""Annotations applied to training rows: corrected labels, dropped rows, and the change log."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from tasks.mislabels.annotation_decisions import Decisions
from tasks.mislabels.merged_annotations import Annotation, Annotations

RELABELLED, DROPPED = "label", "dropped"
"""Kinds of changes."""
ANNOTATION = "annotation"
NO_LABEL_FITS = "annotation: no label fits"
CONTRADICTION, DUPLICATE, LEAK = "contradicting duplicate", "duplicate", "leak"
"""Reasons of changes."""
LOG_SCHEMA = {
    "position": pl.Int64,
    **dict.fromkeys(("id", "change", "before", "after", "by", "when", "why"), pl.String),
}


@dataclass(frozen=True)
class LabelledRows:
    """Rows of the training table; all lists have one entry a row.

    Attributes:
        ids: Ids of the rows.
        labels: Given labels.
        contents: Digests of the rows' texts.
        digests: Digests of texts and given label.
        is_class_by_content: Whether rows with one content have one true class: texts and images,
            but not columns of a table, which may not say all.
    """

    ids: Sequence[str]
    labels: Sequence[str]
    contents: Sequence[bytes]
    digests: Sequence[bytes]
    is_class_by_content: bool


@dataclass(frozen=True)
class Drops:
    """Further rows to drop.

    Attributes:
        duplicates: Whether to drop rows with the content and the corrected label of an earlier row.
        query_ids: Id of a query by content, for the verbatim queries to drop.
    """

    duplicates: bool = False
    query_ids: Mapping[bytes, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """Change of a row.

    Attributes:
        position: Position of the row, from 0.
        reason: One of the reasons of this module.
        before: Label before.
        after: Label after; None if the row is dropped.
        other: Id of the row or query that the reason names; empty if it names none.
        annotations: Annotations that the change follows from.
    """

    position: int
    reason: str
    before: str
    after: str | None
    other: str = ""
    annotations: tuple[Annotation, ...] = ()

    @property
    def why(self) -> str:
        """The reason with the row or query that it names."""
        words = {LEAK: "same text as query", DUPLICATE: "of row", CONTRADICTION: "of row"}
        mark = ":" if self.reason == LEAK else ""
        other = f"{mark} {words[self.reason]} {self.other}" if self.reason in words else ""
        return f"{self.reason}{other}"


@dataclass(frozen=True)
class Correction:
    """Corrected training rows.

    Attributes:
        labels: Corrected label of each row; of dropped rows the given one.
        dropped: Positions of the dropped rows.
        changes: Changes in the order of the rows.
        unchanged: Positions of unchanged rows with annotations, by reason.
        gone: Number of annotated rows that are no longer in the table.
    """

    labels: list[str]
    dropped: frozenset[int]
    changes: tuple[Change, ...]
    unchanged: Mapping[str, Sequence[int]]
    gone: int

    def count_reasons(self) -> dict[tuple[str, str, str], int]:
        """Number of changes by reason, label before and label after; empty for dropped rows."""
        return dict(Counter((c.reason, c.before, c.after or "") for c in self.changes))


CONFIRMED = "label confirmed"
APPLIED = "already corrected"
DISPUTED = "reviewers disagree"
FOREIGN = "right label is no label of the study"
EDITED = "label edited since the review"
"""Reasons why rows with annotations do not change."""


def apply_annotations(
    rows: LabelledRows, annotations: Annotations, labels: Sequence[str], drops: Drops
) -> Correction:
    """Correct labels by annotations, and drop rows that no label fits.

    A row without an annotation is corrected as an annotated row with the same content where the
    content determines the class. Rows on which reviewers disagree are unchanged.

    Args:
        rows: Training rows.
        annotations: Merged annotations of the store.
        labels: Label names of the study.
        drops: Further rows to drop.
    """
    decisions = Decisions(annotations, labels)
    twins = _find_twins(rows, decisions)
    corrected, changes, unchanged = list(rows.labels), [], defaultdict(list)
    first_ids: dict[tuple[bytes, str], str] = {}
    for position, label in enumerate(rows.labels):
        change = _correct_row(position, rows, decisions, twins)
        change = _drop_row(change, rows, drops, first_ids)
        if change.after != label:
            changes.append(change)
            corrected[position] = label if change.after is None else change.after
        elif change.reason:
            unchanged[change.reason].append(position)
    present = set(rows.contents)
    gone = sum(group[0].content not in present for group in annotations.latest.values())
    dropped = frozenset(change.position for change in changes if change.after is None)
    return Correction(corrected, dropped, tuple(changes), dict(unchanged), gone)


def _find_twins(rows: LabelledRows, decisions: Decisions) -> dict[bytes, str]:
    """Id of the first row of each content that has an annotation, or was corrected by one."""
    twins: dict[bytes, str] = {}
    if not rows.is_class_by_content:
        return twins
    for name, content, digest, label in zip(
        rows.ids, rows.contents, rows.digests, rows.labels, strict=True
    ):
        if content not in twins and (
            decisions.has_annotation(digest) or decisions.is_corrected(content, label)
        ):
            twins[content] = name
    return twins


def _correct_row(
    position: int, rows: LabelledRows, decisions: Decisions, twins: Mapping[bytes, str]
) -> Change:
    """Correct a row by annotations; the reason of an unchanged row says why, empty without any."""
    content, label = rows.contents[position], rows.labels[position]
    decision = decisions.decide_row(rows.digests[position], content, label)
    if decision is not None:
        causes = decision.annotations
        if decision.state != "known":
            reason = DISPUTED if decision.state == "disputed" else FOREIGN
            return Change(position, reason, label, label)
        if decision.right == label:
            is_confirmed = any(cause.label == label for cause in causes)
            return Change(position, CONFIRMED if is_confirmed else APPLIED, label, label)
        reason = NO_LABEL_FITS if decision.right is None else ANNOTATION
        return Change(position, reason, label, decision.right, "", causes)
    decision = decisions.decide_content(content)
    if decision is None or decision.state != "known":
        return Change(position, "", label, label)
    if decision.right == label:
        return Change(position, APPLIED, label, label)
    if content not in twins:
        return Change(position, EDITED, label, label)
    return Change(
        position, CONTRADICTION, label, decision.right, twins[content], decision.annotations
    )


def _drop_row(
    change: Change, rows: LabelledRows, drops: Drops, first_ids: dict[tuple[bytes, str], str]
) -> Change:
    """Drop a row that is a query or a duplicate; else note it as the first with its content."""
    if change.after is None:
        return change
    content = rows.contents[change.position]
    reason, other = "", ""
    if content in drops.query_ids:
        reason, other = LEAK, drops.query_ids[content]
    elif drops.duplicates and (content, change.after) in first_ids:
        reason, other = DUPLICATE, first_ids[content, change.after]
    if reason:
        return replace(change, reason=reason, after=None, other=other)
    first_ids[content, change.after] = rows.ids[change.position]
    return change


def make_change_log(
    changes: Sequence[Change], ids: Sequence[str], numbers: Sequence[int]
) -> pl.DataFrame:
    """Return the change log: one line a changed row.

    Args:
        changes: Changes of a correction.
        ids: Ids of all rows before.
        numbers: Numbers of all rows before, from 1; blank lines of text tables are counted.
    """
    lines = [
        {
            "position": numbers[change.position],
            "id": ids[change.position],
            "change": DROPPED if change.after is None else RELABELLED,
            "before": change.before,
            "after": change.after,
            "by": ", ".join(sorted({a.reviewer for a in change.annotations if a.reviewer})) or None,
            "when": max((a.when for a in change.annotations), default="") or None,
            "why": change.why,
        }
        for change in changes
    ]
    return pl.DataFrame(lines, schema=LOG_SCHEMA)
