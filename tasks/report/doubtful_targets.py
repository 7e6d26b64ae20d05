"""Doubtful targets of several labels a row, or of numbers, as the page of a report lists them."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from storage import Store
from tasks.data.row_hashes import content_digest, row_digest
from tasks.mislabels.annotations import read_annotations
from tasks.report.formatting import Row
from tasks.study.target_kind import MULTI_LABEL
from tasks.wrong_targets.cells import WRONG_TARGET_KINDS, cell_content, format_value
from tasks.wrong_targets.search_notes import IS_DOUBTFUL, describe_search
from tasks.wrong_targets.stored_searches import find_matching_search

SHOWN = 300
MAX_REVIEWED_CHARS = 2000
"""Characters of a text in the panel of the review and in exported files."""
WORDS = ("no", "yes")
"""Values of `right_label` for a label that a row has not, or has."""


@dataclass(frozen=True)
class DoubtfulTargets:
    """Result of a search for wrong targets, prepared for the page.

    Attributes:
        facts: Summary of the search.
        rows: Most doubtful targets: columns of the search, text, text_pair, and `review`, what a
            review file has of the target.
        notes: Sentences on the search.
    """

    facts: dict[str, Any]
    rows: list[Row]
    notes: list[str]

    @property
    def has_labels(self) -> bool:
        """Whether the targets are labels that rows have or lack, and not numbers."""
        return self.facts["target"] == MULTI_LABEL

    @property
    def identity(self) -> str:
        """Number and time of the search, which tell the searches of a store apart."""
        return f"targets {self.facts['number']} {self.facts['created']}"

    @property
    def words(self) -> list[str]:
        """Decisions on a label: the row has it, or not."""
        return [*reversed(WORDS)]


def read_doubtful_targets(store: Store, train: pl.DataFrame, kind: str) -> DoubtfulTargets | None:
    """Read the newest search for wrong targets among the rows of a run; None without one.

    Args:
        store: Store of the study.
        train: Table of training rows, one row each.
        kind: Kind of the targets.
    """
    if kind not in WRONG_TARGET_KINDS:
        return None
    rows = train.sort("train")
    texts = rows.select("text", "text_pair").rows()
    contents = [content_digest(*row) for row in texts]
    ids, targets = rows["id"].to_list(), rows["label"].to_list()
    search = find_matching_search(store, ids, contents, targets, kind)
    if search is None:
        return None
    annotations = read_annotations(store, target=kind)
    listed: list[Row] = []
    for cell in search.table.filter(IS_DOUBTFUL).sort("rank").iter_rows(named=True):
        content = cell_content(contents[cell["train"]], cell["name"])
        value = format_value(cell["given"])
        digest = row_digest(content, value)
        if annotations.find_right_label(digest, content, value)[0]:
            continue  # annotated after the search
        text, pair = texts[cell["train"]]
        more = {"text": text, "text_pair": pair}
        listed.append({**cell, **more, "review": _make_review_row(cell, text, pair, digest)})
        if len(listed) == SHOWN:
            break
    return DoubtfulTargets(search.facts, listed, [*describe_search(search)])


def _make_review_row(cell: Row, text: str, pair: str | None, digest: bytes) -> Row:
    """Return what a review file has of a label of a row, with the digest that identifies it."""
    return {
        "id": f"{cell['id']}:{cell['name']}",
        "name": cell["name"],
        "label": WORDS[int(cell["given"] == 1)],
        "suggested": WORDS[int(cell["suggested"] == 1)],
        "probability": round(cell["score"], 4),
        "text": text[:MAX_REVIEWED_CHARS],
        "text_pair": (pair or "")[:MAX_REVIEWED_CHARS],
        "row": digest.hex(),
    }
