"""Workbooks are read with the extra `excel`, and refused with its name without it."""

import sys
from types import ModuleType

import pytest

from tasks.mislabels.review_files import read_review
from tests.tasks.data.table_files import (
    ROWS,
    make_source,
    read,
    refusal,
    save_table,
    single_problem,
)
from tests.tasks.data.workbook_files import write_ods, write_xlsx

CELLS = [list(ROWS), *(list(row) for row in zip(*ROWS.values(), strict=True))]


@pytest.fixture
def reader() -> ModuleType:
    """The package that reads workbooks."""
    return pytest.importorskip("fastexcel")


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    write_xlsx(tmp_path / "rows.xlsx", {"One": CELLS})
    problem = single_problem(refusal(make_source("rows.xlsx"), tmp_path))
    assert "fastexcel is not installed" in problem.got
    assert "fastif[excel]" in problem.remedy


@pytest.mark.usefixtures("reader")
def test_a_workbook_is_the_table_of_the_parquet_file(tmp_path):
    expected = read(save_table(tmp_path, "parquet", ROWS), tmp_path)
    write_xlsx(tmp_path / "rows.xlsx", {"One": CELLS, "Two": []})
    write_ods(tmp_path / "rows.ods", CELLS)
    for name in ("rows.xlsx", "rows.ods"):
        table = read(make_source(name), tmp_path)
        assert (table.digest, table.texts) == (expected.digest, ROWS["text"])
    note = 'detected sheet = "One"'
    assert note in read(make_source("rows.xlsx"), tmp_path).notes[0]


@pytest.mark.usefixtures("reader")
def test_typed_cells_and_a_blank_row(tmp_path):
    rows = [["id", "text", "label", "genre"], [1, "a", 0, True], [], [3, "b", 1, None]]
    write_xlsx(tmp_path / "rows.xlsx", {"One": rows})
    table = read(make_source("rows.xlsx", groups=["genre"]), tmp_path, ["0", "1"])
    assert (table.ids, table.labels) == (["1", "3"], [0, 1])
    assert table.groups == {"genre": ["true", None]}
    write_xlsx(tmp_path / "rows.xlsx", {"One": [*rows[:3], [3, "b", 2, None]]})
    problem = single_problem(refusal(make_source("rows.xlsx"), tmp_path, ["0", "1"]))
    assert problem.got == 'row 3: "2"'


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("sheets", "keys", "where", "got"),
    [
        ({"One": CELLS, "Two": CELLS}, {}, "[train] sheet", '2 sheets with cells: "One", "Two"'),
        ({"One": CELLS}, {"sheet": "Onne"}, "[train] sheet", '"Onne"'),
        ({"One": [["id", "text", "text", "label"]]}, {}, "[train] table", 'named "text"'),
    ],
)
def test_an_unclear_workbook_is_refused(tmp_path, sheets, keys, where, got):
    write_xlsx(tmp_path / "rows.xlsx", sheets)
    problem = single_problem(refusal(make_source("rows.xlsx", **keys), tmp_path))
    assert problem.where == where
    assert got in problem.got


@pytest.mark.usefixtures("reader")
def test_a_file_that_is_no_workbook_is_refused(tmp_path):
    (tmp_path / "rows.xls").write_text("<html><table></table></html>")
    problem = single_problem(refusal(make_source("rows.xls"), tmp_path))
    assert "no Excel or OpenDocument workbook" in problem.got


@pytest.mark.usefixtures("reader")
def test_a_review_file_may_be_a_workbook(tmp_path):
    rows = [["id", "right_label", "reviewer"], [1, "pos", "Ann"], [2, None, None]]
    write_xlsx(tmp_path / "v.xlsx", {"One": rows})
    records = read_review(tmp_path / "v.xlsx").records
    assert [(r.id, r.right, r.reviewer) for r in records] == [("1", "pos", "Ann"), ("2", None, "")]
