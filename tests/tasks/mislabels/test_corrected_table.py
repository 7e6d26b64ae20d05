"""Corrected tables in text formats: only the corrected cells and the dropped rows differ."""

import bz2
import gzip
import json
import lzma

import polars as pl
import pytest

from fastif import InputError
from tasks.data.dataset import read_table
from tasks.mislabels.corrected_files import name_corrected_table
from tasks.mislabels.corrected_table import correct_rows
from tasks.study.sections import TableSource
from tasks.study.study import load_study
from tests.tasks.data.workbook_files import write_xlsx
from tests.tasks.mislabels.corrected_study import (
    RIGHTS,
    TEXTS,
    annotate,
    apply_to,
    correct,
    make_study,
    write_study,
)


def test_a_csv_file_differs_in_the_corrected_cells_only(tmp_path):
    table = (
        'sep=;\r\n"id";text ;note;label;text\r\n'
        'a;x;"say ""no""; or\r\nyes";"neg";first é\r\n'
        "\r\n"
        "b;y; 007 ;pos;'second' \"quoted\"\r\n"
        "c;;;neg;third\r\n"
        "d;;\"\";neg;fourth €"
    ).encode("cp1252")  # fmt: skip
    path = apply_to(make_study(tmp_path, table, "rows.csv"), "out.csv")
    expected = table.replace(b'"neg";first', b'"pos";first').replace(b"c;;;neg;third\r\n", b"")
    assert path.read_bytes() == expected
    log = pl.read_csv(tmp_path / "out.changes.csv")
    assert log.rows() == [
        (1, "a", "label", "neg", "pos", "ann", "2026-01-02T03:04:05+00:00", "annotation"),
        (4, "c", "dropped", "neg", None, "ann", "2026-01-02T03:04:05+00:00",
         "annotation: no label fits"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "mark", "end"),
    [
        ("utf-8", "\ufeff", "\n"),
        ("utf-16-le", "\ufeff", "\r\n"),
        ("utf-16-be", "\ufeff", "\n"),
        ("utf-16-le", "", "\n"),
        ("cp1250", "", "\n"),
        ("utf-8", "", "\r"),
    ],
)
def test_encodings_and_line_ends_are_kept(tmp_path, encoding, mark, end):
    lines = ["id\ttext\tlabel", "a\tžluť\tneg", "b\tb\tpos", "c\tc\tneg", "d\td\tneg", ""]
    table = f"{mark}{end.join(lines)}".encode(encoding)
    keys = {"encoding": encoding} if encoding == "cp1250" else {}
    path = apply_to(make_study(tmp_path, table, "rows.tsv", **keys), "out.tsv")
    lines[1] = lines[1].replace("neg", "pos")
    del lines[3]
    assert path.read_bytes() == f"{mark}{end.join(lines)}".encode(encoding)


def test_a_label_that_the_encoding_lacks_is_refused(tmp_path):
    table = "id,text,label\na,bö,gut\nb,b,gut\nc,c,gut\nd,d,fuß\n".encode("cp1252")
    study = make_study(tmp_path, table, "rows.csv", ("gut", "fuß", "žluť"), {"a": "žluť"})
    with pytest.raises(InputError, match=r"U\+0165.*\.parquet"):
        apply_to(study, "out.csv")
    assert not list(tmp_path.glob("*out*"))
    assert pl.read_parquet(apply_to(study, "other.parquet"))["label"][0] == "žluť"


def test_labels_are_written_as_the_table_writes_them(tmp_path):
    table = b"id,text,label\na,x,1.0\nb,y,2.0\nc,z,1.0\nd,w,1.0\n"
    study = make_study(tmp_path, table, "rows.csv", "123", {"a": "2", "b": "3", "c": None})
    assert apply_to(study, "out.csv").read_bytes() == (b"id,text,label\na,x,2.0\nb,y,3\nd,w,1.0\n")


LINES = [
    '{"id": "a", "score": 1.50, "meta": {"by": "x", "label": "neg"}, "text": "\\u00e9 \\"l\\""}',
    '{"text":"b","id":"b","meta":{"label":"pos","by":null},"score":1e3}',
    '{"id": "c", "meta": {"label": "neg"}, "text": "c"}',
    '{"id": "d", "meta": {"label": "neg"}, "text": "d", "big": 12345678901234567}',
]


