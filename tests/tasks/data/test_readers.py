"""Tables are the same in every format, and refused with the row, the column and a remedy."""

import dataclasses
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import datasets
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tasks.data.dataset import Table, check_tables, read_table
from tasks.study.errors import StudyError
from tasks.study.fields import Names as NamesType
from tasks.study.sections import TableSource
from tasks.study.study import load_study

NLI = Path(__file__).parents[3] / "examples" / "nli" / "study.toml"
FORMATS = ("parquet", "csv", "jsonl")
LABELS = ("neg", "pos")
ROWS = {
    "id": ["a", "b", "007", "d"],
    "text": ["fine", 'she said "no", twice', "two\nlines", " caf\u00e9 "],
    "label": ["pos", "neg", "neg", "pos"],
    "genre": ["x", None, "y", "x"],
}


def save_table(folder: Path, suffix: str, columns: dict, name: str = "rows") -> TableSource:
    """The columns as a file of this format, and the section that names it."""
    frame, path = pl.DataFrame(columns), folder / f"{name}.{suffix}"
    if suffix == "parquet":
        frame.write_parquet(path)
    elif suffix == "csv":
        frame.write_csv(path)
    else:
        frame.write_ndjson(path)
    return make_source(path.name)


def make_source(table: str, **keys) -> TableSource:
    return TableSource(**{"text": "text", "label": "label", "id": "id", "table": table} | keys)


def read(source: TableSource, folder: Path, labels=LABELS) -> Table:
    return read_table(source, labels, folder, "train")


def refusal(source: TableSource, folder: Path, labels=LABELS) -> StudyError:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(StudyError) as caught:
        read(source, folder, labels)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert (source.table or source.dataset) in str(caught.value)
    assert all(p.where and p.expected and p.got and p.remedy for p in caught.value.problems)
    return caught.value


def single_problem(error: StudyError):
    assert len(error.problems) == 1, str(error)
    return error.problems[0]


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
    """Whether there is anything to read in it."""
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
    assert "labels as these numbers" in problem.remedy


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


def test_names_that_look_like_patterns(tmp_path):
    for suffix in FORMATS:
        folder = tmp_path / "run=1"
        folder.mkdir(exist_ok=True)
        save_table(folder, suffix, ROWS, "a[1]*")
        assert len(read(make_source(f"run=1/a[1]*.{suffix}"), tmp_path)) == 4


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_file(tmp_path, suffix):
    save_table(tmp_path, suffix, ROWS, "train")
    problem = single_problem(refusal(make_source(f"trian.{suffix}"), tmp_path))
    assert (problem.where, problem.got) == ("[train] table", "nothing there")
    assert f'did you mean "train.{suffix}"?' in problem.remedy
    assert "no folder" in single_problem(refusal(make_source(f"none/train.{suffix}"), tmp_path)).got
    (tmp_path / f"folder.{suffix}").mkdir()
    assert single_problem(refusal(make_source(f"folder.{suffix}"), tmp_path)).got == "a folder"


@pytest.mark.parametrize("name", ["rows.json", "rows.tsv", "rows.xlsx", "rows"])
def test_unknown_suffix(tmp_path, name):
    (tmp_path / name).write_text("x")
    problem = single_problem(refusal(make_source(name), tmp_path))
    assert ".parquet, .csv, .jsonl" in problem.expected
    assert name in problem.got


@pytest.mark.parametrize("suffix", FORMATS)
def test_empty_table(tmp_path, suffix):
    (tmp_path / f"rows.{suffix}").touch()
    problem = single_problem(refusal(make_source(f"rows.{suffix}"), tmp_path))
    assert "0 bytes" in problem.got
    assert "rows" in problem.remedy


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_columns_without_rows(tmp_path, suffix):
    save_table(tmp_path, suffix, {name: [] for name in ROWS})
    problem = single_problem(refusal(make_source(f"rows.{suffix}"), tmp_path))
    assert (problem.expected, problem.got) == ("1 or more rows", "an empty table")


