"""What people said of labels: read from their files, kept in the store, applied to the rows."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from storage import VERDICTS, Store, StoreError, polars_schema, write_table
from tasks.problems import Problem, StudyError, listed, show
from tasks.row_digests import row_digests
from tasks.study import Study
from tasks.tables import Table

KIND = "verdicts"
NONE = "none"
"""In place of a right label: no label fits the row."""
SHOWN = 5


@dataclass(frozen=True)
class Asked:
    """A row that was drawn at random: its given label, and the doubt that was told of it."""

    label: str
    doubt: float


@dataclass(frozen=True)
class Verdicts:
    """What is known of rows by their digest.

    Attributes:
        settled: the right label of rows on which all reviewers agree; NONE where none fits.
        conflicts: what each reviewer said of the others.
        told: probability of a wrong label that rows had when they were looked at.
        drawn: settled rows that were drawn at random.
    """

    settled: Mapping[bytes, str]
    conflicts: Mapping[bytes, Mapping[str, str]]
    told: Mapping[bytes, float]
    drawn: Mapping[bytes, Asked]

    @property
    def digest(self) -> str:
        """Of all that changes an answer, or what is told beside it."""
        told = sorted((row.hex(), label) for row, label in self.settled.items())
        drawn = sorted((row.hex(), asked.doubt) for row, asked in self.drawn.items())
        text = json.dumps([told, sorted(row.hex() for row in self.conflicts), drawn])
        return hashlib.sha256(text.encode()).hexdigest()


def read_verdicts(store: Store | None) -> Verdicts:
    """All verdicts of a store; a reviewer's later one replaces the earlier."""
    folders = {} if store is None else store.sound_parts(KIND)
    frames = [
        pl.read_parquet(folder / "verdicts.parquet").with_columns(
            when=pl.lit(json.loads((folder / "import.json").read_text())["when"])
        )
        for folder in folders.values()
    ]
    if not frames:
        return Verdicts({}, {}, {}, {})
    # Files of before there was a draw lack its columns.
    rows = pl.concat(frames, how="diagonal").sort("when", maintain_order=True)
    said: dict[bytes, dict[str, str]] = defaultdict(dict)
    told: dict[bytes, float] = {}
    drawn: dict[bytes, Asked] = {}
    for row in rows.iter_rows(named=True):
        said[row["row"]][row["reviewer"]] = row["right_label"] or NONE
        if row["probability"] is not None:
            told[row["row"]] = row["probability"]
        if row.get("drawn") and row["doubt"] is not None:
            drawn[row["row"]] = Asked(row["label"], row["doubt"])
    settled = {row: next(iter(by.values())) for row, by in said.items() if _agree(by)}
    conflicts = {row: by for row, by in said.items() if not _agree(by)}
    drawn = {row: asked for row, asked in drawn.items() if row in settled}
    return Verdicts(settled, conflicts, told, drawn)


def import_verdicts(
    store: Store, study: Study, table: Table, found: pl.DataFrame, path: Path, when: str
) -> int:
    """Keep what a file says of rows, and of those that are alike; how many rows that are.

    Args:
        store: of the study.
        study: names the labels.
        table: training rows as they are now.
        found: the newest table of mislabels, which knows what is alike.
        path: a .csv, .parquet or Label Studio .json file.
        when: time of the import.

    Raises:
        StudyError: everything that is wrong with the file; nothing is kept then.
    """
    said = _checked(_read(path), study, table, path)
    place = {name: i for i, name in enumerate(table.ids)}
    cluster = dict(zip(found["id"], found["cluster"], strict=True))
    chance = dict(zip(found["id"], found["probability"], strict=True))
    # A search of before there was such a column told only the one probability.
    doubts = found["doubt"].fill_null(found["probability"])
    doubt = dict(zip(found["id"], doubts, strict=True))
    own = {(name, reviewer) for name, _, reviewer, _ in said}
    alike: dict[int, list[str]] = defaultdict(list)
    for name, number in cluster.items():
        alike[number].append(name)
    digests = row_digests(table)
    records: dict[tuple[bytes, str], dict] = {}
    for name, right, reviewer, drawn in said:
        members = alike[cluster[name]] if name in cluster else [name]
        # What the reviewer said of a row itself goes before what was said of one like it.
        others = {m for m in members if m != name and (m, reviewer) not in own}
        for member in (m for m in members if m in place and (m == name or m in others)):
            row = digests[place[member]]
            records[row, reviewer] = {
                "row": row,
                "id": member,
                "label": study.labels[table.labels[place[member]]],
                "right_label": None if right == NONE else right,
                "reviewer": reviewer,
                "probability": chance.get(member),
                "doubt": doubt.get(member),
                # What is like a drawn row was not drawn.
                "drawn": drawn and member == name,
            }
    frame = pl.DataFrame(list(records.values()), schema=polars_schema(VERDICTS))

    def write(folder: Path) -> None:
        write_table(folder, KIND, frame)
        told = {"when": when, "file": path.name, "rows": len(frame)}
        (folder / "import.json").write_text(json.dumps(told) + "\n")

    content = json.dumps([when, sorted((row.hex(), who) for row, who in records)])
    store.write_part(KIND, hashlib.sha256(content.encode()).hexdigest(), write)
    return len(frame)