def test_json_lines_differ_in_the_corrected_values_only(tmp_path):
    table = f"{LINES[0]}\n\n{LINES[1]}\r\n{LINES[2]}\n{LINES[3]}"
    study = make_study(tmp_path, table.encode(), "rows.jsonl", label="meta.label")
    expected = table.replace(LINES[2] + "\n", "").replace(
        '"x", "label": "neg"', '"x", "label": "pos"'
    )
    assert apply_to(study, "out.ndjson").read_bytes() == expected.encode()
    typed = pl.read_parquet(apply_to(study, "typed.parquet"))
    assert [row["label"] for row in typed["meta"]] == ["pos", "pos", "neg"]
    assert typed["score"].to_list() == [1.5, 1000.0, None]


def test_a_json_array_differs_in_the_corrected_values_only(tmp_path):
    table = "[\n  " + ",\n  ".join(LINES) + "\n]\n"
    study = make_study(tmp_path, table.encode(), "rows.json", label="meta.label")
    expected = table.replace(f"{LINES[2]},\n  ", "").replace(
        '"x", "label": "neg"', '"x", "label": "pos"'
    )
    assert apply_to(study, "out.json").read_text() == expected


def test_numbers_and_truth_values_stay_what_they_are(tmp_path):
    rows = zip("abcd", "xyzw", "0100", strict=True)
    lines = [f'{{"id":"{name}","text":"{text}","label":{label}}}\n' for name, text, label in rows]
    table = "".join(lines).encode()
    study = make_study(tmp_path, table, "rows.jsonl", "01", {"a": "1", "b": "1", "c": None})
    assert (
        apply_to(study, "out.jsonl").read_bytes().startswith(b'{"id":"a","text":"x","label":1}\n')
    )
    (tmp_path / "t").mkdir()
    truths = table.replace(b":0", b":false").replace(b":1", b":true")
    study = make_study(
        tmp_path / "t", truths, "rows.jsonl", ("false", "true"), {"a": "true", "c": None}
    )
    path = apply_to(study, "out.jsonl")
    assert [json.loads(line)["label"] for line in path.open()] == [True, True, False]


def test_compressed_files(tmp_path):
    table = b"id,text,label\na,x,neg\nb,y,pos\nc,z,neg\nd,w,neg\n"
    study = make_study(tmp_path, gzip.compress(table), "rows.csv.gz")
    expected = b"id,text,label\na,x,pos\nb,y,pos\nd,w,neg\n"
    for suffix, decompress in ((".gz", gzip.decompress), (".xz", lzma.decompress),
                               (".bz2", bz2.decompress), ("", bytes)):  # fmt: skip
        path = apply_to(study, f"out{suffix.replace('.', '-')}.csv{suffix}")
        assert decompress(path.read_bytes()) == expected
    for suffix in (".zst", ".zip"):
        path = apply_to(study, f"out{suffix.replace('.', '-')}.jsonl{suffix}")
        source = TableSource(**TEXTS, table=path.name)
        assert read_table(source, ["neg", "pos"], tmp_path, "train").labels == [1, 1, 0]


def test_a_workbook_is_written_as_another_format(tmp_path):
    rows = [["id", "text", "n", "label"], ["a", "x", 1.0, "neg"], ["b", "y", 2.5, "pos"],
            ["c", "z", None, "neg"], ["d", "w", 3.0, "neg"]]  # fmt: skip
    write_xlsx(tmp_path / "made", {"first": rows, "second": [["other"]]})
    study = make_study(tmp_path, (tmp_path / "made").read_bytes(), "rows.xlsx", sheet="first")
    assert name_corrected_table(load_study(study)) == tmp_path / "rows-clean.parquet"
    with pytest.raises(InputError, match="Workbooks are read, but not written"):
        apply_to(study, "out.xlsx")
    assert pl.read_csv(apply_to(study, "out.csv")).rows() == [
        ("a", "x", 1.0, "pos"), ("b", "y", 2.5, "pos"), ("d", "w", 3.0, "neg")
    ]  # fmt: skip


def test_features_that_would_be_read_as_other_values_are_refused(tmp_path):
    table = b"id,x,y,label\na,1.50,u,neg\nb,2.5,v,pos\nc,3.5,u,neg\nd,4.5,v,neg\n"
    (tmp_path / "rows.csv").write_bytes(table)
    keys = {"table": "rows.csv", "features": ["x", "y"], "label": "label", "id": "id"}
    study = write_study(tmp_path, ["neg", "pos"], keys)
    annotate(study, RIGHTS)
    expected = table.replace(b"u,neg\nb", b"u,pos\nb").replace(b"c,3.5,u,neg\n", b"")
    assert apply_to(study, "out.csv").read_bytes() == expected
    with pytest.raises(InputError, match=r"column kinds.*Write the format of the table, \.csv"):
        apply_to(study, "typed.parquet")