def test_json_lines_that_are_blank(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n\n")
    assert single_problem(refusal(make_source("rows.jsonl"), tmp_path)).got == "no rows in it"


@pytest.mark.parametrize("suffix", FORMATS)
def test_missing_columns(tmp_path, suffix):
    save_table(tmp_path, suffix, ROWS)
    source = make_source(f"rows.{suffix}", text="txet", id="nr", groups=["gener"])
    text, key, group = refusal(source, tmp_path).problems
    assert (text.where, text.expected) == ("[train] text", 'a column "txet"')
    assert "id, text, label, genre" in text.got
    assert 'did you mean "text"?' in text.remedy
    assert (key.where, key.remedy) == ("[train] id", "set id to one of these columns")
    assert (group.where, group.remedy) == ("[train] groups", 'did you mean "genre"?')


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("column", "bad", "got"),
    [
        ("text", None, "null in row 3"),
        ("text", "", "an empty text in row 3"),
        ("text", " \t\u00a0", "an empty text in row 3"),
        ("label", None, "null in row 3"),
        ("label", "possitive", 'row 3: "possitive"'),
        ("id", None, "null or empty in row 3"),
        ("id", "", "null or empty in row 3"),
        ("id", "a", 'the same again in row 3: "a"'),
    ],
)
def test_a_bad_cell(tmp_path, suffix, column, bad, got):
    cells = list(ROWS[column])
    cells[2] = bad
    problem = single_problem(
        refusal(save_table(tmp_path, suffix, ROWS | {column: cells}), tmp_path)
    )
    assert problem.where == f"column {column}"
    assert got in problem.got


def test_both_texts_of_a_pair_are_checked(tmp_path):
    save_table(tmp_path, "csv", {"p": ["a", ""], "h": ["", "b"], "label": ["neg", "pos"]})
    first, second = refusal(make_source("rows.csv", text=["p", "h"], id=None), tmp_path).problems
    assert (first.where, first.got) == ("column p", "an empty text in row 2")
    assert (second.where, second.got) == ("column h", "an empty text in row 1")


def test_label_near_a_name_is_suggested(tmp_path):
    source = save_table(tmp_path, "csv", ROWS | {"label": ["pos", "Neg", "neg ", "pos"]})
    problem = single_problem(refusal(source, tmp_path))
    assert problem.expected == 'one of "neg", "pos"'
    assert problem.got == 'row 2: "Neg", row 3: "neg "'
    assert problem.remedy == 'did you mean "neg"?'


Names = TypeAdapter(NamesType)
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("study", "file"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_names_are_the_same_in_either_unicode_form(tmp_path, suffix, study, file):
    """Names of columns, labels and groups; a text is left as it is written."""
    columns = {
        file: ["a", file],
        "label": [file, "tea"],
        "id": ["1", file],
        "g" + file: [file, "x"],
    }
    save_table(tmp_path, suffix, columns)
    source = make_source(f"rows.{suffix}", text=study, groups=["g" + study])
    labels = Names.validate_python([study, "tea"])
    table = read(source, tmp_path, labels)
    assert (table.labels, table.ids) == ([0, 1], ["1", COMPOSED])
    assert table.texts == ["a", file]
    assert table.groups == {"g" + COMPOSED: [COMPOSED, "x"]}


def test_ids_that_are_one_to_the_eye_are_refused(tmp_path):
    source = save_table(tmp_path, "csv", {**ROWS, "id": [COMPOSED, DECOMPOSED, "x", "y"]})
    assert single_problem(refusal(source, tmp_path)).expected == "each id once"


@pytest.mark.parametrize(
    ("label", "expected"),
    [("n\u0435g", "U+0435 CYRILLIC SMALL LETTER IE in place of U+0065"),
     ("neg\u200b", "U+200B ZERO WIDTH SPACE in place of nothing"),
     ("neg\u00a0", "U+00A0 NO-BREAK SPACE")],
)  # fmt: skip
def test_what_the_eye_cannot_tell_apart_is_told_by_code_points(tmp_path, label, expected):
    source = save_table(tmp_path, "csv", {**ROWS, "label": ["pos", label, "neg", "pos"]})
    change = single_problem(refusal(source, tmp_path)).remedy
    assert change.startswith('did you mean "neg"? It has ')
    assert expected in change


@pytest.mark.parametrize("text", ["\u200b", "\u00a0", "\ufeff \u200d", "\t\x01"])
def test_a_text_without_any_ink_is_empty(tmp_path, text):
    source = save_table(tmp_path, "parquet", {**ROWS, "text": ["a", text, "b", "c"]})
    assert single_problem(refusal(source, tmp_path)).got == "an empty text in row 2"


def test_a_table_whose_footer_points_beyond_its_end(tmp_path, capfd):
    """Which makes the reader of Polars panic."""
    many = {name: values * 500 for name, values in ROWS.items()}
    source = save_table(tmp_path, "parquet", {**many, "text": [f"{i**3}" for i in range(2000)]})
    path = tmp_path / "rows.parquet"
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    path.write_bytes(b"PAR1" + whole[-footer:])
    assert "beyond the file" in single_problem(refusal(source, tmp_path)).got
    assert "panicked" not in capfd.readouterr().err


def test_a_label_is_no_text(tmp_path):
    with pytest.raises(ValidationError, match="study"):
        make_source("rows.csv", text="label")


def test_at_most_five_rows_are_listed(tmp_path):
    rows = {"id": ["x"] * 9, "text": [""] * 9, "label": ["?"] * 9}
    text, label, key = refusal(save_table(tmp_path, "csv", rows), tmp_path).problems
    assert text.got == "an empty text in rows 1, 2, 3, 4, 5 and 4 more"
    assert label.got.startswith('row 1: "?", row 2: "?"')
    assert label.got.endswith(" and 4 more")
    assert "row 6" not in label.got
    assert key.got.endswith('row 6: "x" and 3 more')
    assert "row 1:" not in key.got


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        ("text", [1, 2, 3, 4], "text"),
        ("text", [["a"], ["b"], ["c"], ["d"]], "text"),
        ("label", [0.5, 1.0, 1.0, 0.0], "text or whole numbers"),
        ("id", [[1], [2], [3], [4]], "text or whole numbers"),
        ("genre", [[1], [2], [3], [4]], "text, numbers or dates"),
    ],
)
def test_columns_that_are_no_text(tmp_path, suffix, column, cells, expected):
    source = save_table(tmp_path, suffix, ROWS | {column: cells})
    problem = single_problem(refusal(source.model_copy(update={"groups": ("genre",)}), tmp_path))
    assert (problem.where, problem.expected) == (f"column {column}", expected)


