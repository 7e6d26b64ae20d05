"""Tables of several annotators: long, wide and nested forms, and what is refused or left out."""

import polars as pl
import pytest
from command_line import invoke as run

from fastif import InputError
from tasks.mislabels.annotation_table import AnnotationColumns, read_annotation_table
from tasks.mislabels.annotator_tables import compute_annotator_tables

LONG = AnnotationColumns(row="id", annotator="who", label="label")
WIDE = AnnotationColumns(row="id", wide=("ann", "ben", "cem"))
ENTRIES = [
    ("a", "ann", "cat"), ("a", "ben", "cat"), ("a", "cem", "dog"),
    ("b", "ann", "dog"), ("b", "ben", "dog"),
    ("c", "cem", "cat"), ("c", "ann", "cat"), ("d", "ben", ""),
]  # fmt: skip


def write_long(folder, entries=ENTRIES):
    path = folder / "long.csv"
    pl.DataFrame(entries, schema=["id", "who", "label"], orient="row").write_csv(path)
    return path


def write_wide(folder):
    names = ("ann", "ben", "cem")
    given = {(row, who): label or None for row, who, label in ENTRIES}
    rows = [{"id": row} | {who: given.get((row, who)) for who in names} for row in "abcd"]
    path = folder / "wide.parquet"
    pl.DataFrame(rows).write_parquet(path)
    return path


def write_nested(folder):
    rows = [
        {"id": row, "people": [w for r, w, _ in ENTRIES if r == row],
         "labels": [label for r, _, label in ENTRIES if r == row]}
        for row in "abcd"
    ]  # fmt: skip
    path = folder / "nested.parquet"
    pl.DataFrame(rows).write_parquet(path)
    return path


def list_entries(named):
    data = named.data
    columns = zip(data.rows.tolist(), data.annotators.tolist(), data.labels.tolist(), strict=True)
    return {(named.rows[i], named.annotators[a], named.labels[j]) for i, a, j in columns}


def test_long_wide_and_nested_tables_are_the_same_annotations(tmp_path):
    nested = AnnotationColumns(row="id", annotator="people", label="labels")
    for path, columns in (
        (write_long(tmp_path), LONG),
        (write_wide(tmp_path), WIDE),
        (write_nested(tmp_path), nested),
    ):
        named = read_annotation_table(path, columns)
        assert list_entries(named) == {entry for entry in ENTRIES if entry[2]}
        assert named.rows == list("abcd")
        assert named.data.annotations_per_row.tolist() == [3, 2, 2, 0]
        assert named.notes == ()


def test_allowed_labels_are_matched_and_others_refused(tmp_path):
    path = write_long(tmp_path, [*ENTRIES, ("d", "ann", " Cat")])
    named = read_annotation_table(path, LONG, ["owl", "dog", "cat"])
    assert named.labels == ["owl", "dog", "cat"]
    assert ("d", "ann", "cat") in list_entries(named)
    with pytest.raises(InputError, match="5 other ones, such as"):
        read_annotation_table(path, LONG, ["owl", "dog"])


def test_numbers_with_gaps_are_labels_without_a_fraction(tmp_path):
    path = tmp_path / "wide.parquet"
    pl.DataFrame({"ann": [1.0, 2.0, None], "ben": [1, 2, 2]}).write_parquet(path)
    named = read_annotation_table(path, AnnotationColumns(wide=("ann", "ben")))
    assert named.labels == ["1", "2"]
    assert named.rows == ["1", "2", "3"]
    assert len(named.data.labels) == 5


