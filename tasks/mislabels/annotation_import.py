"""Import of a reviewer's file: rows matched by content, words checked, good verdicts kept."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from storage import VERDICTS, Store, polars_schema
from tasks.data.dataset import Table
from tasks.data.row_hashes import content_digest, row_digest
from tasks.mislabels.annotations import write_verdicts
from tasks.mislabels.label_words import (
    flag_of,
    folded_word,
    label_of,
    none_word,
)
from tasks.mislabels.review_files import read_review
from tasks.mislabels.review_records import Reading, Record, time_of
from tasks.mislabels.row_index import RowIndex, plain_texts
from tasks.mislabels.stored_samples import Draw, read_draws
from tasks.study.errors import (
    Problem,
    StudyError,
    listed,
    show,
)
from tasks.study.study import Study

SHOWN = 5
YES_OR_NO = "true or false, or a word for them such as WAHR, VRAI, yes, x, 1"


@dataclass(frozen=True)
class Imported:
    """What became of a file.

    Attributes:
        rows: how many rows have a verdict by it, those that are alike too.
        refused: rows of the file that were not kept, and why.
        notes: what a person should know of how it was read.
    """

    rows: int
    refused: tuple[Problem, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Judgement:
    """A record that is kept: its row, the right label, whether it counts as drawn."""

    record: Record
    row: bytes
    right: str | None
    drawn: bool


def import_verdicts(
    store: Store, study: Study, table: Table, found: pl.DataFrame, path: Path, when: str
) -> Imported:
    """Keep what a file says of rows, and of those that are alike.

    Args:
        store: of the study.
        study: names the labels.
        table: training rows as they are now.
        found: the table of mislabels of these rows, which knows what is alike.
        path: a reviewer's file; see `tasks.mislabels.review_files`.
        when: time of the import, for people.

    Raises:
        StudyError: the file cannot be read, has an unknown word for a flag, or no row of it can be
            kept; nothing is kept then.
    """
    reading = read_review(path)
    _check_flags(reading, path)
    named = getattr(study.train, "id", None) is not None
    draws = read_draws(store)
    index = RowIndex(table, study.labels, named)
    kept, refused, notes = _judged(reading, index, draws)
    kept, again = _agreeing(kept, study.labels)
    refused = [*reading.refused, *refused, *again]
    if not kept:
        raise StudyError(path, _nothing(refused))
    frame = _frame(kept, index, found, draws)
    write_verdicts(store, frame, study.labels, path.name, when)
    return Imported(len(frame), tuple(refused), (*reading.notes, *notes))


def _nothing(refused: Sequence[Problem]) -> list[Problem]:
    if refused:
        more = len(refused) - SHOWN
        last = [Problem("file", "rows that can be kept", f"{more} more like these", "as above")]
        return [*refused[:SHOWN], *(last if more > 0 else [])]
    change = "write the right label of the rows that you have looked at"
    return [Problem("column right_label", "one label or more", "none", change)]


def _check_flags(reading: Reading, path: Path) -> None:
    """A sample whose flag is misread is lost, so that an unknown word refuses the file."""
    odd = [record for record in reading.records if flag_of(record.drawn) is None]
    if odd:
        got = listed((f"{r.place}: {show(r.drawn, 20)}" for r in odd), SHOWN)
        raise StudyError(path, [Problem("column drawn", YES_OR_NO, got, "correct these rows")])


def _judged(
    reading: Reading, index: RowIndex, draws: Sequence[Draw]
) -> tuple[list[Judgement], list[Problem], list[str]]:
    """What is kept, what is refused, and notes."""
    kept: list[Judgement] = []
    refused: list[Problem] = []
    by_id, undrawn = 0, 0
    whole = not reading.flagged and _is_whole_draw(reading, index, draws)
    for record in reading.records:
        if record.right is None:
            continue
        right = label_of(record.right, index.labels)
        if right is None:
            refused.append(_foreign(record, index.labels))
            continue
        match = index.match(record)
        gone = _drawn_but_gone(record, draws) if isinstance(match, Problem) else None
        if isinstance(match, Problem) and gone is None:
            refused.append(match)
            continue
        row = gone if isinstance(match, Problem) else match.row
        assert row is not None, "either it is in the table or in a draw"
        by_id += not isinstance(match, Problem) and match.how == "id"
        flagged = bool(flag_of(record.drawn)) or whole
        drawn = flagged and any(row in draw.drawn for draw in draws)
        undrawn += flagged and not drawn
        right = None if right == none_word(index.labels) else right
        kept.append(Judgement(record, row, right, drawn))
    notes = [*_notes_of_ids(by_id, len(kept)), *_notes_of_flags(reading, kept, draws, undrawn)]
    return kept, refused, notes


def _notes_of_ids(by_id: int, kept: int) -> Iterator[str]:
    if by_id:
        yield (
            f"{by_id} of {kept} rows are known by their id alone, since the file has no column "
            "`row` or `text`: if texts were edited or ids used again, these verdicts are wrong"
        )


def _notes_of_flags(
    reading: Reading, kept: Sequence[Judgement], draws: Sequence[Draw], undrawn: int
) -> Iterator[str]:
    if undrawn:
        yield (
            f"{undrawn} rows are flagged as drawn, but are in no random sample that this store has "
            "recorded: they are verdicts, and are not counted by"
        )
    drawn = sum(judgement.drawn for judgement in kept)
    if reading.flagged:
        return
    if drawn:
        gone = "though the column `drawn` is gone or empty"
        yield f"the {drawn} rows are those of a random sample, {gone}"
    elif lost := sum(any(judgement.row in draw.drawn for draw in draws) for judgement in kept):
        yield (
            f"{lost} rows are of a random sample, but the file has no column `drawn`, or an empty "
            "one: they are verdicts, and are not counted by"
        )


def _is_whole_draw(reading: Reading, index: RowIndex, draws: Sequence[Draw]) -> bool:
    """Whether the rows of a file are exactly those of a random sample."""
    if not draws:
        return False
    matches = [index.match(record) for record in reading.records]
    rows = {match.row for match in matches if not isinstance(match, Problem)}
    return any(rows == set(draw.drawn) for draw in draws)


def _drawn_but_gone(record: Record, draws: Sequence[Draw]) -> bytes | None:
    """The digest of a drawn row that is not in the table any more; its verdict still counts."""
    if record.row is None or not flag_of(record.drawn):
        return None
    try:
        row = bytes.fromhex(record.row)
    except ValueError:
        return None
    of = next((draw.drawn[row] for draw in draws if row in draw.drawn), None)
    if of is None or record.texts is None:
        return None
    texts = (record.texts, plain_texts(record.texts))
    contents = (content_digest(first, second or None) for first, second in texts)
    return row if any(row_digest(content, of.label) == row for content in contents) else None


def _foreign(record: Record, labels: Sequence[str]) -> Problem:
    word = none_word(labels)
    expected = f"one of {listed(map(show, labels))}, or {show(word)} if none fits"
    return record.refused("right_label", expected, show(record.right, 40), "correct this row")


def _agreeing(
    kept: Sequence[Judgement], labels: Sequence[str]
) -> tuple[list[Judgement], list[Problem]]:
    """Of one reviewer's on a row the newest annotation; without a newest, those that agree."""
    by: dict[tuple[bytes, str], list[Judgement]] = defaultdict(list)
    for judgement in kept:
        by[judgement.row, folded_word(judgement.record.reviewer)].append(judgement)
    agreed: list[Judgement] = []
    refused: list[Problem] = []
    for several in map(_newest, by.values()):
        if len({judgement.right for judgement in several}) == 1:
            agreed.append(several[0])
        else:
            rights = (f"{s.record.place}: {show(s.right or none_word(labels))}" for s in several)
            expected = f"one right label by {several[0].record.reviewer or 'one reviewer'}"
            change = "leave one of these rows, or name the reviewers"
            first = several[0].record
            refused.append(first.refused("right_label", expected, listed(rights, SHOWN), change))
    return agreed, refused


