"""Annotations match rows by content, after changes of the table, its ids or its labels."""

import json

import polars as pl
import pytest

from fastif.mislabels.audit_sample import WRONG
from tasks.data.csv_escape import escape_formulas
from tasks.data.row_hashes import content_digest, content_digests, row_digest, row_digests
from tasks.mislabels.annotations import RECORD, read_annotations
from tasks.mislabels.random_sample import select_random_sample
from tasks.mislabels.results import MislabelResult
from tasks.study.errors import StudyError
from tests.tasks.mislabels.annotated_store import (
    EXPECTED,
    LABELS,
    RIGHTS,
    ROWS,
    World,
    make_detection,
    review,
    sample_for_review,
    table,
)


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def test_an_export_can_be_filled_in_and_imported(world):
    kept = world.import_file(world.export(review(), RIGHTS))
    assert (kept.rows, kept.refused, kept.notes) == (3, (), ())
    assert world.read_settled() == EXPECTED


@pytest.mark.parametrize(
    "labels",
    [("cat", "dog"), ("dog", "cat"), ("bird", "cat", "dog"), ("cat", "dog", "ant"), ("ant", "dog",
     "bee", "cat")],
)  # fmt: skip
def test_annotations_are_independent_of_the_list_of_labels(world, labels):
    world.import_file(world.export(review(), RIGHTS))
    assert world.read_settled(labels=labels) == EXPECTED


def test_a_renamed_label_keeps_its_annotations_and_random_sample(world):
    sample = sample_for_review(world.store, MislabelResult(make_detection(), {}), 5)
    world.import_file(world.export(sample, RIGHTS))
    rows = [(name, text, "hound" if label == "dog" else label) for name, text, label in ROWS]
    labels = ("cat", "hound")
    assert world.read_settled(rows, labels) == {**EXPECTED, "dogs bark": "hound"}
    annotations = read_annotations(world.store, table(rows, labels), labels)
    assert annotations.renamed == {"dog": "hound"}
    assert set(annotations.samples[0].population_digests) == set(
        row_digests(table(rows, labels), labels)
    )


def test_a_row_with_a_removed_right_label_is_still_wrong(world):
    """Sampled and reviewed as wrong; then the study removes the right label."""
    sample = sample_for_review(world.store, MislabelResult(make_detection(), {}), 5)
    world.import_file(world.export(sample, {"a": "dog", "b": "ant", "c": "cat"}), labels=GROWN)
    annotations = read_annotations(world.store, table(), LABELS)
    assert world.read_settled() == {"cats purr": "dog", "dogs bark": None, "=cats, all": "cat"}
    assert annotations.unusable == {"ant": 1}
    digests = row_digests(table(), LABELS)
    sample = select_random_sample(annotations, digests)
    audited = sample.locate_rows(digests, content_digests(table()), LABELS)
    assert audited.verdict[sample.population[digests[1]]] == WRONG


GROWN = ("ant", *LABELS)


def test_a_removed_right_label_is_counted_as_unusable(world):
    world.import_file(world.export(review(), {"a": "cat", "d": "dog"}))
    rows = [row for row in ROWS if row[2] != "dog"] + [("d", "a bone", "cat")]
    annotations = read_annotations(world.store, table(rows, ("cat", "ant")), ("cat", "ant"))
    assert annotations.unusable == {"dog": 1}
    assert annotations.renamed == {}


def test_shifted_row_numbers_move_no_annotation(world):
    """Without an id column: an inserted first row shifts all row numbers."""
    numbered = [(f"{i}", text, label) for i, (_, text, label) in enumerate(ROWS, 1)]
    path = world.export(review(numbered), {"1": "cat", "2": "dog", "3": "none"})
    later = [("1", "a new row", "dog"), *((f"{int(i) + 1}", t, y) for i, t, y in numbered)]
    kept = world.import_file(path, later, named=False)
    assert kept.refused == ()
    assert world.read_settled(later) == EXPECTED


