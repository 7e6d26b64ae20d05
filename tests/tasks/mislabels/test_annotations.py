"""Verdicts find their rows by content, whatever happened to the table, its ids or its labels."""

import json

import polars as pl
import pytest

from tasks.data.csv_escape import escape_formulas
from tasks.data.row_hashes import content_digest, row_digest, row_digests
from tasks.mislabels.annotations import RECORD, read_annotations
from tasks.mislabels.random_sample import select_random_sample
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.review_export import sample_for_review
from tasks.study.errors import StudyError
from tests.tasks.mislabels.annotated_store import (
    EXPECTED,
    LABELS,
    RIGHTS,
    ROWS,
    World,
    make_suspicions,
    review,
    table,
)


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def test_a_review_there_and_back(world):
    kept = world.import_file(world.export(review(), RIGHTS))
    assert (kept.rows, kept.refused, kept.notes) == (3, (), ())
    assert world.read_settled() == EXPECTED


@pytest.mark.parametrize(
    "labels",
    [("cat", "dog"), ("dog", "cat"), ("bird", "cat", "dog"), ("cat", "dog", "ant"), ("ant", "dog",
     "bee", "cat")],
)  # fmt: skip
def test_verdicts_hold_whatever_the_list_of_labels(world, labels):
    world.import_file(world.export(review(), RIGHTS))
    assert world.read_settled(labels=labels) == EXPECTED


def test_a_label_with_a_new_name_keeps_its_verdicts_and_random_sample(world):
    sample = sample_for_review(world.store, MislabelResult(make_suspicions(), {}), 5)
    world.import_file(world.export(sample, RIGHTS))
    rows = [(name, text, "hound" if label == "dog" else label) for name, text, label in ROWS]
    labels = ("cat", "hound")
    assert world.read_settled(rows, labels) == {**EXPECTED, "dogs bark": "hound"}
    verdicts = read_annotations(world.store, table(rows, labels), labels)
    assert verdicts.renamed == {"dog": "hound"}
    assert verdicts.samples[0].population_digests == set(row_digests(table(rows, labels), labels))


def test_a_row_whose_right_label_is_gone_is_still_wrong(world):
    """Drawn, wrong by the reviewer, and the study gives the right class up: wrong all the same."""
    sample = sample_for_review(world.store, MislabelResult(make_suspicions(), {}), 5)
    world.import_file(world.export(sample, {"a": "dog", "b": "ant", "c": "cat"}), labels=GROWN)
    verdicts = read_annotations(world.store, table(), LABELS)
    assert world.read_settled() == {"cats purr": "dog", "dogs bark": None, "=cats, all": "cat"}
    assert verdicts.unusable == {"ant": 1}
    digests = row_digests(table(), LABELS)
    assert select_random_sample(verdicts, digests).wrong[digests[1]]


GROWN = ("ant", *LABELS)


def test_a_label_that_is_gone_is_told_and_not_used(world):
    world.import_file(world.export(review(), {"a": "cat", "d": "dog"}))
    rows = [row for row in ROWS if row[2] != "dog"] + [("d", "a bone", "cat")]
    verdicts = read_annotations(world.store, table(rows, ("cat", "ant")), ("cat", "ant"))
    assert verdicts.unusable == {"dog": 1}
    assert verdicts.renamed == {}


def test_ids_that_name_other_rows_move_no_verdict(world):
    """Without a column of ids: one row comes in front, so that every row number names another."""
    numbered = [(f"{i}", text, label) for i, (_, text, label) in enumerate(ROWS, 1)]
    path = world.export(review(numbered), {"1": "cat", "2": "dog", "3": "none"})
    later = [("1", "a new row", "dog"), *((f"{int(i) + 1}", t, y) for i, t, y in numbered)]
    kept = world.import_file(path, later, named=False)
    assert kept.refused == ()
    assert world.read_settled(later) == EXPECTED


def test_rows_that_changed_since_are_named_one_by_one(world):
    path = world.export(review(), dict.fromkeys("abcde", "cat"))
    now = [("a", "cats purr, mostly", "dog"), ("b", "dogs bark", "cat"), *ROWS[2:4],
           ("z", "another", "cat")]  # fmt: skip
    kept = world.import_file(path, now)
    assert kept.rows == 2
    why = {problem.where.split(",")[1].split(":")[0]: problem.got for problem in kept.refused}
    assert "another text under this id" in why[' id "a"']
    assert 'same text with the label "cat"' in why[' id "b"']
    assert why[' id "e"'] == "none any more"
    assert world.read_settled(now) == {"=cats, all": "cat", "a bone": "cat"}