def test_contradictions_are_left_out_and_named_and_repetitions_count_once(tmp_path):
    path = write_long(tmp_path, [*ENTRIES, ("a", "ann", "dog"), ("b", "ben", "dog")])
    named = read_annotation_table(path, LONG)
    assert len(named.data.labels) == 6
    (note,) = named.notes
    assert note.startswith("1 times the same annotator gives a row different labels, such as ann")
    assert "row a: cat and dog" in note


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (AnnotationColumns(annotator="who", label="label"), "a line is an annotation"),
        (AnnotationColumns(row="id", annotator="who"), "neither"),
        (AnnotationColumns(wide=("ann",)), "neither"),
        (AnnotationColumns("id", "who", "label", ("ann", "ben")), "both"),
        (AnnotationColumns("id", "whom", "label"), 'did you mean "who"'),
    ],
)
def test_columns_that_do_not_make_a_table_are_refused(tmp_path, columns, words):
    with pytest.raises(InputError, match=words):
        read_annotation_table(write_long(tmp_path), columns)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("a", "", "cat"), ("b", "ann", "dog")], "the annotator of each label; got 1 empty"),
        ([("", "ann", "cat"), ("b", "ann", "dog")], "the row of each label; got 1 empty"),
        ([("a", "ann", ""), ("b", "ann", "")], "one or more labels"),
        ([("a", "ann", "cat")], "cat alone"),
        ([("a", "ann", "cat"), ("a", "ann", "dog")], "without a contradiction"),
    ],
)
def test_incomplete_tables_are_refused(tmp_path, entries, words):
    with pytest.raises(InputError, match=words):
        read_annotation_table(write_long(tmp_path, entries), LONG)


def test_a_repeated_row_of_a_wide_table_is_refused(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text("id,ann,ben,cem\na,cat,cat,dog\na,cat,dog,dog\n")
    with pytest.raises(InputError, match="2 lines with the id of another line"):
        read_annotation_table(path, WIDE)


def test_the_tables_have_the_consensus_and_the_annotators_in_order(tmp_path):
    named = read_annotation_table(write_long(tmp_path), LONG)
    tables = compute_annotator_tables(named)
    rows = {row["row"]: row for row in tables.rows.iter_rows(named=True)}
    assert [rows[name]["consensus"] for name in "abcd"] == ["cat", "dog", "cat", None]
    assert [rows[name]["agreeing"] for name in "abc"] == [2, 2, 2]
    assert sorted(tables.rows["rank"]) == [0, 1, 2, 3]
    assert rows["d"]["rank"] == 0, "a row without an annotation gains most"
    assert tables.annotators["annotator"][-1] == "cem"
    assert (tables.annotators["low"] <= tables.annotators["accuracy"]).all()
    assert (tables.annotators["accuracy"] <= tables.annotators["high"]).all()


def test_the_command_prints_annotators_and_writes_the_consensus(tmp_path):
    path, to = write_long(tmp_path), tmp_path / "consensus.csv"
    options = ("--row", "id", "--annotator", "who", "--label", "label")
    done = run("annotators", path, *options, "--out", to)
    assert done.exit_code == 0, done.output
    assert "4 rows, 7 annotations" in done.output
    assert pl.read_csv(to)["consensus"].to_list() == ["cat", "dog", "cat", None]
    again = run("annotators", path, *options, "--out", to)
    assert again.exit_code == 2
    assert "a new file" in again.output
    assert run("annotators", path, "--column", "ann").exit_code == 2
    assert "no such file" in run("annotators", tmp_path / "none.csv", *options).output


def test_rows_without_annotations_are_no_wrong_consensus(tmp_path):
    """Three of three agree on two rows; a hundred other rows have no annotation."""
    lines = ["id,ann,ben,cat", "r,x,x,x", "s,y,y,y", *(f"n{i},,," for i in range(100))]
    (tmp_path / "wide.csv").write_text("\n".join(lines) + "\n")
    columns = [word for name in ("ann", "ben", "cat") for word in ("--column", name)]
    done = run("annotators", tmp_path / "wide.csv", "--row", "id", *columns)
    words = " ".join(done.output.replace("│", "").split())
    assert done.exit_code == 0
    assert "about 0 consensus labels" in words
    assert "100 rows have no annotation" in words