def test_rows_changed_since_the_export_are_refused_one_by_one(world):
    path = world.export(review(), dict.fromkeys("abcde", "cat"))
    now = [("a", "cats purr, mostly", "dog"), ("b", "dogs bark", "cat"), *ROWS[2:4],
           ("z", "another", "cat")]  # fmt: skip
    kept = world.import_file(path, now)
    assert kept.rows == 2
    reasons = {problem.where.split(",")[1].split(":")[0]: problem.got for problem in kept.refused}
    assert "another text under this id" in reasons[' id "a"']
    assert 'same text, since relabelled as "cat"' in reasons[' id "b"']
    assert reasons[' id "e"'] == "a removed row"
    assert world.read_settled(now) == {"=cats, all": "cat", "a bone": "cat"}


def test_a_column_sorted_alone_is_detected(world):
    frame = review().with_columns(right_label=pl.lit("cat"))
    kept = frame.with_columns(
        row=pl.Series([*frame["row"][1:3], frame["row"][0], *frame["row"][3:]])
    )
    result = world.import_file(world.write_file(escape_formulas(kept)))
    assert len(result.refused) == 3
    assert set(world.read_settled()) == {"a bone", "a mouse"}


def test_files_without_digests_are_matched_by_text_then_by_id_with_a_note(world):
    by_text = "id,text,right_label\nx,cats purr,cat\nb,DOGS bark!,dog\na,a bone,dog\n"
    kept = world.import_file(world.write_file(by_text))
    assert (kept.rows, kept.notes) == (3, ())  # the text decides, "a" is the id of another row
    assert world.read_settled() == {"cats purr": "cat", "dogs bark": "dog", "a bone": "dog"}
    kept = world.import_file(world.write_file("id,right_label\ne,dog\n"))
    assert "matched by id alone" in kept.notes[0]
    assert world.read_settled()["a mouse"] == "dog"


def test_a_text_that_does_not_match_its_id_is_refused(world):
    file = "id,text,right_label\na,cats purr softly,cat\nb,dogs bark,dog\n"
    kept = world.import_file(world.write_file(file))
    assert [problem.where for problem in kept.refused] == ['row 1, id "a": text']
    assert set(world.read_settled()) == {"dogs bark"}


def test_row_numbers_alone_match_no_row(world):
    with pytest.raises(StudyError, match="row numbers are not stable"):
        world.import_file(world.write_file("id,right_label\n1,cat\n"),
                       [("1", "x", "cat"), ("2", "y", "dog")], named=False)  # fmt: skip


def test_one_text_with_two_labels_is_distinguished_by_label_or_id(world):
    rows = [("a", "same", "cat"), ("b", "same", "dog"), ("c", "other", "dog")]
    kept = world.import_file(world.write_file("text,right_label\nsame,cat\nother,cat\n"), rows)
    assert "different labels" in kept.refused[0].got
    world.import_file(world.write_file("text,label,right_label\nsame,dog,cat\n"), rows)
    world.import_file(world.write_file("id,text,right_label\na,same,none\n"), rows)
    agreed = read_annotations(world.store).agreed
    same = content_digest("same", None)
    assert agreed[row_digest(same, "dog")] == "cat"
    assert agreed[row_digest(same, "cat")] is None


def test_valid_rows_are_stored_beside_refused_ones(world):
    file = "id,right_label\na,cat\nb,dogg\nnobody,dog\n,cat\nc,\n"
    kept = world.import_file(world.write_file(file))
    assert kept.rows == 1
    assert [p.where.split(":")[0] for p in kept.refused] == ['row 2, id "b"', 'row 3, id "nobody"',
                                                            "row 4"]  # fmt: skip


def test_nothing_is_stored_without_a_valid_row(world):
    with pytest.raises(StudyError, match="dogg"):
        world.import_file(world.write_file("id,right_label\na,dogg\n"))
    assert not world.store.find_artifacts("verdicts")


def test_annotations_of_earlier_versions_are_located_by_their_old_digests(world):
    """Imported with digests of the label's position, and ordered by clock time."""
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


def test_ids_match_in_any_unicode_normal_form(world):
    rows = [("caf\u00e9", *ROWS[0][1:]), *ROWS[1:]]
    kept = world.import_file(world.write_file("id,right_label\ncafe\u0301,cat\n"), rows)
    assert kept.refused == ()
    assert world.read_settled(rows) == {"cats purr": "cat"}
