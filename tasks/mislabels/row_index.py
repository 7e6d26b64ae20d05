"""Which rows of the table a reviewer's record means: by content, and by id where that is safe."""

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
"""Letters and digits from which on a text may have been cut, by a spreadsheet or a page."""

EXPORT_AGAIN = "export again with `fastif review export`, and review the row as it is now"


@dataclass(frozen=True)
class RowMatch:
    """The row that a record means.

    Attributes:
        row: its digest.
        how: by "content" or by "id" alone.
    """

    row: bytes
    how: str


class RowIndex:
    """Rows of a table by digest, by text and by id."""

    def __init__(self, table: Table, labels: Sequence[str], has_ids: bool) -> None:
        """Index a table.

        Args:
            table: training rows.
            labels: the study's label names.
            has_ids: whether the study has a column of ids; else ids are row numbers.
        """
        self.table, self.labels, self.named = table, labels, has_ids
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
        """The row that a record means, or why none is meant for sure."""
        if record.row is not None:
            return self._match_digest(record, record.row)
        if record.texts is not None:
            return self._match_texts(record, record.texts)
        position = self._find_by_id(record)
        if position is None:
            change = "remove rows that are no longer in the training table"
            return record.make_problem(
                "id", "an id of the training table", format_value(record.id), change
            )
        if not self.named:
            got = f"row number {record.id} alone"
            change = "add the column `row` or `text` of the export: row numbers change"
            return record.make_problem("id", "a row that is known by its content", got, change)
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
            got = f"a text that is not that of the row, which is {text}"
            change = "were columns sorted apart? Take the columns `row` and `text` of the export"
            return record.make_problem(
                "text", "the text of the row it was exported for", got, change
            )
        return RowMatch(digest, "content")

    def _explain_missing(self, record: ReviewRecord) -> Problem:
        """Why a row that was exported is not in the table any more."""
        same = self._by_text.get(strip_export_marks(record.texts), []) if record.texts else []
        if same:
            label = self.labels[self.table.labels[same[0]]]
            got = f"the same text with the label {format_value(label)} since"
            return record.make_problem(
                "label", f"the label {format_value(record.label)}", got, EXPORT_AGAIN
            )
        if self._find_by_id(record) is not None:
            got = "another text under this id: it was edited since, or the id names another row"
            return record.make_problem("text", "the text that was exported", got, EXPORT_AGAIN)
        change = "nothing: such verdicts are not needed"
        return record.make_problem("row", "a row of the training table", "none any more", change)

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
                got = "rows of this text with several labels"
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
        """But for punctuation, spaces, case, and what a spreadsheet cuts off."""
        pairs = zip(strip_export_marks(texts), self._get_texts(position), strict=True)
        return all(is_same_text(a, b) for a, b in pairs)


def strip_export_marks(texts: tuple[str, str]) -> tuple[str, str]:
    """Texts without what a spreadsheet or Label Studio adds: an apostrophe, other line ends."""
    first, second = (unescape_formula(text.replace("\r\n", "\n")) for text in texts)
    return first, second


def is_same_text(a: str, b: str) -> bool:
    """Whether two texts are one but for punctuation, spaces and case.

    Or the first is what a spreadsheet or a page has left of the second, a long one.
    """
    return a == b or normalize_text(a) == normalize_text(b) or _is_truncated(a, b)


def _is_truncated(a: str, b: str) -> bool:
    """Whether a long text is the beginning of another."""
    first = normalize_text(a)
    return len(first) > MIN_CUT_LENGTH and normalize_text(b).startswith(first)


def _parse_digest(word: str) -> bytes | None:
    try:
        digest = bytes.fromhex(word.strip().removeprefix("'"))
    except ValueError:
        return None
    return digest if len(digest) == 16 else None