@pytest.mark.parametrize(
    ("name", "content", "got"),
    [
        ("rows.parquet", b"no parquet", "Parquet"),
        ("rows.csv", b"id,text,label\n1,a,pos\n2,b,neg,more\n", "row 2: 4 cells for 3 columns"),
        ("rows.csv", "id,text,label\n1,caf\u00e9,pos\n".encode("latin-1"), "not UTF-8"),
        ("rows.csv", "id,text,label\n1,a,pos\n".encode("utf-16"), "UTF-16"),
        ("rows.csv", "id,text,label\n1,a,pos\n".encode("utf-16-be"), "UTF-16"),
        ("rows.csv", b"id,text,text,label\n1,a,b,pos\n", 'more than one column "text"'),
        ("rows.jsonl", b'{"id": "1", "text": ' + 9999 * b"[" + 9999 * b"]" + b"}", "too deep"),
        ("rows.jsonl", b'{"text": "\\ud83d", "label": "pos"}', "line 1: half of a character"),
        ("rows.jsonl", b'{"id": "1"}\n{"id": \n', "line 2, column"),
        ("rows.jsonl", b'{"id": "1"}\n[1, 2]\n', "line 2: no JSON object"),
    ],
)
def test_files_that_do_not_hold_what_they_say(tmp_path, name, content, got):
    (tmp_path / name).write_bytes(content)
    problem = single_problem(refusal(make_source(name), tmp_path))
    assert problem.where == "[train] table"
    assert got in problem.got


# --- data sets ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset_folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
            "genre": datasets.Value("string"),
        }
    )
    rows = datasets.Dataset.from_dict(ROWS | {"label": [1, 0, 0, 1]}, features=features)
    rows.save_to_disk(str(folder / "one"))
    both = {"train": rows, "test": rows.select([2, 0])}
    datasets.DatasetDict(both).save_to_disk(str(folder / "both"))
    unlabelled = datasets.Dataset.from_dict(ROWS | {"label": [1, -1, 0, 1]}, features=features)
    unlabelled.save_to_disk(str(folder / "unlabelled"))
    return folder


def dataset(name: str, **keys) -> TableSource:
    return TableSource(dataset=name, text="text", label="label", id="id", groups=["genre"], **keys)


def test_dataset_labels_go_by_their_names(dataset_folders, tmp_path):
    table = read(dataset("one"), dataset_folders)
    assert table.labels == [1, 0, 0, 1]
    assert read(dataset("one"), dataset_folders, ["pos", "neg"]).labels == [0, 1, 1, 0]
    source = save_table(tmp_path, "csv", ROWS).model_copy(update={"groups": ("genre",)})
    assert table.digest == read(source, tmp_path).digest


