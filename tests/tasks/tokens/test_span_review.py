"""Review files of doubtful spans: written, filled in, and applied in the format of the table."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastif import InputError
from fastif.tokens import Span
from fastif.wrong_spans.span_doubts import SpanDoubt
from tasks.study.errors import StudyError
from tasks.tokens.apply_verdicts import apply_review, write_corrected
from tasks.tokens.read_tagged import read_tagged_table
from tasks.tokens.span_review import read_review, write_review
from tasks.tokens.span_studio import make_span_config, make_span_tasks
from tasks.tokens.tagged_records import RecordColumns
from tasks.tokens.write_findings import render_page

TEXT = (
    "Anna B-PER\nBell O\nruns O\n\n"
    "=Paris O\nis O\n<big> B-LOC\n\n"
    "Acme B-PER\nand O\nRome B-LOC\n\n"
    "go B-ORG\nhome O\n"
)
DOUBTS = [
    SpanDoubt(0, "boundary", Span(0, 1, "PER"), Span(0, 2, "PER"), 0.9),
    SpanDoubt(1, "missed", None, Span(0, 1, "LOC"), 0.8),
    SpanDoubt(2, "type", Span(0, 1, "PER"), Span(0, 1, "ORG"), 0.7),
    SpanDoubt(3, "spurious", Span(0, 1, "ORG"), None, 0.6),
    SpanDoubt(2, "spurious", Span(2, 3, "LOC"), None, 0.2),
]
RIGHT = ["B-PER I-PER O", "B-LOC O B-LOC", "B-ORG O B-LOC", "O O"]


def write_table(folder, suffix="conll"):
    path = folder / f"train.{suffix}"
    blocks = [[line.split() for line in block.splitlines()] for block in TEXT.split("\n\n")]
    rows = [
        {"tokens": [word for word, _ in block], "tags": [tag for _, tag in block], "n": number}
        for number, block in enumerate(blocks)
    ]
    if suffix == "conll":
        path.write_text(TEXT)
    elif suffix == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return read_tagged_table(path)


def fill(folder, table, verdicts, **cells):
    """A review file with verdicts, and further cells in every row with a verdict."""
    rows = list(csv.DictReader(io.StringIO(write_review(table, DOUBTS))))
    for row, verdict in zip(rows, verdicts, strict=True):
        row |= {"verdict": verdict, **(cells if verdict else {})}
    path = folder / "review.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


ACCEPTED = ["accept", "accept", "accept", "remove", "keep"]


@pytest.mark.parametrize("suffix", ["conll", "jsonl", "parquet"])
def test_accepted_suggestions_are_in_the_corrected_table(tmp_path, suffix):
    table = write_table(tmp_path, suffix)
    applied = apply_review(table, fill(tmp_path, table, ACCEPTED))
    assert (applied.num_changes, applied.changed) == (4, [0, 1, 2, 3])
    target = tmp_path / f"clean.{suffix}"
    write_corrected(table, applied, RecordColumns(), target)
    corrected = read_tagged_table(target, scheme="BIO")
    assert [" ".join(sentence.tags) for sentence in corrected.sentences] == RIGHT
    assert [s.words for s in corrected.sentences] == [s.words for s in table.sentences]
    with pytest.raises(InputError, match="one that exists"):
        write_corrected(table, applied, RecordColumns(), target)
    with pytest.raises(InputError, match="same format"):
        write_corrected(table, applied, RecordColumns(), tmp_path / "clean.txt")


def test_without_verdicts_the_table_stays_byte_for_byte(tmp_path):
    table = write_table(tmp_path)
    applied = apply_review(table, fill(tmp_path, table, [""] * 5))
    write_corrected(table, applied, RecordColumns(), tmp_path / "same.conll")
    assert (tmp_path / "same.conll").read_bytes() == table.path.read_bytes()


def test_a_right_span_may_be_another_one(tmp_path):
    table = write_table(tmp_path)
    path = fill(
        tmp_path, table, ["change", "", "", "", ""], right_start=2, right_end=3, right_type="ORG"
    )
    assert apply_review(table, path).spans[0] == [Span(1, 3, "ORG")]


def test_formulas_are_escaped_and_read_back(tmp_path):
    text = write_review(write_table(tmp_path), DOUBTS)
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert "'=Paris" in cells
    assert not any(cell.startswith("=") for cell in cells)


@pytest.mark.parametrize(
    ("verdicts", "cells", "match"),
    [
        (["yes", "", "", "", ""], {}, "keep or accept"),
        (["change", "", "", "", ""], {}, "right span"),
        (["accept", "", "", "", ""], {"id": "9"}, "the id of a sentence"),
        (["accept", "", "", "", ""], {"given_type": "LOC"}, "a given span"),
        (["accept", "", "", "", ""], {"suggested_end": "9"}, "words from 1 to 3"),
        (["accept", "", "", "", ""], {"suggested_end": "x"}, "whole numbers"),
        (
            ["", "", "change", "", ""],
            dict(zip(("right_start", "right_end", "right_type"), "23L", strict=True)),
            "share no word",
        ),
    ],
)
def test_verdicts_that_do_not_fit_are_refused(tmp_path, verdicts, cells, match):
    table = write_table(tmp_path)
    with pytest.raises(StudyError, match=match):
        apply_review(table, fill(tmp_path, table, verdicts, **cells))


def test_files_that_are_no_review_are_refused(tmp_path):
    table = write_table(tmp_path)
    path = tmp_path / "review.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(StudyError, match="keep the columns"):
        read_review(path, table)
    with pytest.raises(StudyError, match="review file"):
        read_review(tmp_path / "none.csv", table)


def annotate(tasks, table):
    """Annotations of a reviewer who marks the right spans."""
    marked = [
        [(0, 2, "PER")],
        [(0, 1, "LOC"), (2, 3, "LOC")],
        [(0, 1, "ORG"), (2, 3, "LOC")],
        [],
    ]
    for task in tasks:
        row = table.find_sentence(task["data"]["id"])
        words, results = table.sentences[row].words, []
        for start, end, label in marked[row]:
            first = len(" ".join([*words[:start], ""]))
            value = {"start": first, "end": first + len(" ".join(words[start:end]))}
            results.append({"type": "labels", "value": {**value, "labels": [label]}})
        task["annotations"] = [
            {"result": [], "was_cancelled": True},
            {"result": results, "was_cancelled": False},
        ]
    return tasks


def test_label_studio_returns_the_right_spans(tmp_path):
    table = write_table(tmp_path)
    tasks = make_span_tasks(table, DOUBTS)
    assert [task["data"]["id"] for task in tasks] == ["1", "2", "3", "4"]
    for task in tasks:
        for region in task["predictions"][0]["result"]:
            value = region["value"]
            assert task["data"]["text"][value["start"] : value["end"]] == value["text"]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(annotate(tasks, table)))
    target = tmp_path / "clean.conll"
    write_corrected(table, apply_review(table, path), RecordColumns(), target)
    tags = [" ".join(s.tags) for s in read_tagged_table(target, scheme="BIO").sentences]
    assert tags == RIGHT
    assert '<Label value="PER"/>' in make_span_config(table.kinds)
    assert "&quot;&lt;" in make_span_config(['"<'])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda task: task["data"].update(id="9"), "id of a sentence"),
        (lambda task: task["data"].update(text="other"), "the text of the sentence"),
        (lambda task: task["annotations"][1]["result"][0]["value"].update(end=6), "at words"),
        (lambda task: task["annotations"][1]["result"][0]["value"].update(labels=[]), "one label"),
        (lambda task: task.pop("data"), "id of a sentence"),
    ],
)
def test_exports_that_do_not_fit_are_refused(tmp_path, change, match):
    table = write_table(tmp_path)
    tasks = annotate(make_span_tasks(table, DOUBTS), table)
    change(tasks[0])
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    with pytest.raises(StudyError, match=match):
        apply_review(table, path)


@pytest.mark.parametrize("content", ["", "{}", "[1]"])
def test_files_that_are_no_export_are_refused(tmp_path, content):
    path = tmp_path / "export.json"
    path.write_text(content)
    with pytest.raises(StudyError, match="export JSON"):
        apply_review(write_table(tmp_path), path)


def test_the_page_marks_spans_and_escapes_words(tmp_path):
    page = render_page(write_table(tmp_path), DOUBTS)
    assert "<big>" not in page
    assert "&lt;big&gt;" in page
    assert page.count('class="missed"') == 1
    assert '<mark class="doubt">Anna<sub>PER</sub></mark>' in page
    assert "90% other words: “Anna Bell” PER, sentence 1" in page
