"""Review files in every format: parsed row by row, or refused with place and remedy."""

import json
from pathlib import Path

import polars as pl
import pytest

from tasks.mislabels.label_words import choose_none_word, parse_flag, parse_label
from tasks.mislabels.review_files import read_review
from tasks.study.errors import StudyError

HEADER = "id,right_label,reviewer\n"


def write_file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_rights(path: Path) -> list[tuple[str | None, str | None, str]]:
    return [(r.id, r.right, r.reviewer) for r in read_review(path).records]


def refusal(path: Path) -> str:
    with pytest.raises(StudyError) as caught:
        read_review(path)
    return " ".join(str(caught.value).split())


@pytest.mark.parametrize(
    "content",
    [
        "id,right_label,reviewer\na,pos,Ann\nb,,\n",
        "\ufeffid,right_label,reviewer\r\na,pos,Ann\r\nb,,\r\n",
        "id;right_label;reviewer\na;pos;Ann\nb;;\n",
        "sep=;\nid;right_label;reviewer\na;pos;Ann\nb;;\n",
        "id\tright_label\treviewer\na\tpos\tAnn\nb\t\t\n",
        'ID,Right_Label,"reviewer"\n"a","pos","Ann"\nb\n',
        "id,right_label,reviewer\na,pos,Ann\n\n,,\nb,,\n",
    ],
    ids=["plain", "bom", "semicolons", "sep", "tabs", "case", "blank lines"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_tables_as_spreadsheets_write_them(tmp_path, content, encoding):
    bare = content.removeprefix("\ufeff") if encoding != "utf-8" else content
    path = write_file(tmp_path, "v.csv", bare.encode(encoding))
    assert read_rights(path) == [("a", "pos", "Ann"), ("b", None, "")]


def test_windows_1252_is_read_with_a_note(tmp_path):
    path = write_file(tmp_path, "v.csv", "id;right_label\né;schön\n".encode("cp1252"))
    reading = read_review(path)
    assert [(r.id, r.right) for r in reading.records] == [("é", "schön")]
    assert "Windows-1252" in reading.notes[0]


def test_a_row_of_too_many_cells_is_refused_and_the_others_are_stored(tmp_path):
    path = write_file(tmp_path, "v.csv", f"{HEADER}a,pos,Ann\nb,pos,Bob,x\nc,neg,Ann\n")
    reading = read_review(path)
    assert [r.id for r in reading.records] == ["a", "c"]
    assert [p.where for p in reading.refused] == ["row 2"]


def test_quoted_cells_keep_line_breaks_and_separators(tmp_path):
    path = write_file(tmp_path, "v.csv", 'id,text,right_label\n1,"a, b\nc; d",pos\n')
    assert read_review(path).records[0].texts == ("a, b\nc; d", "")


def test_typed_values_are_formatted_as_text(tmp_path):
    frame = pl.DataFrame({"id": [1, 2], "right_label": [0, 1], "drawn": [True, False]})
    frame.write_parquet(tmp_path / "v.parquet")
    records = read_review(tmp_path / "v.parquet").records
    assert [(r.id, r.right, r.drawn) for r in records] == [("1", "0", "true"), ("2", "1", "false")]
    lines = '{"id": 1, "right_label": "pos"}\n\n{"id": 2, "right_label": null}\n'
    assert read_rights(write_file(tmp_path, "v.jsonl", lines)) == [
        ("1", "pos", ""),
        ("2", None, ""),
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("v.json", "{", "line 1, column 2"),
        ("v.json", "[1, 2]", "1 in the list"),
        ("v.json", "[[1]]", "[1] in the list"),
        ("v.json", "[]", "an empty list"),
        ("v.json", "5", "got: 5"),
        ("v.json", "", "line 1, column 1"),
        ("v.json", '{"images": [], "annotations": []}', "COCO"),
        ("v.json", '{"tasks": []}', "one JSON object"),
        ("v.json", '[{"audio_filepath": "a.wav", "text": "b"}]', "ASR_MANIFEST"),
        ("v.json", '[{"question": "?"}]', "id and right_label"),
        ("v.json", "[" * 100_000, "readable table"),
        ("v.json", b"\xff\xfe\x00", "readable table"),
        ("v.csv", "", "id and right_label"),
        ("v.csv", "id,right_label,id\na,b,c\n", "one column id"),
        ("v.csv", "name,label\na,b\n", "id and right_label"),
        ("v.csv", b"\x81\x8d\x8f\x90", "UTF-8"),
        ("v.parquet", b"PAR1 nothing", "readable table"),
        ("v.conll", "-DOCSTART-", "CONLL2003"),
        ("v.zip", b"PK", "COCO, YOLO"),
        ("v.xlsx", b"PK", "Excel"),
        ("v", "id,right_label", ".csv, .tsv"),
    ],
)
def test_other_files_are_refused_with_place_and_remedy(tmp_path, name, content, words):
    message = refusal(write_file(tmp_path, name, content))
    assert words in message
    assert "remedy:" in message


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "v.csv")
    (tmp_path / "f.csv").mkdir()
    assert "a folder" in refusal(tmp_path / "f.csv")