def _newest(several: Sequence[Judgement]) -> Sequence[Judgement]:
    """Those of the latest time; all where the time of one is not known."""
    times = [time_of(judgement.record.when) for judgement in several]
    known = [time for time in times if time is not None]
    if len(known) < len(several):
        return several
    return [one for one, time in zip(several, known, strict=True) if time == max(known)]


def _frame(
    kept: Sequence[Judgement], index: RowIndex, found: pl.DataFrame, draws: Sequence[Draw]
) -> pl.DataFrame:
    """Rows of verdicts: of what was said, and of rows that are alike."""
    rows = found.select("text", "text_pair", "label").iter_rows()
    digests = [row_digest(content_digest(a, b), label) for a, b, label in rows]
    cluster = dict(zip(digests, found["cluster"], strict=True))
    chance = dict(zip(digests, found["probability"], strict=True))
    # A search of before there was such a column knew only the one probability.
    doubts = found["doubt"].fill_null(found["probability"])
    doubt = dict(zip(digests, doubts, strict=True))
    members: dict[int, list[bytes]] = defaultdict(list)
    for digest, number in cluster.items():
        members[number].append(digest)
    records: dict[tuple[bytes, str], dict] = {}
    alike: dict[tuple[bytes, str], list[Judgement]] = defaultdict(list)
    for judgement in kept:
        key = judgement.row, folded_word(judgement.record.reviewer)
        records[key] = _verdict(judgement, judgement.row, index, draws) | {"drawn": judgement.drawn}
        for member in members[cluster[judgement.row]] if judgement.row in cluster else []:
            alike[member, key[1]].append(judgement)
    for key, several in alike.items():
        # What was said of a row itself goes before what was said of one like it.
        other = key not in records and key[0] in index.by_digest
        if other and len({judgement.right for judgement in several}) == 1:
            records[key] = _verdict(several[0], key[0], index, draws) | {"drawn": False}
    for (row, _), record in records.items():
        record |= {"probability": chance.get(row), "doubt": doubt.get(row)}
    return pl.DataFrame(list(records.values()), schema=polars_schema(VERDICTS))


def _verdict(judgement: Judgement, row: bytes, index: RowIndex, draws: Sequence[Draw]) -> dict:
    record = judgement.record
    if row in index.by_digest:
        place = index.by_digest[row][0]
        label, name = index.labels[index.table.labels[place]], index.table.ids[place]
        pair = index.table.text_pairs[place] if index.table.text_pairs else None
        content = content_digest(index.table.texts[place], pair)
    else:
        of: Mapping = {r: s for draw in draws for r, s in draw.drawn.items()}
        label, name, content = of[row].label, record.id or "", of[row].content
    reviewer = " ".join(record.reviewer.split())
    return {
        "row": row, "content": content, "id": name, "label": label, "right_label": judgement.right,
        "reviewer": reviewer,
    }  # fmt: skip
