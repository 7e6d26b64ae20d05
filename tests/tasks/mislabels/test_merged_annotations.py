"""Merged annotations of several reviewers, files and times: precedence and conflicts."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.data.row_hashes import row_digests
from tasks.mislabels.annotation_import import import_annotations
from tasks.mislabels.annotations import read_annotations
from tests.tasks.mislabels.annotated_store import LABELS, ROWS, World, make_detection, table


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def test_contradictory_rows_of_one_reviewer_are_refused(world):
    names = ["Ann", " ann", "ANN", "Zoe\u0301", "Zo\u00e9"]
    rows = "".join(f"{i},{y},{who}\n" for i, y, who in zip("aabcc", ["cat", "dog", "dog", "cat",
                   "dog"], names, strict=True))  # fmt: skip
    kept = world.import_file(world.write_file(f"id,right_label,reviewer\n{rows}"))
    assert len(kept.refused) == 2
    assert world.read_settled() == {"dogs bark": "dog"}


def test_conflicts_are_between_reviewers_not_spellings_of_a_name(world):
    world.import_file(world.write_file("id,right_label,reviewer\na,cat,Ann Lee\nb,cat,bob\n"))
    world.import_file(world.write_file("id,right_label,reviewer\na,dog,ann  lee\nb,dog,Zoe\n"))
    annotations = read_annotations(world.store)
    assert list(annotations.agreed.values()) == ["dog"]
    assert [dict(by) for by in annotations.conflicts.values()] == [{"bob": "cat", "Zoe": "dog"}]


def test_the_last_import_counts_at_any_clock_time(world):
    world.import_file(world.write_file("id,right_label\na,cat\n"), when="2026-05-05")
    world.import_file(world.write_file("id,right_label\na,dog\n"), when="2026-01-01")
    assert world.read_settled() == {"cats purr": "dog"}
    world.import_file(world.write_file("id,right_label\na,none\n"), when="2026-01-01")
    assert world.read_settled() == {"cats purr": None}


def test_the_newest_annotation_of_a_reviewer_counts(world):
    row = row_digests(table(), LABELS)[0].hex()
    lines = ["annotation_id,annotator,updated_at,row,right_label"]
    lines += [f"2,1,2026-02-02,{row},cat", f"1,1,2026-02-01,{row},dog"]
    world.import_file(world.write_file("\n".join(lines)))
    assert world.read_settled() == {"cats purr": "cat"}


def test_near_duplicates_share_an_annotation(world):
    rows = [*ROWS, ("f", "cats purr!", "dog")]
    detection = make_detection(rows, cluster=[0, 1, 2, 3, 4, 0])
    study = SimpleNamespace(labels=LABELS, train=SimpleNamespace(id="id"))
    path = world.write_file("id,right_label\na,cat\n")
    import_annotations(world.store, study, table(rows), detection, path, "")
    assert world.read_settled(rows) == {"cats purr": "cat", "cats purr!": "cat"}


AT = "2026-01-01T"
"""Date of the annotations below."""


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("10:00:00Z", "10:00:00.5Z"),  # reversed as strings
        ("10:30:00+02:00", "09:00:00Z"),
        ("23:00:00", "23:30:00Z"),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_newest_annotation_is_that_of_the_latest_time(world, earlier, later, reverse):
    several = [make_annotation("dog", AT + earlier), make_annotation("cat", AT + later)]
    kept = world.import_file(tasks_file(world, several[::-1] if reverse else several))
    assert kept.refused == ()
    assert world.read_settled() == {"cats purr": "cat"}


@pytest.mark.parametrize(
    "times", [(None, None), (AT + "10:00:00Z",) * 2, ("01/02/2026 10:00",) * 2]
)
def test_contradictory_annotations_without_a_newest_one_are_refused(world, times):
    several = [make_annotation(right, at) for right, at in zip(("dog", "cat"), times, strict=True)]
    other = make_annotation("dog", AT + "10:00:00Z")
    kept = world.import_file(tasks_file(world, several, [other]))
    assert [("one right label" in problem.expected) for problem in kept.refused] == [True]
    assert world.read_settled() == {"dogs bark": "dog"}


def make_annotation(right: str, at: str | None) -> dict:
    value = {"from_name": "right_label", "type": "choices", "value": {"choices": [right]}}
    return {"completed_by": 1, "result": [value], "created_at": at}


def tasks_file(world, *annotations: list[dict]) -> Path:
    rows = zip(ROWS, annotations, strict=False)
    tasks = [{"data": {"text": row[1], "label": row[2]}, "annotations": a} for row, a in rows]
    path = world.folder / "tasks.json"
    path.write_text(json.dumps(tasks))
    return path
