"""Tables are equal in every format, and digests depend on every cell."""

import dataclasses
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.data.file_content import HEAD_BYTES
from tests.tasks.data.table_files import (
    FORMATS,
    LABELS,
    ROWS,
    make_source,
    read,
    refusal,
    save_table,
    single_problem,
)


@pytest.mark.parametrize("suffix", FORMATS)
def test_content_is_as_written(tmp_path, suffix):
    source = save_table(tmp_path, suffix, ROWS).model_copy(update={"groups": ("genre",)})
    table = read(source, tmp_path)
    assert table.ids == ROWS["id"]
    assert table.texts == ROWS["text"]
    assert table.text_pairs is None
    assert table.labels == [1, 0, 0, 1]
    assert table.groups == {"genre": ROWS["genre"]}
    assert len(table) == 4
    assert table.place == str(tmp_path / f"rows.{suffix}")


@pytest.mark.parametrize("suffix", FORMATS)
def test_pairs_and_ids_from_row_numbers(tmp_path, suffix):
    save_table(tmp_path, suffix, {"p": ["a", "b"], "h": ["c", "d"], "label": ["neg", "pos"]})
    table = read(make_source(f"rows.{suffix}", text=["p", "h"], id=None), tmp_path)
    assert (table.ids, table.texts, table.text_pairs) == (["1", "2"], ["a", "b"], ["c", "d"])


def has_ink(text: str) -> bool:
    """Whether a text has visible characters."""
    return any(unicodedata.category(c) not in ("Cc", "Cf", "Zs", "Zl", "Zp") for c in text)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)


@settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(WORDS.filter(has_ink), st.sampled_from(LABELS), st.none() | WORDS),
        min_size=1,
        max_size=5,
    )
)
def test_any_rows_are_the_same_in_all_formats(tmp_path, rows):
    texts, labels, groups = (list(column) for column in zip(*rows, strict=True))
    columns = {"text": texts, "label": labels, "genre": groups, "n": list(range(len(rows)))}
    frame = pl.DataFrame(columns, schema_overrides={"genre": pl.String}).to_dict()
    read_back = []
    for suffix in FORMATS:
        save_table(tmp_path, suffix, frame)
        table = read(make_source(f"rows.{suffix}", id="n", groups=["genre", "n"]), tmp_path)
        composed = [word and unicodedata.normalize("NFC", word) for word in groups]
        assert (table.texts, table.groups["genre"]) == (texts, composed)
        read_back.append(dataclasses.replace(table, place=""))
    assert read_back[0] == read_back[1] == read_back[2]


def test_digest_changes_with_every_cell_and_with_the_order(tmp_path):
    def digest(rows: dict) -> str:
        source = save_table(tmp_path, "parquet", rows).model_copy(update={"groups": ("genre",)})
        return read(source, tmp_path).digest

    first, digests = digest(ROWS), set()
    for name, column in ROWS.items():
        for row, value in enumerate(column):
            other = {"pos": "neg", "neg": "pos", None: ""}.get(value, f"{value}.")
            cells = [*column[:row], other, *column[row + 1 :]]
            digests.add(digest(ROWS | {name: cells}))
    digests.add(digest({name: column[::-1] for name, column in ROWS.items()}))
    assert len(digests) == 4 * 4 + 1
    assert first not in digests
    assert digest(ROWS) == first


def test_digest_knows_where_a_text_ends(tmp_path):
    def digest(first: str, second: str) -> str:
        save_table(
            tmp_path, "parquet", {"id": ["1"], "a": [first], "b": [second], "label": ["neg"]}
        )
        return read(make_source("rows.parquet", text=["a", "b"]), tmp_path).digest

    assert digest("ab", "c") != digest("a", "bc")
    assert digest('a","b', "c") != digest("a", 'b","c')


@pytest.mark.parametrize("suffix", FORMATS)
def test_whole_numbers_fit_labels_of_that_spelling(tmp_path, suffix):
    source = save_table(tmp_path, suffix, ROWS | {"label": [1, 0, 0, 1]})
    assert read(source, tmp_path, ["0", "1"]).labels == [1, 0, 0, 1]
    assert read(source, tmp_path, ["1", "0"]).labels == [0, 1, 1, 0]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_numbers_are_never_positions(tmp_path, suffix):
    source = save_table(tmp_path, suffix, ROWS | {"label": [1, 0, 0, 1]})
    problem = single_problem(refusal(source, tmp_path))
    assert '"neg", "pos"' in problem.expected
    assert 'row 1: "1"' in problem.got
    assert "labels to these numbers" in problem.remedy


def test_numbers_as_ids_and_groups(tmp_path):
    source = save_table(
        tmp_path, "parquet", ROWS | {"id": [3, 1, 2, 9], "genre": [0.5, None, 1.0, 2.0]}
    )
    table = read(source.model_copy(update={"groups": ("genre",)}), tmp_path)
    assert table.ids == ["3", "1", "2", "9"]
    assert table.groups == {"genre": ["0.5", None, "1.0", "2.0"]}


def test_a_blank_line_of_a_csv_is_counted_but_no_row(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("id,text,label\n1,a,pos\n\n3,c,neg\n4,d,nge\n")
    assert 'row 4: "nge"' in single_problem(refusal(make_source("rows.csv"), tmp_path)).got
    path.write_text(path.read_text().replace("nge", "neg"))
    assert read(make_source("rows.csv"), tmp_path).ids == ["1", "3", "4"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_that_look_like_patterns(tmp_path, suffix):
    """A short file is read from memory, a longer one by its name."""
    folder = tmp_path / "run=1"
    folder.mkdir()
    long = ROWS | {"text": [os.urandom(HEAD_BYTES // 4).hex() for _ in ROWS["text"]]}
    for columns in (ROWS, long):
        save_table(folder, suffix, columns, "a[1]*")
        is_long = (folder / f"a[1]*.{suffix}").stat().st_size > HEAD_BYTES
        assert is_long == (columns is long)
        assert read(make_source(f"run=1/a[1]*.{suffix}"), tmp_path).texts == columns["text"]


def test_reading_a_table_needs_no_torch():
    code = "import sys, tasks.data.dataset; print('torch' in sys.modules)"
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"
