"""Which rows of the table a reviewer's record means: by content, and by id where that is safe."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.data.csv_escape import active
from tasks.data.dataset import Table
from tasks.data.normalize_text import letters
from tasks.data.row_hashes import content_digests, row_digests
from tasks.mislabels.label_words import label_of
from tasks.mislabels.review_records import Record
from tasks.study.errors import Problem, show
from tasks.study.spelling import composed

CUT = 1_000
"""Letters and digits from which on a text may have been cut, by a spreadsheet or a page."""

AGAIN = "export again with `fastif review export`, and review the row as it is now"


@dataclass(frozen=True)
class Match:
    """The row that a record means.

    Attributes:
        row: its digest.
        how: by "content" or by "id" alone.
    """

    row: bytes
    how: str


class RowIndex:
    """Rows of a table by digest, by text and by id."""

    def __init__(self, table: Table, labels: Sequence[str], named: bool) -> None:
        """Index a table.

        Args:
            table: training rows.
            labels: the study's label names.
            named: whether the study has a column of ids; else ids are row numbers.
        """
        self.table, self.labels, self.named = table, labels, named
        self.digests = row_digests(table, labels)
        self.by_digest: dict[bytes, list[int]] = defaultdict(list)
        self._by_content: dict[bytes, list[int]] = defaultdict(list)
        self._by_text: dict[tuple[str, str], list[int]] = defaultdict(list)
        for place, digest in enumerate(self.digests):
            self.by_digest[digest].append(place)
        for place, content in enumerate(content_digests(table)):
            self._by_content[content].append(place)
        for place in range(len(table)):
            self._by_text[self._texts(place)].append(place)
        self._by_id = {name: place for place, name in enumerate(table.ids)}

    def match(self, record: Record) -> Match | Problem:
        """The row that a record means, or why none is meant for sure."""
        if record.row is not None:
            return self._by_row(record, record.row)
        if record.texts is not None:
            return self._by_words(record, record.texts)
        place = self._place(record)
        if place is None:
            change = "remove rows that are no longer in the training table"
            return record.refused("id", "an id of the training table", show(record.id), change)
        if not self.named:
            got = f"row number {record.id} alone"
            change = "add the column `row` or `text` of the export: row numbers change"
            return record.refused("id", "a row that is known by its content", got, change)
        return Match(self.digests[place], "id")

    def _by_row(self, record: Record, word: str) -> Match | Problem:
        digest = _bytes(word)
        if digest is None:
            return record.refused(
                "row", "32 hexadecimal digits, as exported", show(word, 40), AGAIN
            )
        if digest not in self.by_digest:
            return self._changed(record)
        place = self.by_digest[digest][0]
        if record.texts is not None and not self._same(record.texts, place):
            got = (
                f"a text that is not that of the row, which is {show(self.table.texts[place], 40)}"
            )
            change = "were columns sorted apart? Take the columns `row` and `text` of the export"
            return record.refused("text", "the text of the row it was exported for", got, change)
        return Match(digest, "content")

    def _changed(self, record: Record) -> Problem:
        """Why a row that was exported is not in the table any more."""
        same = self._by_text.get(plain_texts(record.texts), []) if record.texts else []
        if same:
            label = self.labels[self.table.labels[same[0]]]
            got = f"the same text with the label {show(label)} since"
            return record.refused("label", f"the label {show(record.label)}", got, AGAIN)
        if self._place(record) is not None:
            got = "another text under this id: it was edited since, or the id names another row"
            return record.refused("text", "the text that was exported", got, AGAIN)
        change = "nothing: such verdicts are not needed"
        return record.refused("row", "a row of the training table", "none any more", change)

    def _by_words(self, record: Record, texts: tuple[str, str]) -> Match | Problem:
        places = self._by_text.get(plain_texts(texts), [])
        if not places:
            place = self._place(record)
            if place is not None and self._same(texts, place):
                places = [place]
        if record.label is not None:
            label = label_of(record.label, self.labels)
            fitting = [p for p in places if self.labels[self.table.labels[p]] == label]
            if places and not fitting:
                return self._changed(record)
            places = fitting
        if not places:
            expected = "a text of the training table"
            got = "another text under this id" if self._place(record) is not None else "no such row"
            return record.refused("text", expected, f"{got}: {show(texts[0], 40)}", AGAIN)
        if len({self.digests[place] for place in places}) > 1:
            own = self._place(record)
            if own not in places:
                got = "rows of this text with several labels"
                return record.refused("text", "one row", got, "add the column `label` or `row`")
            places = [own] if own is not None else places
        return Match(self.digests[places[0]], "content")

    def _place(self, record: Record) -> int | None:
        if record.id is None:
            return None
        name = composed(record.id)
        place = self._by_id.get(name)
        return self._by_id.get(active(name)) if place is None else place

    def _texts(self, place: int) -> tuple[str, str]:
        pair = self.table.text_pairs[place] if self.table.text_pairs else ""
        return plain_texts((self.table.texts[place], pair))

    def _same(self, texts: tuple[str, str], place: int) -> bool:
        """But for punctuation, spaces, case, and what a spreadsheet cuts off."""
        pairs = zip(plain_texts(texts), self._texts(place), strict=True)
        return all(same_text(a, b) for a, b in pairs)


def plain_texts(texts: tuple[str, str]) -> tuple[str, str]:
    """Texts without what a spreadsheet or Label Studio adds: an apostrophe, other line ends."""
    first, second = (active(text.replace("\r\n", "\n")) for text in texts)
    return first, second


def same_text(a: str, b: str) -> bool:
    """Whether two texts are one but for punctuation, spaces and case.

    Or the first is what a spreadsheet or a page has left of the second, a long one.
    """
    return a == b or letters(a) == letters(b) or _is_cut(a, b)


def _is_cut(a: str, b: str) -> bool:
    """Whether a long text is the beginning of another."""
    first = letters(a)
    return len(first) > CUT and letters(b).startswith(first)


def _bytes(word: str) -> bytes | None:
    try:
        digest = bytes.fromhex(word.strip().removeprefix("'"))
    except ValueError:
        return None
    return digest if len(digest) == 16 else None
