"""Matching of review records to table rows: by digest, by text, and by id where that is safe."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.data.csv_escape import unescape_formula
from tasks.data.dataset import Table
from tasks.data.normalize_text import normalize_text
from tasks.data.row_hashes import content_digests, row_digests
from tasks.mislabels.label_words import parse_label
from tasks.mislabels.review_records import ReviewRecord
from tasks.study.errors import Problem, format_value
from tasks.study.spelling import normalize_nfc

MIN_CUT_LENGTH = 1_000
"""Minimum length, in normalized characters, of a text that a spreadsheet may have truncated."""

EXPORT_AGAIN = "export again with `fastif review export`, and review the row as it is now"


@dataclass(frozen=True)
class RowMatch:
    """Row that a record matches.

    Attributes:
        row: Digest of the row's texts and given label.
        how: Kind of the match, "content" or "id".
    """

    row: bytes
    how: str


class RowIndex:
    """Index of table rows by digest, text and id."""

    def __init__(self, table: Table, labels: Sequence[str], has_ids: bool) -> None:
        """Index a table.

        Args:
            table: Training rows.
            labels: Label names of the study.
            has_ids: Whether the study has an id column; else ids are row numbers.
        """
        self.table, self.labels, self.has_ids = table, labels, has_ids
        self.digests = row_digests(table, labels)
        self.by_digest: dict[bytes, list[int]] = defaultdict(list)
        self._by_content: dict[bytes, list[int]] = defaultdict(list)
        self._by_text: dict[tuple[str, str], list[int]] = defaultdict(list)
        for position, digest in enumerate(self.digests):
            self.by_digest[digest].append(position)
        for position, content in enumerate(content_digests(table)):
            self._by_content[content].append(position)
        for position in range(len(table)):
            self._by_text[self._get_texts(position)].append(position)
        self._by_id = {name: position for position, name in enumerate(table.ids)}

    def match(self, record: ReviewRecord) -> RowMatch | Problem:
        """Return the row that a record matches, or the reason why there is no safe match."""
        if record.row is not None:
            return self._match_digest(record, record.row)
        if record.texts is not None:
            return self._match_texts(record, record.texts)
        position = self._find_by_id(record)
        if position is None:
            change = "remove this row if it is no longer in the training table"
            return record.make_problem(
                "id", "an id of the training table", format_value(record.id), change
            )
        if not self.has_ids:
            got = f"only the row number {record.id}"
            change = "add the column `row` or `text` of the export: row numbers are not stable"
            return record.make_problem("id", "a row identified by its content", got, change)
        return RowMatch(self.digests[position], "id")

    def _match_digest(self, record: ReviewRecord, word: str) -> RowMatch | Problem:
        digest = _parse_digest(word)
        if digest is None:
            return record.make_problem(
                "row", "32 hexadecimal digits, as exported", format_value(word, 40), EXPORT_AGAIN
            )
        if digest not in self.by_digest:
            return self._explain_missing(record)
        position = self.by_digest[digest][0]
        if record.texts is not None and not self._has_texts(record.texts, position):
            text = format_value(self.table.texts[position], 40)
            got = f"another text; the text of this row is {text}"
            change = "restore the columns `row` and `text` of the export; was one sorted alone?"
            return record.make_problem("text", "the exported text of this row", got, change)
        return RowMatch(digest, "content")

    def _explain_missing(self, record: ReviewRecord) -> Problem:
        """Return the reason why an exported row is not in the table any more."""
        same = self._by_text.get(strip_export_marks(record.texts), []) if record.texts else []
        if same:
            label = self.labels[self.table.labels[same[0]]]
            got = f"the same text, since relabelled as {format_value(label)}"
            return record.make_problem(
                "label", f"the label {format_value(record.label)}", got, EXPORT_AGAIN
            )
        if self._find_by_id(record) is not None:
            got = "another text under this id: the text was edited, or the id was reused"
            return record.make_problem("text", "the exported text", got, EXPORT_AGAIN)
        change = "no action is needed: annotations of removed rows have no use"
        return record.make_problem("row", "a row of the training table", "a removed row", change)

    def _match_texts(self, record: ReviewRecord, texts: tuple[str, str]) -> RowMatch | Problem:
        positions = self._by_text.get(strip_export_marks(texts), [])
        if not positions:
            position = self._find_by_id(record)
            if position is not None and self._has_texts(texts, position):
                positions = [position]
        if record.label is not None:
            label = parse_label(record.label, self.labels)
            matching = [
                position
                for position in positions
                if self.labels[self.table.labels[position]] == label
            ]
            if positions and not matching:
                return self._explain_missing(record)
            positions = matching
        if not positions:
            expected = "a text of the training table"
            got = (
                "another text under this id"
                if self._find_by_id(record) is not None
                else "no such row"
            )
            return record.make_problem(
                "text", expected, f"{got}: {format_value(texts[0], 40)}", EXPORT_AGAIN
            )
        if len({self.digests[position] for position in positions}) > 1:
            own_position = self._find_by_id(record)
            if own_position not in positions:
                got = "several rows with this text and different labels"
                return record.make_problem(
                    "text", "one row", got, "add the column `label` or `row`"
                )
            positions = [own_position] if own_position is not None else positions
        return RowMatch(self.digests[positions[0]], "content")

    def _find_by_id(self, record: ReviewRecord) -> int | None:
        if record.id is None:
            return None
        name = normalize_nfc(record.id)
        position = self._by_id.get(name)
        return self._by_id.get(unescape_formula(name)) if position is None else position

    def _get_texts(self, position: int) -> tuple[str, str]:
        pair = self.table.text_pairs[position] if self.table.text_pairs else ""
        return strip_export_marks((self.table.texts[position], pair))

    def _has_texts(self, texts: tuple[str, str], position: int) -> bool:
        """Whether a row has these texts, up to punctuation, spaces, case and truncation."""
        pairs = zip(strip_export_marks(texts), self._get_texts(position), strict=True)
        return all(is_same_text(a, b) for a, b in pairs)


def strip_export_marks(texts: tuple[str, str]) -> tuple[str, str]:
    """Remove what a spreadsheet or Label Studio adds to texts: an apostrophe, other line ends."""
    first, second = (unescape_formula(text.replace("\r\n", "\n")) for text in texts)
    return first, second


def is_same_text(a: str, b: str) -> bool:
    """Whether two texts are equal up to punctuation, spaces and case, or the first is truncated."""
    return a == b or normalize_text(a) == normalize_text(b) or _is_truncated(a, b)


def _is_truncated(a: str, b: str) -> bool:
    """Whether a long text is a prefix of another."""
    first = normalize_text(a)
    return len(first) > MIN_CUT_LENGTH and normalize_text(b).startswith(first)


def _parse_digest(word: str) -> bytes | None:
    try:
        digest = bytes.fromhex(word.strip().removeprefix("'"))
    except ValueError:
        return None
    return digest if len(digest) == 16 else None