def annotation(number, choices, who=1, at="01", **keys):
    value = [] if choices is None else [
        {"from_name": "right_label", "to_name": "text", "type": "choices",
         "value": {"choices": choices}}]  # fmt: skip
    stamp = f"2026-01-{at}T00:00:00.000000Z"
    common = {"id": number, "completed_by": who, "was_cancelled": False, "result": value}
    return {**common, "created_at": stamp, "updated_at": stamp, **keys}


TASKS = [
    (1, [annotation(1, ["pos"])]),
    (2, [annotation(2, ["pos"], was_cancelled=True)]),
    (3, [annotation(3, ["neg", "pos"])]),
    (4, [annotation(4, ["neg"], at="02"), annotation(5, ["pos"], at="03")]),
    (5, [annotation(6, None)]),
    (6, [annotation(7, [])]),
    (7, []),
    (8, [annotation(8, ["pos"], who=1), annotation(9, ["neg"], who=2)]),
]
"""Tasks of Label Studio 1.23 with their annotations: one choice, skipped, two choices, two of one
reviewer, submitted without a choice, an empty choice, none, two reviewers."""


def make_task_data(number: int) -> dict:
    row = f"{number:032x}"
    return {"id": f"row-{number}", "row": row, "text": f"text {number}", "text_pair": "",
            "label": "neg", "drawn": True, "probability": 0.5}  # fmt: skip


def export_tasks(shape: str) -> str:
    """Export of `TASKS` in the formats of the server."""
    if shape == "JSON":
        return json.dumps(
            [
                {"id": n, "data": make_task_data(n), "annotations": a, "predictions": []}
                for n, a in TASKS
            ]
        )
    rows = []
    for number, annotations in TASKS:
        kept = [a for a in annotations if not a["was_cancelled"]]
        for a in reversed(kept):  # the newest first, as in the server's exports
            words = a["result"][0]["value"]["choices"] if a["result"] else None
            choice = words[0] if words and len(words) == 1 else words
            rows.append((number, a, choice))
    if shape == "JSON_MIN":
        flat = []
        for number, a, choice in rows:
            row = {**make_task_data(number), "id": number}  # the number of the task, not our id
            if choice is not None:
                row["right_label"] = {"choices": choice} if isinstance(choice, list) else choice
            flat.append({**row, "annotator": a["completed_by"], "annotation_id": a["id"],
                         "created_at": a["created_at"], "updated_at": a["updated_at"],
                         "lead_time": None})  # fmt: skip
        return json.dumps(flat)
    lines = []
    for number, a, choice in [*rows, (7, None, None)]:
        word = json.dumps({"choices": choice}, separators=(",", ":"))
        cell = word if isinstance(choice, list) else choice or ""
        lines.append({"annotation_id": str(a["id"]) if a else "",
                      "annotator": str(a["completed_by"]) if a else "",
                      "created_at": a["created_at"] if a else "", **make_task_data(number),
                      "drawn": "True", "right_label": cell,
                      "updated_at": a["updated_at"] if a else ""})  # fmt: skip
    return pl.DataFrame(lines).write_csv(separator="\t" if shape == "TSV" else ",")


