"""What goes to reviewers: the most suspicious rows, those alike as one decision, or a draw."""

import hashlib
import json
from pathlib import Path

import polars as pl

from fastif import InputError
from tasks.csv_cells import inert
from tasks.mislabels import Found
from tasks.verdicts import NONE, Verdicts

FORMATS = ("csv", "parquet", "json")
COLUMNS = ("id", "label", "suggested", "probability", "confidence", "text", "text_pair", "alike")


def to_review(found: Found, budget: int) -> pl.DataFrame:
    """One row a decision, the most suspicious first, with columns to fill in.

    Args:
        found: the newest search.
        budget: most decisions.
    """
    open_rows = found.table.filter(pl.col("reviewed").is_null()).sort("rank")
    alike = open_rows.group_by("cluster").agg(alike=pl.len())
    first = open_rows.unique("cluster", keep="first", maintain_order=True).head(budget)
    return _to_fill(first.join(alike, on="cluster", how="left", maintain_order="left"))


def to_draw(found: Found, count: int) -> pl.DataFrame:
    """Rows drawn at random from those without a verdict, with the same columns and `drawn`.

    The order is that of a digest of each row: chance to whatever is wrong with it, and the same
    rows again until they have verdicts.

    Args:
        found: the newest search.
        count: most rows.
    """
    open_rows = found.table.filter(pl.col("reviewed").is_null())
    named = open_rows.select("id", "text", "text_pair", "label")
    chance = pl.Series("chance", [_chance(row) for row in named.iter_rows()], pl.Binary)
    frame = open_rows.with_columns(chance).sort("chance").head(count)
    # One decision a row: what is like it was not drawn, though it gets the same verdict.
    return _to_fill(frame.with_columns(alike=pl.lit(1, pl.UInt32))).with_columns(drawn=pl.lit(True))


def write_review(frame: pl.DataFrame, path: Path) -> int:
    """Write decisions as .csv, .parquet or .json (Label Studio); how many there are.

    Raises:
        InputError: another ending, or a file that is there.
    """
    if path.suffix.removeprefix(".") not in FORMATS:
        raise InputError(
            f"--out {path}", ".csv, .parquet or .json", f"{path.suffix or 'no ending'}", "Name one."
        )
    if path.exists():
        raise InputError(
            f"--out {path}", "a new file", "one that exists", "It may hold verdicts; name another."
        )
    if path.suffix == ".json":
        path.write_text(json.dumps(_label_studio(frame), indent=1) + "\n", "utf-8")
    elif path.suffix == ".csv":
        inert(frame, ["text", "text_pair"]).write_csv(path)
    else:
        frame.write_parquet(path)
    return len(frame)


def label_config(labels: tuple[str, ...]) -> str:
    """The labelling interface that goes with the file for Label Studio."""
    choices = "".join(f'<Choice value="{_escaped(label)}"/>' for label in (*labels, NONE))
    return (
        '<View><Text name="text" value="$text"/><Text name="text_pair" value="$text_pair"/>'
        '<Text name="label" value="given: $label"/>'
        f'<Choices name="right_label" toName="text" choice="single">{choices}</Choices></View>'
    )


def conflicts(verdicts: Verdicts, found: Found, digests: list[bytes]) -> pl.DataFrame:
    """Rows on which reviewers disagree: id, label, and who says what."""
    place = {row: i for i, row in enumerate(digests)}
    rows = [
        {
            "id": found.table["id"][place[row]],
            "label": found.table["label"][place[row]],
            "said": ", ".join(f"{who or 'somebody'}: {label}" for who, label in by.items()),
        }
        for row, by in verdicts.conflicts.items()
        if row in place
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("id", "label", "said"), pl.String))


def _to_fill(rows: pl.DataFrame) -> pl.DataFrame:
    blank = {name: pl.lit(None, pl.String) for name in ("right_label", "reviewer")}
    return rows.select(COLUMNS).with_columns(**blank)


def _chance(row: tuple[object, ...]) -> bytes:
    return hashlib.sha256(json.dumps(["drawn", *row]).encode()).digest()


def _label_studio(frame: pl.DataFrame) -> list[dict]:
    tasks = []
    for row in frame.drop("right_label", "reviewer").iter_rows(named=True):
        choice = {"choices": [row["suggested"]]}
        result = {"from_name": "right_label", "to_name": "text", "type": "choices", "value": choice}
        score = row["probability"]
        data = {name: "" if value is None else value for name, value in row.items()}
        tasks.append({"data": data, "predictions": [{"result": [result], "score": score}]})
    return tasks


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
