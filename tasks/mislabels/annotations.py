"""Verdicts on labels: kept in the store by the content of rows, and read as they hold today."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from storage import VERDICTS, Store, StoreError, polars_schema, write_table
from tasks.data.dataset import Table
from tasks.data.row_hashes import content_digests, legacy_contents, row_digest
from tasks.mislabels.label_words import folded_word
from tasks.mislabels.stored_samples import Draw, read_draws
from tasks.run.sequence import next_number, numbered

KIND, RECORD = "verdicts", "import.json"
RENAMED = 0.9
"""Share of the rows of a label that is gone that have one new label: then it has a new name."""


@dataclass(frozen=True)
class Verdict:
    """What a reviewer said of a row.

    Attributes:
        row: digest of its texts and given label.
        content: digest of its texts; None of verdicts of before on rows that are gone.
        label: given when it was looked at.
        right: what it should be; None where no label fits.
        reviewer: who says so, as written.
        probability: of a wrong label, as it stood before; None if it is not known.
        drawn: whether the row was one of a random sample.
    """

    row: bytes
    content: bytes | None
    label: str
    right: str | None
    reviewer: str
    probability: float | None
    drawn: bool


@dataclass(frozen=True)
class Verdicts:
    """What is known of rows by their digest.

    Attributes:
        settled: the right label of rows on which all reviewers agree; None where no label fits.
        conflicts: what each reviewer said of the others.
        labels: the label that each of these rows had.
        before: probability of a wrong label that settled rows had when they were looked at.
        by_text: right label of texts, by their digest, where all verdicts on a text agree.
        drawn: settled rows that were looked at as part of a random sample.
        draws: random samples, the first drawn first.
        renamed: new names of labels that the study had under others.
        unusable: rows whose right label the study does not have, by this label; of what has one of
            the study's labels it is known that it is wrong, and no right one.
    """

    settled: Mapping[bytes, str | None] = field(default_factory=dict)
    conflicts: Mapping[bytes, Mapping[str, str | None]] = field(default_factory=dict)
    labels: Mapping[bytes, str] = field(default_factory=dict)
    before: Mapping[bytes, float] = field(default_factory=dict)
    by_text: Mapping[bytes, str | None] = field(default_factory=dict)
    drawn: frozenset[bytes] = frozenset()
    draws: Sequence[Draw] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    unusable: Mapping[str, int] = field(default_factory=dict)

    def right_of(self, row: bytes, content: bytes, label: str) -> tuple[bool, str | None]:
        """Whether the right label of a row is known, and what it is; None where none fits.

        By the verdict on it; else, of a row whose label was mended since, by that on its text, if
        this is the label that it has now.

        Args:
            row: digest of its texts and label.
            content: digest of its texts.
            label: that it has.
        """
        if row in self.settled:
            return True, self.settled[row]
        mended = row not in self.conflicts and self.by_text.get(content) == label
        return mended, label if mended else None

    @property
    def digest(self) -> str:
        """Of all that changes an answer, or what is told beside it."""
        settled = sorted((row.hex(), label) for row, label in self.settled.items())
        drawn = sorted(row.hex() for row in self.drawn)
        draws = [
            [sorted(row.hex() for row in draw.rows), [row.hex() for row in draw.drawn]]
            for draw in self.draws
            if not self.drawn.isdisjoint(draw.drawn)
        ]
        text = json.dumps([settled, sorted(row.hex() for row in self.conflicts), drawn, draws])
        return hashlib.sha256(text.encode()).hexdigest()


def read_verdicts(
    store: Store | None, table: Table | None = None, labels: Sequence[str] = ()
) -> Verdicts:
    """All verdicts of a store; of one reviewer's on a row that which was imported last.

    Args:
        store: has them.
        table: training rows as they are, by which verdicts of before are found and labels that
            have new names are known; such verdicts are left as they are without it.
        labels: the study's label names.
    """
    parts = [] if store is None else numbered(store, KIND, RECORD)
    if not parts:
        return Verdicts(draws=read_draws(store))
    # Files of before there was a draw lack its columns.
    frames = [_named_by_content(pl.read_parquet(f / f"{KIND}.parquet"), r) for f, r in parts]
    frame = pl.concat(frames, how="diagonal")
    draws = read_draws(store)
    names = {}
    if table is not None:
        frame = _of_before(frame, table, labels)
        rows = set(frame.select("content", "label").iter_rows())
        rows |= {row for draw in draws for row in draw.population}
        before = {label for _, record in parts for label in record.get("labels", [])}
        before |= {label for label in frame["right_label"] if label is not None}
        names = _new_names(rows, before | {label for _, label in rows}, table, labels)
    draws = [draw.renamed(names) for draw in draws]
    return _settled(_verdicts(frame, names), draws, names, labels)


def write_verdicts(
    store: Store, frame: pl.DataFrame, labels: Sequence[str], file: str, when: str
) -> None:
    """Keep verdicts as one import.

    Args:
        store: of the study.
        frame: rows of `storage.VERDICTS`.
        labels: the study's label names.
        file: they were read from.
        when: time of the import, for people; what is newer goes by its number.
    """
    number = next_number(record for _, record in numbered(store, KIND, RECORD))
    record = {"number": number, "when": when, "file": file, "rows": len(frame)}
    record |= {"labels": list(labels)}  # rows are named by the names of labels

    def write(folder: Path) -> None:
        write_table(folder, KIND, frame)
        (folder / RECORD).write_text(json.dumps(record) + "\n")

    rows = frame.select("row", "reviewer", "right_label").iter_rows()
    content = json.dumps([number, when, sorted((row.hex(), *rest) for row, *rest in rows)],
                         default=str)  # fmt: skip
    store.write_part(KIND, hashlib.sha256(content.encode()).hexdigest(), write)


def _named_by_content(frame: pl.DataFrame, record: Mapping[str, object]) -> pl.DataFrame:
    """With a column `content`; null in what was imported when rows were named otherwise."""
    missing = {n: pl.lit(None, k) for n, k in polars_schema(VERDICTS).items() if n not in frame}
    frame = frame.with_columns(**missing)
    if "labels" not in record:
        return frame.with_columns(content=pl.lit(None, pl.Binary))
    return frame


def _of_before(frame: pl.DataFrame, table: Table, labels: Sequence[str]) -> pl.DataFrame:
    """With the contents of verdicts of before that are on rows of the table."""
    if not frame["content"].null_count():
        return frame
    known = legacy_contents(table, labels)
    rows = frame.select("content", "row", "label").iter_rows()
    contents = [content or known.get((row, label)) for content, row, label in rows]
    return frame.with_columns(content=pl.Series(contents, dtype=pl.Binary))


def _new_names(
    rows: set[tuple[bytes | None, str]], before: set[str], table: Table, labels: Sequence[str]
) -> dict[str, str]:
    """New names of labels that are gone, where nearly all of their rows have one new label.

    Args:
        rows: digests of texts with the label of each, as they were.
        before: labels that there were.
        table: training rows as they are.
        labels: the study's label names.
    """
    if before <= set(labels):
        return {}
    now = dict(zip(content_digests(table), (labels[i] for i in table.labels), strict=True))
    names = {}
    for old in sorted(before - set(labels)):
        today = Counter(now[row] for row, label in rows if label == old and row in now)
        if not today:
            continue
        new, count = today.most_common(1)[0]
        if new not in before and count >= RENAMED * today.total() and new not in names.values():
            names[old] = new
    return names


def _verdicts(frame: pl.DataFrame, names: Mapping[str, str]) -> list[Verdict]:
    verdicts = []
    for row in frame.iter_rows(named=True):
        label, right = (names.get(row[name], row[name]) for name in ("label", "right_label"))
        digest = row["row"] if row["content"] is None else row_digest(row["content"], label)
        drawn = bool(row["drawn"])
        chance = row["probability"]
        verdicts.append(
            Verdict(digest, row["content"], label, right, row["reviewer"], chance, drawn)
        )
    return verdicts


def _settled(
    verdicts: Sequence[Verdict],
    draws: Sequence[Draw],
    names: Mapping[str, str],
    labels: Sequence[str],
) -> Verdicts:
    latest: dict[bytes, dict[str, Verdict]] = defaultdict(dict)
    for verdict in verdicts:  # a later one replaces the earlier
        latest[verdict.row][folded_word(verdict.reviewer)] = verdict
    settled: dict[bytes, str | None] = {}
    conflicts: dict[bytes, dict[str, str | None]] = {}
    unusable: Counter[str] = Counter()
    for row, by in latest.items():
        rights = {verdict.right for verdict in by.values()}
        if len(rights) > 1:
            conflicts[row] = {verdict.reviewer: verdict.right for verdict in by.values()}
            continue
        (right,) = rights
        if not labels or right is None or right in labels:
            settled[row] = right
            continue
        unusable[right] += 1
        if next(iter(by.values())).label in labels:
            settled[row] = None  # whatever else is right, the given label is wrong
    every = {row: list(latest[row].values()) for row in settled}
    return Verdicts(
        settled,
        conflicts,
        {row: next(iter(by.values())).label for row, by in latest.items()},
        {row: v.probability for row, by in every.items() for v in by if v.probability is not None},
        _by_text(settled, latest),
        frozenset(verdict.row for verdict in verdicts if verdict.drawn) & settled.keys(),
        draws,
        names,
        unusable,
    )


def _by_text(
    settled: Mapping[bytes, str | None], latest: Mapping[bytes, Mapping[str, Verdict]]
) -> dict[bytes, str | None]:
    rights: dict[bytes, set[str | None]] = defaultdict(set)
    for row, by in latest.items():
        for verdict in by.values():
            if verdict.content is not None:
                known = settled[row] if row in settled else f"disputed {row.hex()}"
                rights[verdict.content].add(known)
    return {content: next(iter(of)) for content, of in rights.items() if len(of) == 1}


def no_mislabels(store: Store) -> StoreError:
    """There is nothing to review yet."""
    return StoreError.at(
        store.layout.root,
        expected="a table of mislabels",
        got="none",
        remedy="Run `fastif mislabels` first.",
    )