@pytest.mark.parametrize("shape", ["JSON", "JSON_MIN", "CSV", "TSV"])
def test_all_label_studio_formats_have_the_same_annotations(tmp_path, shape):
    ending = "json" if shape.startswith("JSON") else "csv"  # TSV is called .csv by the server
    reading = read_review(write_file(tmp_path, f"export.{ending}", export_tasks(shape)))
    verdicts = [
        (int(r.row, 16), r.right, r.reviewer) for r in reading.records if r.right is not None
    ]
    assert sorted(verdicts) == [
        (1, "pos", "1"), (4, "neg", "1"), (4, "pos", "1"), (8, "neg", "2"), (8, "pos", "1"),
    ]  # fmt: skip
    newest = max((r for r in reading.records if r.row == f"{4:032x}"), key=lambda r: r.when)
    assert newest.right == "pos"
    assert len(reading.refused) == 3  # two choices, no choice, an empty one
    assert all("one choice" in problem.expected for problem in reading.refused)
    assert {r.drawn.lower() for r in reading.records} == {"true"}
    assert reading.flagged
    if shape == "JSON":
        assert "1 skipped" in reading.notes[0]
    if shape == "JSON_MIN":
        assert {r.id for r in reading.records} == {None}  # the task's number is not our id


def test_other_results_of_a_labelling_interface_are_ignored(tmp_path):
    note = {"from_name": "comment", "type": "textarea", "value": {"text": ["hm"]}}
    odd = {"from_name": "topic", "type": "choices", "value": {"choices": ["sport"]}}
    own = annotation(1, ["pos"])
    own["result"] = [note, odd, *own["result"], 5]
    task = {"data": make_task_data(1), "annotations": [own, None], "predictions": []}
    broken = {"data": 5, "annotations": []}
    reading = read_review(write_file(tmp_path, "e.json", json.dumps([task, broken])))
    assert [r.right for r in reading.records] == ["pos"]
    assert [p.where for p in reading.refused] == ["task 2"]


WORDS = "TRUE True wahr VRAI Ja yes X 1 1.0 =TRUE() 'true Sí"


@pytest.mark.parametrize("word", WORDS.split())
def test_values_of_a_true_flag(word):
    assert parse_flag(word) is True


@pytest.mark.parametrize("word", ["", " ", None, "false", "FALSCH", "0", "nein", "No", "=FALSE()"])
def test_values_of_a_false_flag(word):
    assert parse_flag(word) is False


@pytest.mark.parametrize("word", ["perhaps", "2", "drawn", "Wahrheit", "-"])
def test_other_values_are_no_flag(word):
    assert parse_flag(word) is None


@pytest.mark.parametrize(
    ("word", "labels", "meant"),
    [
        ("pos", ["neg", "pos"], "pos"),
        (" Pos", ["neg", "pos"], "pos"),
        ("Pos", ["Pos", "pos"], "Pos"),
        ("POS", ["Pos", "pos"], None),
        ("cafe\u0301", ["caf\u00e9", "tea"], "caf\u00e9"),
        ("1.0", ["0", "1"], "1"),
        ("1", ["0", "1.0"], "1.0"),
        ("01", ["1", "01"], "01"),
        ("WAHR", ["true", "false"], "true"),
        ("=x", ["=x", "y"], "=x"),
        ("'=x", ["=x", "y"], "=x"),
        ("skip", ["skip", "keep"], "skip"),
        ("NA", ["NA", "null"], "NA"),
        ("None", ["a", "b"], "none"),
        ("none", ["None", "b"], "None"),
        ("no label fits", ["None", "b"], "no label fits"),
        ("nan", ["a", "1"], None),
        ("posh", ["neg", "pos"], None),
    ],
)
def test_labels_are_parsed_as_spreadsheets_write_them(word, labels, meant):
    assert parse_label(word, labels) == meant


def test_the_value_for_no_label_is_never_a_label():
    assert choose_none_word(["None", "No label fits"]) not in ("None", "none", "no label fits")


def test_tasks_without_annotations_are_not_reviewed(tmp_path):
    path = write_file(tmp_path, "tasks.json", json.dumps([{"data": make_task_data(1)}]))
    assert [(r.right, r.row) for r in read_review(path).records] == [(None, f"{1:032x}")]


def test_choices_of_another_interface_are_refused(tmp_path):
    own = annotation(1, ["pos"])
    own["result"][0]["from_name"] = "sentiment"
    task = {"data": make_task_data(1), "annotations": [own]}
    (problem,) = read_review(write_file(tmp_path, "e.json", json.dumps([task]))).refused
    assert "right_label" in problem.expected
    assert "sentiment" in problem.got


def test_an_unsubmitted_draft_yields_a_note(tmp_path):
    task = {"data": make_task_data(1), "annotations": [], "drafts": [annotation(1, ["pos"])]}
    reading = read_review(write_file(tmp_path, "e.json", json.dumps([task])))
    assert [r.right for r in reading.records] == [None]
    assert "1 tasks with an unsubmitted draft" in reading.notes[0]
