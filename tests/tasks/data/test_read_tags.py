"""Tables of tagged sentences as a study reads them: formats, class numbers, schemes, refusals."""

import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.dataset import read_table
from tasks.data.span_queries import expand_by_span
from tasks.data.word_text import join_words, split_words
from tasks.study.errors import StudyError
from tasks.study.sections import QuerySource, TrainSource

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
WORDS = [["Ada", "Lovelace", "runs"], ["in", "Paris"], ["home"]]
TAGS = [["B-PER", "I-PER", "O"], ["O", "B-LOC"], ["O"]]
POSITIONS = [(1, 2, 0), (0, 3), (0,)]


def _read(folder, name="rows.parquet", labels=LABELS, role="train", **keys):
    kind = TrainSource if role == "train" else QuerySource
    source = kind(**{"table": name, "text": "tokens", "label": "tags", **keys})
    return read_table(source, labels, folder, role, kind="tags")


def _write(folder, words=WORDS, tags=TAGS, name="rows.parquet"):
    frame = pl.DataFrame({"tokens": words, "tags": tags}, strict=False)
    frame.write_parquet(folder / name)


def test_every_format_gives_the_same_table(tmp_path):
    _write(tmp_path)
    frame = pl.read_parquet(tmp_path / "rows.parquet")
    frame.write_ndjson(tmp_path / "rows.jsonl")
    as_json = [{name: json.dumps(row[name]) for name in row} for row in frame.to_dicts()]
    pl.DataFrame(as_json).write_csv(tmp_path / "json.csv")
    spaced = [{name: " ".join(row[name]) for name in row} for row in frame.to_dicts()]
    pl.DataFrame(spaced).write_csv(tmp_path / "spaced.csv")
    lines = [
        "".join(f"{w}\tX\t{t}\n" for w, t in zip(*pair, strict=True))
        for pair in zip(WORDS, TAGS, strict=True)
    ]
    (tmp_path / "rows.conll").write_text("-DOCSTART-\tX\tO\n\n" + "\n".join(lines))
    tables = [
        _read(tmp_path, name)
        for name in ("rows.parquet", "rows.jsonl", "json.csv", "spaced.csv", "rows.conll")
    ]
    for table in tables:
        assert list(table.given_labels) == POSITIONS
        assert [split_words(text) for text in table.texts] == WORDS
        assert table.digest == tables[0].digest
    notes = [any("separated by spaces" in note for note in table.notes) for table in tables]
    assert notes == [False, False, False, True, False]
    assert _read(tmp_path, "rows.conll", groups=["document"]).groups == {"document": ["1"] * 3}
    marks = _read(tmp_path, "rows.conll", labels=("X", "Y"), label="cell2")
    assert list(marks.given_labels) == [(0, 0, 0), (0, 0), (0,)]


