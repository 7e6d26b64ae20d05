"""A table in any format, encoding, separator or compression is the table of the Parquet file."""

import csv
import io
import zipfile

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tasks.data.file_content import TooLargeError, open_content
from tasks.data.preview import preview_table
from tasks.data.text_encoding import detect_encoding
from tasks.data.undecided import UndecidedError
from tasks.study.errors import StudyError
from tests.tasks.data.file_variants import (
    COMPRESSIONS,
    ENCODINGS,
    WRITERS,
    write_variants,
    zip_rows,
)
from tests.tasks.data.languages import PAGES, SENTENCES
from tests.tasks.data.table_files import (
    LABELS,
    ROWS,
    make_source,
    read,
    refusal,
    save_table,
    single_problem,
)

CELLS = st.text(
    st.characters(codec="cp1252", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12
).filter(lambda text: text.strip("\xa0\xad ") != "")
LATIN = st.text("abc xyz;,|'\"\u00e9\u00fc\u00df", min_size=1, max_size=9).filter(str.strip)


@settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(ENCODINGS))
def test_digests_are_those_of_the_parquet_file(tmp_path, data, encoding):
    cells = LATIN if encoding == "cp1252" else CELLS
    row = st.tuples(cells, st.sampled_from(LABELS), st.none() | cells)
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    texts, labels, groups = (list(column) for column in zip(*rows, strict=True))
    columns = {"nr": list(range(len(rows))), "text": texts, "label": labels, "genre": groups}
    frame = pl.DataFrame(columns, schema_overrides={"genre": pl.String})
    if encoding == "cp1252":
        assume(not is_ambiguous(frame.write_csv().encode(encoding)))
        assume(not is_ambiguous(frame.write_ndjson().encode(encoding)))
    keys = {"id": "nr", "groups": ["genre"]}
    save_table(tmp_path, "parquet", frame.to_dict())
    expected = read(make_source("rows.parquet", **keys), tmp_path)
    for name in write_variants(tmp_path, frame, encoding):
        table = read(make_source(name, **keys), tmp_path)
        assert (table.digest, table.texts) == (expected.digest, expected.texts), name


def is_ambiguous(data: bytes) -> bool:
    try:
        detect_encoding(data)
        return False
    except UndecidedError:
        return True


@pytest.mark.parametrize("language", SENTENCES)
def test_an_8_bit_text_is_read_right_or_refused(language):
    for encoding in PAGES[language]:
        data = f"id,text\n1,{SENTENCES[language]}\n".encode(encoding, "ignore")
        if is_ambiguous(data):
            assert encoding != "cp1252" or language in ("is", "et")
        else:
            assert data.decode(detect_encoding(data)) == data.decode(encoding), encoding


def test_keys_that_say_what_was_detected_give_the_same_table(tmp_path):
    columns = ROWS | {"text": ["Gr\u00f6\u00dfe", "a;b", "gar\u00e7on", "fin"]}
    expected = read(save_table(tmp_path, "parquet", columns), tmp_path)
    text = pl.DataFrame(columns).write_csv(separator=";")
    (tmp_path / "rows.csv").write_bytes(text.encode("cp1252"))
    preview = preview_table(tmp_path / "rows.csv", 2)
    assert preview.detected == {"separator": ";", "encoding": "cp1252"}
    assert preview.frame.rows() == pl.DataFrame(columns)[:2].rows()
    table = read(make_source("rows.csv", **preview.detected), tmp_path)
    assert table.digest == expected.digest


def test_the_default_form_is_not_reported(tmp_path):
    save_table(tmp_path, "csv", ROWS)
    assert preview_table(tmp_path / "rows.csv").detected == {}
    assert preview_table(tmp_path / "rows.csv").frame.columns == list(ROWS)