def test_pairs_groups_and_rows_without_ids(tmp_path):
    table = b"first,second,label,source\np,q,neg,s1\np,r,neg,s2\np,q,pos,\np,,neg,s1\n"
    (tmp_path / "rows.csv").write_bytes(table)
    keys = {
        "table": "rows.csv",
        "text": ["first", "second"],
        "label": "label",
        "groups": ["source"],
    }
    study = write_study(tmp_path, ["neg", "pos"], keys)
    annotate(study, {"1": "pos", "4": "pos"})  # row 3 is identical to row 1, and was not reviewed
    path = apply_to(study, "out.csv", duplicates=True)
    assert path.read_bytes() == b"first,second,label,source\np,q,pos,s1\np,r,neg,s2\np,,pos,s1\n"
    assert pl.read_csv(tmp_path / "out.changes.csv")["why"].to_list() == [
        *("annotation", "duplicate of row 1", "annotation"),
    ]


def test_verbatim_queries_are_dropped(tmp_path):
    (tmp_path / "q.csv").write_bytes(b"id,text,label\nq1,y,neg\nq2,other,pos\nq3,y,pos\n")
    (tmp_path / "rows.csv").write_bytes(b"id,text,label\na,x,neg\nb,y,pos\nc,z,pos\n")
    train, queries = ({**TEXTS, "table": name} for name in ("rows.csv", "q.csv"))
    study = write_study(tmp_path, ["neg", "pos"], train, queries)
    path = apply_to(study, "out.csv", leaks=True)
    assert path.read_bytes() == b"id,text,label\na,x,neg\nc,z,pos\n"
    (row,) = pl.read_csv(tmp_path / "out.changes.csv").rows()
    assert row == (2, "b", "dropped", "pos", None, None, None, "leak: same text as query q1")


def test_applying_twice_to_the_corrected_table_changes_nothing(tmp_path):
    study = make_study(tmp_path, b"id,text,label\na,x,neg\nb,y,pos\nc,z,neg\nd,w,neg\n", "rows.csv")
    apply_to(study, "out.csv")
    study.write_text(study.read_text().replace("rows.csv", "out.csv"))
    correction = correct(study).correction
    assert not correction.changes
    assert correction.unchanged == {"already corrected": [0], "label confirmed": [1]}
    assert correction.gone == 1


def test_inputs_that_leave_nothing_to_do_are_refused(tmp_path):
    table = b"id,text,label\na,x,neg\nb,y,pos\nc,x,neg\n"
    (tmp_path / "rows.csv").write_bytes(table)
    study = write_study(tmp_path, ["neg", "pos"], {**TEXTS, "table": "rows.csv"})
    with pytest.raises(InputError, match="fastif review import"):
        correct(study)
    with pytest.raises(InputError, match=r"a study with \[queries\]"):
        correct_rows(study, None, duplicates=False, leaks=True)
    assert len(correct(study, duplicates=True).correction.changes) == 1
    annotate(study, {"b": None})
    with pytest.raises(InputError, match='"neg" in all rows'):
        correct(study)


def test_lines_that_readers_divide_differently_are_not_edited(tmp_path):
    table = b"id,text,label\na,x\ry,neg\nb,z,pos\nc,u,neg\nd,v,neg\n"
    study = make_study(tmp_path, table, "rows.csv")
    with pytest.raises(InputError, match=r"one row a line.*\.parquet"):
        apply_to(study, "out.csv")
    actual = pl.read_parquet(apply_to(study, "out.parquet"))
    assert actual.rows() == [("a", "x\ry", "pos"), ("b", "z", "pos"), ("d", "v", "neg")]


def test_equal_rows_of_a_table_may_have_different_labels(tmp_path):
    table = b"id,x,label\na,1,neg\nb,1,pos\nc,2,pos\nd,3,neg\n"
    (tmp_path / "rows.csv").write_bytes(table)
    keys = {"table": "rows.csv", "features": ["x"], "label": "label", "id": "id"}
    study = write_study(tmp_path, ["neg", "pos", "odd"], keys)
    annotate(study, {"a": "odd"})
    assert apply_to(study, "out.csv").read_bytes() == table.replace(b"1,neg", b"1,odd")