def test_class_numbers_are_read_by_the_names_of_the_file(tmp_path):
    numbers = [[1, 2, 0], [0, 3], [-100]]
    names = ["O", "B-PER", "I-PER", "B-LOC"]
    features = {"tags": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}}
    table = pa.table({"tokens": WORDS[:2], "tags": numbers[:2]}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    # another order of the labels: names count, not positions
    labels = ("B-LOC", "I-LOC", "O", "I-PER", "B-PER")
    assert list(_read(tmp_path, labels=labels).given_labels) == [(4, 3, 2), (2, 0)]
    _write(tmp_path, WORDS[:2], numbers[:2], "plain.parquet")
    with pytest.raises(StudyError, match="write the names of these class numbers"):
        _read(tmp_path, "plain.parquet")
    as_text = _read(tmp_path, "plain.parquet", labels=("3", "2", "1", "0"))
    assert list(as_text.given_labels) == [(2, 1, 3), (3, 0)]


def test_words_without_a_tag_are_counted(tmp_path):
    _write(tmp_path, tags=[["B-PER", None, None], ["O", "B-LOC"], ["O"]])
    table = _read(tmp_path)
    assert table.given_labels[0] == (1, -100, -100)
    assert any("2 words have no tag" in note for note in table.notes)


def test_tags_that_break_their_scheme_are_repaired_with_a_note(tmp_path):
    words = [["Ada", "runs"]] * 20
    tags = [["B-PER", "O"]] * 19 + [["I-PER", "O"]]
    _write(tmp_path, words, tags)
    table = _read(tmp_path)
    assert table.given_labels[-1] == (1, 0)
    (note,) = [note for note in table.notes if "repaired" in note]
    assert "row 20, word 1: I-PER (at the start, before O) became B-PER" in note


def test_tags_of_iob1_are_left_as_they_are(tmp_path):
    words = [["Ada", "runs"]] * 20 + [["Ada", "Bob"]]
    _write(tmp_path, words, [["I-PER", "O"]] * 20 + [["I-PER", "B-PER"]])
    table = _read(tmp_path)
    assert table.given_labels[0] == (2, 0)
    assert table.given_labels[-1] == (2, 1)
    assert not [note for note in table.notes if "repaired" in note]


def test_a_repair_that_needs_an_unknown_tag_is_refused(tmp_path):
    words, labels = [["Ada", "Lovelace"]] * 20, ("O", "B-PER", "L-PER")
    _write(tmp_path, words, [["B-PER", "L-PER"]] * 19 + [["B-PER", "O"]])
    with pytest.raises(StudyError, match='row 20: "U-PER"'):
        _read(tmp_path, labels=labels)


REFUSED = {
    "fewer tags": (WORDS, [["B-PER"], *TAGS[1:]], "row 1: 1 tags of 3 words"),
    "unknown tag": (WORDS, [["B-PER", "I-PER", "B-ORG"], *TAGS[1:]], 'row 1: "B-ORG"'),
    "lower case": (WORDS, [["b-per", "I-PER", "O"], *TAGS[1:]], 'did you mean "B-PER"'),
    "no words": ([*WORDS[:2], []], [*TAGS[:2], []], "an empty text in row 3"),
    "no tags": (WORDS, [*TAGS[:2], None], "row 3: none"),
    "null word": ([["Ada", None, "runs"], *WORDS[1:]], TAGS, "row 1: null"),
    "untagged": (WORDS, [*TAGS[:2], [None]], "row 3: no word with a tag"),
    "mark of a space": ([["a␣b", "Lovelace", "runs"], *WORDS[1:]], TAGS, "U\\+2423"),
    "python lists": (["['Ada', 'runs']"], ["O O"], "which is no JSON"),
    "numbers as words": ([[1, 2, 3]], [["O", "O", "O"]], "words as texts"),
    "true": ([["a", "b"]], [[True, False]], "tags of the study"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_rows_are_refused_by_row(tmp_path, name):
    words, tags, message = REFUSED[name]
    _write(tmp_path, words, tags)
    with pytest.raises(StudyError, match=message):
        _read(tmp_path)


def test_queries_may_lack_tags(tmp_path):
    _write(tmp_path, WORDS, [TAGS[0], None, TAGS[2]])
    assert list(_read(tmp_path, role="queries").given_labels) == [(1, 2, 0), None, (0,)]
    with pytest.raises(StudyError, match="by_span"):
        expand_by_span(_read(tmp_path, role="queries"), LABELS)


def test_words_with_spaces_are_read_again():
    words = ["over", "1 000", "", "a  b", "tab\tbed"]
    assert split_words(join_words(words)) == words


def test_sentences_are_expanded_to_their_spans(tmp_path):
    _write(tmp_path)
    spans = expand_by_span(_read(tmp_path, role="queries"), LABELS)
    assert spans.ids == ["1:1-2", "1:O", "2:2-2", "2:O", "3:O"]
    assert spans.given_labels[:2] == [(1, 2, -100), (-100, -100, 0)]
    assert spans.groups == {"span": ["PER", "O", "LOC", "O", "O"]}
    assert spans.name_targets(LABELS)[2] == "_ B-LOC"
    with pytest.raises(StudyError, match="one scheme"):
        expand_by_span(_read(tmp_path, role="queries"), ("O", *LABELS[1:], "ODD"))


def test_a_conll_file_with_uneven_lines_is_refused_by_line(tmp_path):
    (tmp_path / "rows.conll").write_text("Ada B-PER\nLovelace\nruns O\n")
    with pytest.raises(StudyError, match="line 2"):
        _read(tmp_path, "rows.conll")
    (tmp_path / "empty.conll").write_text("\n\n")
    with pytest.raises(StudyError, match="no line with a word"):
        _read(tmp_path, "empty.conll")