@pytest.mark.parametrize(
    ("name", "data", "where", "got"),
    [
        ("rows.csv", b"id;a,text;b,label\n1;x,y;z,w\n", "[train] separator", "commas or semi"),
        ("rows.csv", "id,text\n1,\u043f\u0440\u0438\u0432\u0435\u0442\n".encode("cp1251"),
         "[train] encoding", "not UTF-8"),
        ("rows.csv", "id,text\n1,\u00e9\u00e8\n".encode() + b"2,caf\xe9\n", "[train] encoding",
         "not UTF-8 throughout: byte 0xE9 in line 3"),
        ("rows.zip", b"PK\x05\x06" + bytes(18), "[train] table", "a zip archive of 0 files"),
        ("rows.csv.gz", COMPRESSIONS[".gz"](b"id,text\n1,a\n")[:-4], "[train] table", "damaged"),
        ("rows.zip", zip_rows(b"x", "notes.txt"), "[train] table", "notes.txt"),
        ("rows.csv", b'id,text\n1,"he \\"said\\" no"\n', "[train] table",
         "line 2: a quote inside"),
        ("rows.csv", b'id,text\n1,a\n2,"he "said" no"\n', "[train] table",
         "line 3: a quote inside"),
        ("rows.csv", b'id,text\n1,a\n2,"he said\n', "[train] table",
         "line 3: a quoted cell without"),
        ("rows.json", b'{"id": {"0": 1}}', "[train] table", "one object"),
        ("rows.json", b'{"id": 1}\n{"id": 2}\n', "[train] table", "rename it to .jsonl"),
        ("rows.json", b'[{"id": 1, "id": 2}]', "[train] table", "duplicate key"),
        ("rows.json", b'[{"id": "\\ud83d"}]', "[train] table", "row 1: a lone surrogate"),
        ("rows.json", b"[1]", "[train] table", "row 1: 1"),
        ("rows.arrow", b"ARROW1 nothing", "[train] table", ""),
        ("rows.feather", b"FEA1 nothing", "[train] table", "version 1"),
    ],
)  # fmt: skip
def test_a_file_of_unclear_form_is_refused(tmp_path, name, data, where, got):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(StudyError) as caught:
        preview_table(tmp_path / name)
    problem = single_problem(caught.value)
    assert problem.where == where
    assert got in problem.got


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(["a", '"', '""', ",", "\n", "b c", " ", "\\"]), max_size=14))
def test_quotes_are_read_as_python_reads_them_or_refused(tmp_path, parts):
    text = f"t,y\nfirst,x\n{''.join(parts)}\nlast,z\n"
    (tmp_path / "rows.csv").write_text(text, newline="")
    try:
        rows = preview_table(tmp_path / "rows.csv").frame.rows()
    except StudyError:
        return
    expected = csv.reader(io.StringIO(text, newline=""), strict=True)
    cells = [[*row, ""][:2] for row in expected if any(row)]
    assert [[cell or "" for cell in row] for row in rows if any(row)] == cells[1:]


@pytest.mark.parametrize("name", ["rows.parquet", *WRITERS])
def test_a_key_that_does_not_apply_is_refused(tmp_path, name):
    save_table(tmp_path, "parquet", ROWS)
    write_variants(tmp_path, pl.DataFrame(ROWS), "utf-8")
    problem = single_problem(refusal(make_source(name, sheet="One"), tmp_path))
    assert problem.where == "[train] sheet"
    assert "no such key" in problem.expected


def test_a_first_line_with_the_separator_as_excel_obeys_it(tmp_path):
    (tmp_path / "rows.csv").write_text("sep=;\nid;text;label\n1;a,b;pos\n2;c;neg\n")
    table = read(make_source("rows.csv"), tmp_path)
    assert (table.ids, table.texts) == (["1", "2"], ["a,b", "c"])


def test_lines_that_end_as_on_an_old_macintosh(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"id,text,label\r1,a,pos\r2,b,neg\r")
    assert read(make_source("rows.csv"), tmp_path).texts == ["a", "b"]


@pytest.mark.parametrize(
    ("keys", "change"),
    [({"separator": ";"}, "correct separator, or remove it"), ({}, "set separator to")],
)
def test_a_separator_that_divides_no_line_is_the_problem(tmp_path, keys, change):
    separator = "," if keys else "^"
    (tmp_path / "rows.csv").write_text("id,text,label\n1,a,pos\n".replace(",", separator))
    problem = single_problem(refusal(make_source("rows.csv", **keys), tmp_path))
    assert problem.where == "[train] separator"
    assert f'a single column, "id{separator}text{separator}label"' in problem.got
    assert change in problem.remedy


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_content_is_decompressed_up_to_a_limit(tmp_path, suffix):
    path, data = tmp_path / f"rows.csv{suffix}", bytes(100_000)
    path.write_bytes(COMPRESSIONS[suffix](data))
    assert path.stat().st_size < 1000
    assert open_content(path, 100_000).data == data
    with pytest.raises(TooLargeError):
        open_content(path, 99_999)


def test_a_workbook_of_more_content_than_memory_is_refused(tmp_path):
    path = tmp_path / "rows.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"x")
        archive.infolist()[0].file_size = 2**50
    problem = single_problem(refusal(make_source(path.name), tmp_path))
    assert problem.where == "[train] table"
    assert "GB decompressed, for this machine's memory" in problem.expected
    assert "save it uncompressed" in problem.remedy