def test_columns_that_were_sorted_apart_are_noticed(world):
    frame = review().with_columns(right_label=pl.lit("cat"))
    kept = frame.with_columns(
        row=pl.Series([*frame["row"][1:3], frame["row"][0], *frame["row"][3:]])
    )
    result = world.import_file(world.write_file(escape_formulas(kept)))
    assert len(result.refused) == 3
    assert set(world.read_settled()) == {"a bone", "a mouse"}


def test_files_without_digests_go_by_text_then_by_id_and_say_so(world):
    by_text = "id,text,right_label\nx,cats purr,cat\nb,DOGS bark!,dog\na,a bone,dog\n"
    kept = world.import_file(world.write_file(by_text))
    assert (kept.rows, kept.notes) == (3, ())  # the text decides, "a" is the id of another row
    assert world.read_settled() == {"cats purr": "cat", "dogs bark": "dog", "a bone": "dog"}
    kept = world.import_file(world.write_file("id,right_label\ne,dog\n"))
    assert "by their id alone" in kept.notes[0]
    assert world.read_settled()["a mouse"] == "dog"


def test_a_text_that_is_not_that_of_the_id_is_refused(world):
    file = "id,text,right_label\na,cats purr softly,cat\nb,dogs bark,dog\n"
    kept = world.import_file(world.write_file(file))
    assert [problem.where for problem in kept.refused] == ['row 1, id "a": text']
    assert set(world.read_settled()) == {"dogs bark"}


def test_row_numbers_alone_name_no_row(world):
    with pytest.raises(StudyError, match="row numbers change"):
        world.import_file(world.write_file("id,right_label\n1,cat\n"),
                       [("1", "x", "cat"), ("2", "y", "dog")], named=False)  # fmt: skip


def test_one_text_under_two_labels_is_told_apart_by_label_or_id(world):
    rows = [("a", "same", "cat"), ("b", "same", "dog"), ("c", "other", "dog")]
    kept = world.import_file(world.write_file("text,right_label\nsame,cat\nother,cat\n"), rows)
    assert "several labels" in kept.refused[0].got
    world.import_file(world.write_file("text,label,right_label\nsame,dog,cat\n"), rows)
    world.import_file(world.write_file("id,text,right_label\na,same,none\n"), rows)
    settled = read_annotations(world.store).agreed
    same = content_digest("same", None)
    assert settled[row_digest(same, "dog")] == "cat"
    assert settled[row_digest(same, "cat")] is None


def test_good_rows_are_kept_beside_bad_ones(world):
    file = "id,right_label\na,cat\nb,dogg\nnobody,dog\n,cat\nc,\n"
    kept = world.import_file(world.write_file(file))
    assert kept.rows == 1
    assert [p.where.split(":")[0] for p in kept.refused] == ['row 2, id "b"', 'row 3, id "nobody"',
                                                            "row 4"]  # fmt: skip


def test_nothing_is_kept_where_no_row_is_good(world):
    with pytest.raises(StudyError, match="dogg"):
        world.import_file(world.write_file("id,right_label\na,dogg\n"))
    assert not world.store.find_artifacts("verdicts")


def test_verdicts_of_before_are_found_by_their_old_digests(world):
    """Imported when rows were named by the position of the label, and the clock made the order."""
    import hashlib

    from storage import polars_schema
    from storage.mislabel_schemas import VERDICTS

    for number, (right, when) in enumerate([("dog", "2026-02-01"), ("cat", "2026-03-01")]):
        old = hashlib.sha256(json.dumps(["cats purr", None, 1]).encode()).digest()[:16]
        record = {"row": old, "id": "a", "label": "dog", "right_label": right, "reviewer": "",
                  "probability": 0.5, "doubt": 0.5, "drawn": False}  # fmt: skip
        kinds = {n: k for n, k in polars_schema(VERDICTS).items() if n in record}
        frame = pl.DataFrame([record], schema=kinds)

        def write(folder, frame=frame, when=when):
            frame.write_parquet(folder / "verdicts.parquet")
            (folder / RECORD).write_text(json.dumps({"when": when, "file": "f", "rows": 1}))

        world.store.write_artifact("verdicts", f"{9 - number:064x}", write)
    assert world.read_settled() == {"cats purr": "cat"}
    assert world.read_settled(labels=("ant", "bee", "cat", "dog")) == {"cats purr": "cat"}


def test_an_id_in_another_normal_form_is_the_same(world):
    rows = [("caf\u00e9", *ROWS[0][1:]), *ROWS[1:]]
    kept = world.import_file(world.write_file("id,right_label\ncafe\u0301,cat\n"), rows)
    assert kept.refused == ()
    assert world.read_settled(rows) == {"cats purr": "cat"}
