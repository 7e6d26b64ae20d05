"""Statement on the labels of a training table: how many are wrong, as far as it is known."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from storage import Store
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.label_count import LabelCount, read_label_count
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.reviewed_block import (
    BLOCK_ROWS,
    MAX_WRONG_TO_STOP,
    ReviewedBlock,
    find_last_full_block,
    is_review_exhausted,
    list_reviewed_blocks,
)
from tasks.study.command_lines import format_command

MIN_SAMPLED = 30
"""Number of annotated rows of a random audit sample from which wrong labels are counted."""
NOT_SEARCHED = "not searched"
NOT_COUNTED = "not counted: no random sample was annotated"


@dataclass(frozen=True)
class LabelStatement:
    """Everything that is known of the number of wrong labels; each place words it by this.

    Without an annotated random sample nothing identifies the number (errors that the features
    predict look right to every classifier), so there is no total and no share then.

    Attributes:
        is_searched: Whether there is a detection.
        count: Number of wrong labels with its 90 % confidence interval; None before enough rows of
            a random audit sample are annotated.
        sampled: Number of annotated rows of random audit samples.
        is_pending: Whether annotations of a random audit sample were imported after the detection.
        blocks: Precision of the reviewed rows by `BLOCK_ROWS`, in the order of the review.
        search: Words of the command that searches; empty for targets that no command searches.
    """

    is_searched: bool
    count: LabelCount | None
    sampled: int
    is_pending: bool
    blocks: tuple[ReviewedBlock, ...]
    search: tuple[str, ...] = ("mislabels",)

    @property
    def sentence(self) -> str:
        """The whole statement: the count, and the precision of the review."""
        return " ".join(part for part in (self.count_sentence, self.review_sentence) if part)

    @property
    def count_sentence(self) -> str:
        """Sentence on the number of wrong labels."""
        if not self.is_searched:
            return "Labels were not checked."
        if self.count is None:
            return f"How many labels are wrong is unknown: {self._explain_unknown()}."
        count = self.count
        head = "Of" if count.expected is None else f"About {count.expected:,.0f} of"
        number = "an unknown number is wrong" if count.expected is None else "are wrong"
        return (
            f"{head} {count.rows:,} labels {number} (90 % interval {count.low:,.0f} to "
            f"{count.high:,.0f}, by {self.sampled:,} annotated rows of a random sample)."
        )

    @property
    def review_sentence(self) -> str:
        """Sentence on the precision of the reviewed rows, with the stopping rule; empty before."""
        if not self.blocks:
            return ""
        text = f"{self.wrong:,} of {self.reviewed:,} reviewed suspicious labels are wrong"
        last = find_last_full_block(self.blocks)
        if last is None:
            return f"{text}."
        advice = "stop" if self.is_exhausted else "continue"
        place = f"of rows {last.first:,} to {last.first + last.rows - 1:,}"
        return f"{text}, {last.wrong:,} {place}: {advice}."

    @property
    def rule(self) -> str:
        """The stopping rule in words."""
        return (
            f"Stop after {BLOCK_ROWS} reviewed rows of which {MAX_WRONG_TO_STOP} or fewer are wrong"
        )

    @property
    def reviewed(self) -> int:
        """Number of reviewed rows, without those of random audit samples."""
        return sum(block.rows for block in self.blocks)

    @property
    def wrong(self) -> int:
        """Number of reviewed rows with a wrong label."""
        return sum(block.wrong for block in self.blocks)

    @property
    def is_exhausted(self) -> bool | None:
        """Whether the review should stop; None before the first full block."""
        return is_review_exhausted(self.blocks)

    @property
    def share(self) -> str:
        """Share of wrong labels with its interval on one line, or why there is none."""
        if self.count is None:
            unsampled = NOT_COUNTED if self.is_searched else NOT_SEARCHED
            return f"not counted: {self._explain_unknown()}" if self.sampled else unsampled
        rows = max(1, self.count.rows)
        share = "unknown" if self.count.share is None else f"{self.count.share:.1%}"
        low, high = self.count.low / rows, self.count.high / rows
        return f"{share} ({low:.1%} - {high:.1%}) of {self.count.rows:,} training rows"

    @property
    def brief(self) -> str:
        """Share of wrong labels in a cell of a table."""
        if self.count is None:
            return "not counted" if self.is_searched else "-"
        if self.count.share is None:
            return "unknown"
        return f"{self.count.share:.1%}"

    @property
    def words(self) -> tuple[str, ...]:
        """Words of the command that would count; empty where the number is known."""
        if self.count is not None and not self.is_pending:
            return ()
        if not self.is_searched or self.is_pending:
            return self.search
        return ("review", "export", "--random", "100", "--out", "random.csv")

    @property
    def command(self) -> str:
        """The command that would count; empty where the number is known."""
        return format_command(*self.words) if self.words else ""

    def make_record(self) -> dict[str, Any]:
        """Return the statement with its parts, for JSON; what is not known is None."""
        count = self.count
        return {
            "sentence": self.sentence,
            "command": self.command or None,
            "count": None if count is None else {**asdict(count), "share": count.share},
            "sampled": self.sampled,
            "reviewed": self.reviewed,
            "wrong": self.wrong,
            "stop": self.is_exhausted,
            "rule": self.rule,
            "blocks": [{**asdict(block), "precision": block.precision} for block in self.blocks],
        }

    def _explain_unknown(self) -> str:
        if not self.sampled:
            return "no random sample was annotated"
        if self.is_pending and self.sampled >= MIN_SAMPLED:
            return f"{self.sampled:,} rows of a random sample were annotated after the search"
        return f"{self.sampled:,} rows of a random sample are annotated, {MIN_SAMPLED} are needed"


def make_label_statement(
    facts: Mapping[str, Any] | None, annotations: Annotations
) -> LabelStatement:
    """Return the statement by a detection and the annotations of the store.

    Args:
        facts: Summary of the detection; None without one.
        annotations: Annotations of the store, read without a table (see `read_annotations`).
    """
    imported, blocks = len(annotations.audited), list_reviewed_blocks(annotations)
    if facts is None:
        return LabelStatement(False, None, imported, False, blocks)
    used = (facts.get("drawn") or {}).get("rows", 0)
    known = facts.get("reviewed", {}).get("audited", used)
    is_pending = imported > known
    count = read_label_count(facts)
    return LabelStatement(True, count, imported if count is None else used, is_pending, blocks)


def read_label_statement(store: Store, facts: Mapping[str, Any] | None) -> LabelStatement:
    """Return the statement by a detection and all annotations in its store.

    Args:
        store: Store of the study.
        facts: Summary of the detection; None without one.
    """
    return make_label_statement(facts, read_annotations(store))
