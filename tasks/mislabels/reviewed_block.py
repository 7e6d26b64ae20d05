"""Blocks of 25 reviewed rows in the order of the review, with the precision of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.mislabels.merged_annotations import Annotations

BLOCK_ROWS = 25
"""Number of reviewed rows of which the precision is stated together."""
MAX_WRONG_TO_STOP = 2
"""Largest number of wrong labels of a full block after which the review is not worth its time."""


@dataclass(frozen=True)
class ReviewedBlock:
    """Consecutive reviewed rows, without those of random audit samples.

    Attributes:
        first: Place of the first row in the order of the review, from 1.
        rows: Number of rows; `BLOCK_ROWS`, or fewer in the last block.
        wrong: Number of them with a wrong label.
    """

    first: int
    rows: int
    wrong: int

    @property
    def precision(self) -> float:
        """Share of the rows with a wrong label, from 0 to 1."""
        return self.wrong / self.rows

    @property
    def is_full(self) -> bool:
        """Whether the block has all of its rows."""
        return self.rows == BLOCK_ROWS

    def __str__(self) -> str:
        """The block in words.

        Examples:
            >>> print(ReviewedBlock(26, 25, 19), ReviewedBlock(51, 4, 1), sep=", ")
            26 to 50: 19 wrong, 51 to 54: 1 wrong
        """
        return f"{self.first:,} to {self.first + self.rows - 1:,}: {self.wrong:,} wrong"


def list_reviewed_blocks(annotations: Annotations) -> tuple[ReviewedBlock, ...]:
    """List the blocks of the reviewed rows, in the order of their first annotation.

    Rows of a random audit sample, rows on which reviewers disagree, and near duplicates that share
    the annotation of another row are left out: nobody reached them by the ranking. A row counts as
    it was at its review, also if it was corrected or removed since.

    Args:
        annotations: Annotations of the store.
    """
    reviewed = [
        row
        for row, given in annotations.latest.items()
        if row in annotations.agreed
        and row not in annotations.audited
        and not all(annotation.copied for annotation in given)
    ]
    is_wrong = [annotations.agreed[row] != annotations.labels[row] for row in reviewed]
    starts = range(0, len(is_wrong), BLOCK_ROWS)
    blocks = ((start, is_wrong[start : start + BLOCK_ROWS]) for start in starts)
    return tuple(ReviewedBlock(start + 1, len(block), sum(block)) for start, block in blocks)


def find_last_full_block(blocks: Sequence[ReviewedBlock]) -> ReviewedBlock | None:
    """Return the last block with all of its rows; None without one."""
    return next((block for block in reversed(blocks) if block.is_full), None)


def is_review_exhausted(blocks: Sequence[ReviewedBlock]) -> bool | None:
    """Return whether the review should stop: few of the last 25 reviewed rows are wrong.

    Args:
        blocks: Blocks in the order of the review.

    Returns:
        None before the first full block, which decides nothing.

    Examples:
        >>> is_review_exhausted([ReviewedBlock(1, 25, 20), ReviewedBlock(26, 25, 2)])
        True
    """
    last = find_last_full_block(blocks)
    return None if last is None else last.wrong <= MAX_WRONG_TO_STOP
