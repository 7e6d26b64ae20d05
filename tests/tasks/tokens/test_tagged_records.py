"""Records of sentences in JSON Lines and Parquet, with tags as texts or class numbers."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.study.errors import StudyError
from tasks.tokens.read_tagged import read_tagged_table
from tasks.tokens.tagged_records import RecordColumns, rewrite_json_lines, rewrite_parquet

ROWS = [
    {"id": "a", "tokens": ["Anna", "runs"], "tags": ["B-PER", "O"], "doc": 1},
    {"id": "b", "tokens": ["Paris"], "tags": ["B-LOC"], "doc": None},
]
NAMES = ["O", "B-PER", "B-LOC", "I-LOC"]
NUMBERS = [{**row, "tags": [NAMES.index(tag) for tag in row["tags"]]} for row in ROWS]
COLUMNS = RecordColumns(id="id", document="doc")


def write_lines(folder, rows, end="\n", mark=""):
    path = folder / "train.jsonl"
    text = mark + end.join(r if isinstance(r, str) else json.dumps(r) for r in rows) + end
    path.write_bytes(text.encode())
    return path


def write_parquet(folder, rows, metadata=None):
    path = folder / "train.parquet"
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize("write", [write_lines, write_parquet])
def test_lists_of_words_and_tags_are_read(tmp_path, write):
    table = read_tagged_table(write(tmp_path, ROWS), COLUMNS)
    assert [s.id for s in table.sentences] == ["a", "b"]
    assert [s.tags for s in table.sentences] == [("B-PER", "O"), ("B-LOC",)]
    assert [s.document for s in table.sentences] == ["1", None]
    assert table.kinds == ("LOC", "PER")


@pytest.mark.parametrize("write", [write_lines, write_parquet])
def test_class_numbers_need_their_names(tmp_path, write):
    path = write(tmp_path, NUMBERS)
    with pytest.raises(StudyError, match="--names"):
        read_tagged_table(path, COLUMNS)
    table = read_tagged_table(path, RecordColumns(names=NAMES))
    assert [s.tags for s in table.sentences] == [("B-PER", "O"), ("B-LOC",)]
    with pytest.raises(StudyError, match="from 0 to 1"):
        read_tagged_table(path, RecordColumns(names=NAMES[:2]))


def test_names_of_a_data_set_are_those_of_its_class_numbers(tmp_path):
    features = {"tags": {"feature": {"names": NAMES, "_type": "ClassLabel"}, "_type": "Sequence"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path = write_parquet(tmp_path, NUMBERS, metadata)
    assert read_tagged_table(path).sentences[0].tags == ("B-PER", "O")
    target = tmp_path / "new.parquet"
    rewrite_parquet(path, RecordColumns(), {1: ["B-PER"]}, target)
    assert pq.read_table(target).to_pylist() == [NUMBERS[0], {**NUMBERS[1], "tags": [1]}]
    assert read_tagged_table(target).sentences[1].tags == ("B-PER",)


@pytest.mark.parametrize(("end", "mark"), [("\n", ""), ("\r\n", "\ufeff")])
def test_other_lines_stay_as_they_are(tmp_path, end, mark):
    path = write_lines(tmp_path, [json.dumps(ROWS[0], indent=None) + "  ", ROWS[1]], end, mark)
    text = rewrite_json_lines(path, RecordColumns(), {1: ("B-PER",)})
    first, second = path.read_bytes().decode().split("\n")[:2]
    assert text.split("\n")[0] == first
    assert json.loads(text.split("\n")[1]) == {**ROWS[1], "tags": ["B-PER"]}
    assert second.endswith("\r") == text.split("\n")[1].endswith("\r")


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"tokens": ["a"], "tags": ["B-P", "O"]}, "2 tags"),
        ({"tokens": [], "tags": []}, "empty list"),
        ({"tokens": "a b", "tags": ["O", "O"]}, "list of words"),
        ({"tokens": ["a", None], "tags": ["O", "O"]}, "list of words"),
        ({"tokens": ["a"], "tags": [None]}, "a tag for every word"),
        ({"tokens": ["a"], "tags": [""]}, "a tag for every word"),
        ({"tokens": ["a"], "tags": [True]}, "a tag for every word"),
        ({"tokens": ["a"], "tags": None}, "null"),
        ({"words": ["a"], "tags": ["O"]}, "tokens"),
        ('{"tokens": [', "JSON object"),
        ("[1]", "JSON object"),
    ],
)
def test_broken_records_are_refused_by_line(tmp_path, row, match):
    good = {"tokens": ["Anna"], "tags": ["B-PER"]}
    with pytest.raises(StudyError, match="line 2") as caught:
        read_tagged_table(write_lines(tmp_path, [good, row]))
    assert match in str(caught.value)


def test_ids_that_repeat_are_refused(tmp_path):
    with pytest.raises(StudyError, match="as at line 1"):
        read_tagged_table(write_lines(tmp_path, [ROWS[0], {**ROWS[1], "id": "a"}]), COLUMNS)


def test_tags_without_a_number_are_refused(tmp_path):
    path = write_lines(tmp_path, NUMBERS)
    with pytest.raises(StudyError, match="I-PER"):
        rewrite_json_lines(path, RecordColumns(names=NAMES), {0: ("B-PER", "I-PER")})


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    path = tmp_path / "train.parquet"
    path.write_text("a")
    with pytest.raises(StudyError, match="Parquet"):
        read_tagged_table(path)
    missing = write_parquet(tmp_path, [{"tokens": ["a"]}])
    with pytest.raises(StudyError, match="tags"):
        read_tagged_table(missing)
