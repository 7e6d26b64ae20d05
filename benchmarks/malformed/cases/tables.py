"""Malformed and unusual tables."""

from pathlib import Path

from benchmarks.malformed.case import TAKEN, Case, leave
from benchmarks.malformed.spoils import (
    append,
    cell,
    chain,
    edit,
    fifo,
    recode,
    remove,
    rows,
    write,
)

DRY = ("audit", "study.toml", "--dry-run")


def _semicolons(folder: Path) -> None:
    path = folder / "train.csv"
    path.write_text(path.read_text("utf-8").replace(",", ";"), "utf-8")


def _symlink_loop(folder: Path) -> None:
    (folder / "train.csv").unlink()
    (folder / "train.csv").symlink_to("train.csv")


def _folder_as_table(folder: Path) -> None:
    (folder / "train.csv").unlink()
    (folder / "train.csv").mkdir()


TABLES: tuple[Case, ...] = (
    Case("tables", "semicolons instead of commas", DRY, _semicolons, ("train.csv", "separator|;"),
         codes=(0, 2)),
    Case("tables", "Windows-1252 with umlauts", DRY,
         chain(cell("train.csv", 2, "text", "der Film war schön"), recode("train.csv", "cp1252")),
         ("train.csv", "utf-8|encoding|cp1252|windows"), codes=(0, 2)),
    Case("tables", "UTF-16, as Excel saves Unicode text", DRY, recode("train.csv", "utf-16"),
         ("train.csv", "utf-16|utf-8|encoding"), codes=(0, 2)),
    Case("tables", "a duplicate column", DRY,
         edit("id,text,label,source", "id,text,label,label", "train.csv"),
         ("train.csv", "label"), ()),
    Case("tables", "the label among the features", ("mislabels", "study.toml", "--dry-run"),
         edit('["x", "y"]', '["x", "label"]'), ("[train]", "label"), base="table"),
    Case("tables", "the label column as text", DRY, edit('text = "text"', 'text = "label"'),
         ("text", "label")),
    Case("tables", "no training rows", DRY, write("train.csv", "id,text,label,source\n"),
         ("train.csv", "1 or more rows|empty")),
    Case("tables", "an empty label", DRY, cell("train.csv", 7, "label", ""),
         ("train.csv", "row 7", "label")),
    Case("tables", "an empty file", DRY, write("train.csv", b""), ("train.csv", "empty")),
    Case("tables", "a table of NUL bytes", DRY, write("train.csv", b"\0" * 300), ("train.csv",)),
    Case("tables", "a PNG named .csv", DRY, write("train.csv", b"\x89PNG\r\n\x1a\n" + bytes(64)),
         ("train.csv",)),
    Case("tables", "a label that the list lacks", DRY, cell("queries.csv", 2, "label", "Pos"),
         ("queries.csv", "row 2", 'did you mean "pos"')),
    Case("tables", "duplicate ids", DRY, cell("train.csv", 9, "id", "r0"),
         ("train.csv", "row 9", "r0", "unique")),
    Case("tables", "a decimal comma", ("mislabels", "study.toml", "--dry-run"),
         rows("t.csv", lambda rs: [r | {"x": r["x"].replace(".", ",")} for r in rs]),
         ("x", "decimal|comma"), base="table", codes=(0, 2)),
    Case("tables", "an infinite number", ("mislabels", "study.toml", "--dry-run"),
         cell("t.csv", 3, "x", "inf"), ("t.csv", "row 3", "x"), base="table"),
    Case("tables", "a row with too many cells", DRY, append('r99,"a",neg,a,more\n', "train.csv"),
         ("train.csv",)),
    Case("tables", "a FIFO in the table's place", DRY, fifo("train.csv"),
         ("train.csv", "fifo|pipe|not a file|special"), ("did you mean",)),
    Case("tables", "a symbolic link to itself", DRY, _symlink_loop,
         ("train.csv", "link"), ("did you mean",)),
    Case("tables", "an empty folder in the table's place", DRY, _folder_as_table, ("train.csv",)),
    Case("tables", "both tables and the model missing", DRY,
         chain(remove("train.csv", "queries.csv"), lambda f: (f / "model").rename(f / "modle")),
         ("train.csv", "queries.csv", "model")),
    Case("tables", "one row of each class", ("mislabels", "study.toml", "--dry-run"),
         write("t.csv", "x,y,label\n1,2,a\n3,4,b\n"), ("rows",), base="table", codes=(0, 2)),
    Case("tables", "the study as it is", DRY, leave, codes=TAKEN),
)  # fmt: skip