def _agree(by: Mapping[str, str]) -> bool:
    return len(set(by.values())) == 1


def _read(path: Path) -> list[dict[str, object]]:
    """Rows of a file of verdicts, with the keys id, right_label and reviewer."""
    try:
        if path.suffix == ".json":
            return _label_studio(json.loads(path.read_text("utf-8-sig")))
        read = {".csv": pl.read_csv, ".parquet": pl.read_parquet}.get(path.suffix)
        if read is None:
            got, change = show(path.suffix), "save it as one of these"
            raise StudyError(path, [Problem("file", ".csv, .parquet or .json", got, change)])
        options = {"infer_schema": False} if path.suffix == ".csv" else {}
        return read(path, **options).to_dicts()
    except FileNotFoundError:
        problem = Problem("file", "a file of verdicts", "nothing there", "correct the path")
        raise StudyError(path, [problem]) from None
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        if isinstance(error, StudyError):
            raise
        got = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        change = "fill in a file of `fastif review export`"
        raise StudyError(path, [Problem("file", "a readable table", got, change)]) from None


def _label_studio(tasks: Sequence[dict]) -> list[dict[str, object]]:
    """One row an annotation; a task without one is not seen yet."""
    rows: list[dict[str, object]] = []
    for task in tasks:
        for annotation in task.get("annotations", []):
            for result in annotation.get("result", []):
                rows.append(
                    {
                        "id": task["data"]["id"],
                        "right_label": result["value"]["choices"][0],
                        "reviewer": str(annotation.get("completed_by", "")),
                        "drawn": task["data"].get("drawn"),
                    }
                )
    return rows


def _checked(
    rows: Sequence[dict[str, object]], study: Study, table: Table, path: Path
) -> list[tuple[str, str, str, bool]]:
    """Id, right label and reviewer of every row that has a verdict, and whether it was drawn."""
    problems = []
    if rows and not {"id", "right_label"} <= rows[0].keys():
        got, change = listed(rows[0]), "fill in a file of `fastif review export`"
        raise StudyError(path, [Problem("columns", "id and right_label", got, change)])
    said = [
        (
            str(r["id"]),
            str(r["right_label"]).strip(),
            str(r.get("reviewer") or "").strip(),
            str(r.get("drawn")).lower() == "true",
        )
        for r in rows
        if r["right_label"] is not None and str(r["right_label"]).strip()
    ]
    if not said:
        change = "write the right label of the rows that you have looked at"
        problems.append(Problem("column right_label", "one label or more", "none", change))
    ids, allowed = set(table.ids), {*study.labels, NONE}
    unknown = [name for name, *_ in said if name not in ids]
    if unknown:
        got = listed(map(show, unknown), SHOWN)
        change = "remove rows that are no longer in the training table"
        problems.append(Problem("column id", "ids of the training table", got, change))
    foreign = [label for _, label, *_ in said if label not in allowed]
    if foreign:
        expected = f"one of {listed(map(show, study.labels))}, or {show(NONE)} if none fits"
        got = listed(map(show, dict.fromkeys(foreign)), SHOWN)
        problems.append(Problem("column right_label", expected, got, "correct these rows"))
    if problems:
        raise StudyError(path, problems)
    return said


def no_mislabels(store: Store) -> StoreError:
    """There is nothing to review yet."""
    return StoreError.at(
        store.layout.root,
        expected="a table of mislabels",
        got="none",
        remedy="Run `fastif mislabels` first.",
    )
