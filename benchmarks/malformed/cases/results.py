"""Unusual contents of results: characters, copies, rare classes, reviews."""

from pathlib import Path

from benchmarks.malformed.case import TAKEN, Case
from benchmarks.malformed.cases.stores import write_verdicts
from benchmarks.malformed.folders import read_rows, run_audit, write_rows
from benchmarks.malformed.spoils import chain, edit, rows, write

CLEAR = "\x1b[2J\x1b]0;title\x07"


def _audit(folder: Path) -> None:
    run_audit(folder / "study.toml")


def _hostile(folder: Path) -> None:
    """Put escape sequences into texts, ids, labels and groups."""
    for name in ("train.csv", "queries.csv"):
        changed = [
            row
            | {
                "id": CLEAR + row["id"],
                "text": row["text"] + CLEAR,
                "source": CLEAR + row["source"],
                "label": row["label"].replace("neg", "neg\x1b[5m"),
            }
            for row in read_rows(folder / name)
        ]
        write_rows(folder / name, changed)
    edit('["neg", "pos"]', '["neg\\u001b[5m", "pos"]')(folder)
    edit('"neg"', '"neg\\u001b[5m"', "model/config.json")(folder)


def _noncharacters(folder: Path) -> None:
    for name in ("train.csv", "queries.csv"):
        changed = [r | {"source": r["source"] + "\ufffe\x0b"} for r in read_rows(folder / name)]
        write_rows(folder / name, changed)


def _formulas(folder: Path) -> None:
    for name in ("train.csv", "queries.csv"):
        changed = [
            r | {"id": "=cmd|'/c calc'!" + r["id"], "source": "@" + r["source"]}
            for r in read_rows(folder / name)
        ]
        write_rows(folder / name, changed)


def _copies(folder: Path) -> None:
    write_rows(folder / "queries.csv", read_rows(folder / "train.csv")[:12])


def _single(folder: Path) -> None:
    rows("t.csv", lambda records: [*records, {"x": "9", "y": "9", "label": "c"}])(folder)
    edit('["a", "b"]', '["a", "b", "c"]')(folder)


def _two_verdicts(folder: Path) -> None:
    write_verdicts(folder, [("r1", "neg", "ann"), ("r1", "pos", "ann")])


def _unknown_label(folder: Path) -> None:
    write_verdicts(folder, [("r1", "Negg", "ann")])


def _unknown_row(folder: Path) -> None:
    write_verdicts(folder, [("r999", "neg", "ann")])


IMPORT = ("review", "import", "verdicts.csv")

RESULTS: tuple[Case, ...] = (
    Case("contents", "escape sequences, top", ("top", f"{CLEAR}q1"), chain(_hostile, _audit),
         ("q1",), codes=TAKEN),
    Case("contents", "escape sequences, show", ("show", f"{CLEAR}r1"), chain(_hostile, _audit),
         ("r1",), codes=TAKEN),
    Case("contents", "escape sequences, audit", ("audit", "study.toml"), chain(_hostile, _audit),
         ("accuracy",), codes=TAKEN, changes=True),
    Case("contents", "escape sequences, an unknown id", ("top", f"{CLEAR}q99"),
         chain(_hostile, _audit), ("q99",)),
    Case("contents", "escape sequences, report", ("report",), chain(_hostile, _audit),
         ("report:",), codes=TAKEN, changes=True),
    Case("contents", "U+FFFE and a vertical tab in a group, report", ("report",),
         chain(_noncharacters, _audit), ("report:",), codes=TAKEN, changes=True),
    Case("contents", "every query is a training row, report", ("report",),
         chain(_copies, _audit), ("query leakage", "Read with care"), codes=TAKEN, changes=True),
    Case("contents", "every query is a training row, audit", ("audit", "study.toml"),
         chain(_copies, _audit), ("12 of 12", "training rows"), codes=TAKEN, changes=True),
    Case("contents", "a class of one row, mislabels", ("mislabels", "study.toml", "-k", "90"),
         _single, ("only row of its class",), codes=TAKEN, base="table",
         changes=True),
    Case("contents", "mislabels of a study with another name",
         ("mislabels", "other.toml", "-k", "1"),
         lambda folder: (folder / "study.toml").rename(folder / "other.toml"),
         ("other.toml", "fastif review export"), codes=TAKEN, base="table", changes=True),
    Case("reviews", "[1, 2] as JSON", ("review", "import", "v.json"), write("v.json", "[1, 2]"),
         ("v.json", "objects"), base="searched"),
    Case("reviews", "an empty file", ("review", "import", "v.csv"), write("v.csv", ""),
         ("v.csv", "right_label"), base="searched"),
    Case("reviews", "no such file", ("review", "import", "v.csv"), lambda folder: None,
         ("v.csv", "no such file|nothing"), base="searched"),
    Case("reviews", "an Excel workbook", ("review", "import", "v.xlsx"), write("v.xlsx", b"PK"),
         ("v.xlsx", ".csv"), base="searched"),
    Case("reviews", "no column right_label", ("review", "import", "v.csv"),
         write("v.csv", "id,label\nr1,neg\n"), ("right_label",), base="searched"),
    Case("reviews", "two contradicting verdicts of one reviewer", IMPORT, _two_verdicts,
         ("row 1|row 2|rows 1", "r1"), ("Rows with imported annotations: 1.",), codes=(0, 1, 2),
         base="searched", changes=True),
    Case("reviews", "a label that the study lacks", IMPORT, _unknown_label,
         ("Negg", "did you mean|neg"), codes=(0, 1, 2), base="searched", changes=True),
    Case("reviews", "an id that the table lacks", IMPORT, _unknown_row,
         ("r999",), codes=(0, 1, 2), base="searched", changes=True),
    Case("reviews", "semicolons and Windows-1252", ("review", "import", "v.csv"),
         write("v.csv", "id;right_label;reviewer\nr1;neg;Jörg\n".encode("cp1252")),
         ("Windows-1252", "1"), codes=TAKEN, base="searched", changes=True),
    Case("reviews", "before any search", ("review", "export", "-o", "r.csv"), lambda folder: None,
         ("fastif mislabels",), base="audited"),
    Case("exports", "ids that are formulas, queries", ("export", "queries", "-o", "q.csv"),
         chain(_formulas, _audit), ("12 rows",), codes=TAKEN, changes=True),
)  # fmt: skip