def test_dataset_splits(dataset_folders):
    assert read(dataset("both", split="test"), dataset_folders).ids == ["007", "a"]
    for keys, got in (({}, "nothing"), ({"split": "tets"}, '"tets"')):
        problem = single_problem(refusal(dataset("both", **keys), dataset_folders))
        assert (problem.where, problem.expected) == ("[train] split", "one of train, test")
        assert problem.got == got
    assert 'did you mean "test"?' in problem.remedy


def test_dataset_without_some_labels(dataset_folders):
    assert single_problem(refusal(dataset("unlabelled"), dataset_folders)).got == "null in row 2"


def test_dataset_by_a_folder_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "files").mkdir()
    save_table(tmp_path / "files", "jsonl", ROWS, "train")
    table = read(dataset("files"), tmp_path)
    assert (table.ids, table.labels) == (ROWS["id"], [1, 0, 0, 1])


def test_dataset_with_no_network(tmp_path):
    """In its own process: the library reads the offline switch when it is imported."""
    code = (
        "from pathlib import Path\n"
        "from tasks.study.sections import TableSource\n"
        "from tasks.study.errors import StudyError\n"
        "from tasks.data.dataset import read_table\n"
        "source = TableSource(dataset='hub:owner/name', text='text', label='label')\n"
        "try:\n"
        "    read_table(source, ['a', 'b'], Path('.'), 'train')\n"
        "except StudyError as error:\n"
        "    print(error)\n"
    )
    root = Path(__file__).parents[3]
    switches = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | switches, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for part in ("owner/name", "[train] dataset", "that can be loaded", "network", "save_to_disk"):
        assert part in done.stdout


def test_without_the_datasets_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    problem = single_problem(refusal(dataset("owner/name"), tmp_path))
    assert "not installed" in problem.got
    assert "pip install" in problem.remedy


def test_reading_a_table_needs_no_torch():
    code = "import sys, tasks.data.dataset; print('torch' in sys.modules)"
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


# --- the study against its tables -----------------------------------------------------------


def test_example_tables_fit_their_study():
    study = load_study(NLI)
    train = read_table(study.train, study.labels, study.folder, "train")
    queries = read_table(study.queries, study.labels, study.folder, "queries")
    check_tables(study, train, queries)
    assert (len(train), sum(train.labels)) == (3500, 1750)
    assert len(queries) == 300
    suites = queries.groups["suite"]
    assert (suites.count("hans"), suites.count("mnli")) == (150, 150)
    subcases = [name for name in queries.groups["subcase"] if name is not None]
    assert len(set(subcases)) == 30
    assert all(subcases.count(name) == 5 for name in subcases)
    assert "taxinli" not in train.groups["source"]
    assert train.text_pairs is not None
    assert queries.text_pairs is not None
    assert not set(zip(train.texts, train.text_pairs, strict=True)) & set(
        zip(queries.texts, queries.text_pairs, strict=True)
    )


@pytest.fixture
def small():
    """The example's study with three training rows of two labels."""
    study = load_study(NLI)
    table = Table(["1", "2", "3"], list("abc"), list("def"), [0, 1, 1], {}, "", "train.csv")
    return study, table


def test_sizes_above_the_number_of_rows(small):
    study, table = small
    with pytest.raises(StudyError) as caught:
        check_tables(study, table, table)
    k, rows = caught.value.problems
    assert (k.where, k.got) == ("[candidates] k", "200")
    assert "1 to 3" in k.expected
    assert "full" in k.remedy
    assert (rows.where, rows.got) == ("[curvature] rows", "512")
    assert "train.csv" in rows.expected
    assert str(NLI) in str(caught.value)


def set_candidates(study, **candidates):
    parts = {
        "candidates": {"kind": "knn", "k": 3} | candidates,
        "curvature": {"damping": 0.1},
    }
    return type(study).model_validate(study.model_dump(mode="json") | parts)


def test_sizes_up_to_the_number_of_rows(small):
    study, table = small
    check_tables(set_candidates(study), table, table)
    with pytest.raises(StudyError, match=r"1 to 3.*\n.*4"):
        check_tables(set_candidates(study, k=4), table, table)
    full = study.model_dump(mode="json") | {
        "candidates": {"kind": "full", "keep": 99},
        "curvature": {"damping": 0.1, "rows": 3},
    }
    check_tables(type(study).model_validate(full), table, table)


def test_training_rows_of_one_class(small):
    study, table = small
    with pytest.raises(StudyError, match="2 or more labels") as caught:
        check_tables(set_candidates(study), dataclasses.replace(table, labels=[1, 1, 1]), table)
    assert '"non-entailment" in all 3 rows' in str(caught.value)
