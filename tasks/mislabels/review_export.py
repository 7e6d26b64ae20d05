"""What goes to reviewers: the most suspicious rows, those alike as one decision, or a sample."""

import hashlib
import json
from pathlib import Path

import polars as pl

from fastif import InputError
from storage import Store, commit_file
from tasks.data.csv_escape import inert
from tasks.data.row_hashes import content_digest, row_digest
from tasks.mislabels.annotations import Verdicts
from tasks.mislabels.label_studio import labelling_tasks
from tasks.mislabels.label_words import none_word
from tasks.mislabels.results import Found
from tasks.mislabels.stored_samples import write_draw

FORMATS = ("csv", "parquet", "json")
COLUMNS = ("id", "label", "suggested", "probability", "confidence", "text", "text_pair", "alike")


def to_review(found: Found, budget: int, verdicts: Verdicts | None = None) -> pl.DataFrame:
    """One row a decision, the most suspicious first, with columns to fill in.

    Args:
        found: a search.
        budget: most decisions.
        verdicts: of the store; rows that have one since the search are left out.
    """
    open_rows = _open(found, verdicts).sort("rank")
    alike = open_rows.group_by("cluster").agg(alike=pl.len())
    first = open_rows.unique("cluster", keep="first", maintain_order=True).head(budget)
    return _to_fill(first.join(alike, on="cluster", how="left", maintain_order="left"), False)


def to_draw(
    store: Store, found: Found, count: int, verdicts: Verdicts | None = None
) -> pl.DataFrame:
    """A random sample of the rows without a verdict, with the same columns and `drawn`.

    The order is that of a digest of each row's content: chance to whatever is wrong with it, and
    the same rows again until they have verdicts. What the sample is drawn from is recorded in the
    store, since no count holds for rows that come later.

    Args:
        store: of the study.
        found: a search.
        count: most rows.
        verdicts: of the store; rows that have one since the search are left out.
    """
    open_rows = _open(found, verdicts)
    # Of rows alike to the letter each has a chance of its own.
    again = pl.int_range(pl.len()).over("row")
    numbers = open_rows.select("row", again=again).iter_rows()
    chance = pl.Series("chance", [_chance(row, number) for row, number in numbers], pl.Binary)
    sample = open_rows.with_columns(chance).sort("chance").head(count)
    write_draw(store, open_rows, sample)
    # One decision a row: what is like it was not drawn, though it gets the same verdict.
    return _to_fill(sample.with_columns(alike=pl.lit(1, pl.UInt32)), True)


def write_review(frame: pl.DataFrame, path: Path) -> int:
    """Write decisions as .csv, .parquet or .json (Label Studio); how many there are.

    Raises:
        InputError: another ending, or a file that is there.
        StoreError: it cannot be written, or not whole; then nothing is left behind.
    """
    check_new(path)

    def write(aside: Path) -> None:
        if path.suffix == ".json":
            content = json.dumps(labelling_tasks(frame), indent=1) + "\n"
            aside.write_text(content, "utf-8")
        elif path.suffix == ".csv":
            inert(frame).write_csv(aside)
        else:
            frame.write_parquet(aside)

    commit_file(path, write)
    return len(frame)


def check_new(path: Path) -> None:
    """Refuse a file that is there, or of another ending than ours.

    Raises:
        InputError: it is.
    """
    if path.suffix.removeprefix(".") not in FORMATS:
        raise InputError(
            f"--out {path}", ".csv, .parquet or .json", f"{path.suffix or 'no ending'}", "Name one."
        )
    if path.exists():
        raise InputError(
            f"--out {path}", "a new file", "one that exists", "It may hold verdicts; name another."
        )


def conflicts(
    verdicts: Verdicts, ids: list[str], digests: list[bytes], labels: tuple[str, ...]
) -> pl.DataFrame:
    """Rows on which reviewers disagree: id, label, and who says what.

    Args:
        verdicts: of the store.
        ids: of the training rows.
        digests: theirs.
        labels: the study's label names.
    """
    place = {row: i for i, row in enumerate(digests)}
    none = none_word(labels)
    rows = [
        {
            "id": ids[place[row]],
            "label": verdicts.labels[row],
            "said": ", ".join(f"{who or 'somebody'}: {label or none}" for who, label in by.items()),
        }
        for row, by in verdicts.conflicts.items()
        if row in place
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("id", "label", "said"), pl.String))


def _open(found: Found, verdicts: Verdicts | None) -> pl.DataFrame:
    """Rows without a verdict, and their digests."""
    texts = found.table.select("text", "text_pair", "label").iter_rows()
    rows = [row_digest(content_digest(a, b), label) for a, b, label in texts]
    table = found.table.with_columns(row=pl.Series(rows, dtype=pl.Binary))
    known = {} if verdicts is None else verdicts.settled
    unseen = pl.Series([row not in known for row in rows], dtype=pl.Boolean)
    return table.filter(pl.col("reviewed").is_null() & unseen)


def _to_fill(rows: pl.DataFrame, drawn: bool) -> pl.DataFrame:
    blank = {name: pl.lit(None, pl.String) for name in ("right_label", "reviewer")}
    digest = pl.col("row").bin.encode("hex")
    return rows.select(*COLUMNS, digest.alias("row")).with_columns(**blank, drawn=pl.lit(drawn))


def _chance(row: bytes, number: int) -> bytes:
    return hashlib.sha256(b"drawn" + row + number.to_bytes(8, "big")).digest()
