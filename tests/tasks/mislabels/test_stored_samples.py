"""Random audit samples in the store, and their rows in an imported file."""

import polars as pl
import pytest

from tasks.data.row_hashes import content_digest, row_digest, row_digests
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.review_export import make_review_frame
from tasks.mislabels.stored_samples import read_samples, write_sample
from tasks.study.errors import StudyError
from tests.tasks.mislabels.annotated_store import (
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


def test_a_lost_sample_flag_is_recovered_with_a_note(world):
    sample = sample_for_review(world.store, MislabelResult(make_detection(), {}), 3)
    rights = dict.fromkeys(sample["id"], "cat")
    for word in ("WAHR", "x", "1", "Ja"):
        fresh = World(world.folder / word)
        sample_for_review(fresh.store, MislabelResult(make_detection(), {}), 3)
        fresh.import_file(fresh.export(sample.with_columns(drawn=pl.lit(word)), rights))
        assert len(read_annotations(fresh.store).audited) == 3
    path = world.export(sample.with_columns(drawn=pl.lit("sure")), rights)
    with pytest.raises(StudyError, match=r'column drawn[^!]*row 1: "sure"'):
        world.import_file(path)
    for lost in (sample.drop("drawn"), sample.with_columns(drawn=pl.lit(None, pl.String))):
        fresh = World(world.folder / f"lost{len(lost.columns)}")
        sample_for_review(fresh.store, MislabelResult(make_detection(), {}), 3)
        kept = fresh.import_file(fresh.export(lost, rights))
        assert "although the column `drawn` is missing" in kept.notes[0]
        assert len(read_annotations(fresh.store).audited) == 3


def test_part_of_a_sample_without_its_flag_yields_a_note(world):
    sample = sample_for_review(world.store, MislabelResult(make_detection(), {}), 3)
    rights = dict.fromkeys(sample["id"], "cat")
    kept = world.import_file(world.export(sample.drop("drawn").head(2), rights))
    assert "random audit sample without the flag `drawn`: 2" in kept.notes[0]
    assert not read_annotations(world.store).audited


def test_flagged_rows_outside_every_sample_do_not_count(world):
    kept = world.import_file(world.write_file("id,right_label,drawn\na,cat,yes\n"))
    assert "in no random audit sample of this store" in kept.notes[1]
    assert not read_annotations(world.store).audited


def test_a_sampled_row_corrected_before_the_import_counts(world):
    sample = sample_for_review(world.store, MislabelResult(make_detection(), {}), 5)
    path = world.export(sample, dict.fromkeys(sample["id"], "cat"))
    corrected = [(name, text, "cat") for name, text, _ in ROWS]
    kept = world.import_file(path, corrected)
    assert kept.refused == ()
    annotations = read_annotations(world.store, table(corrected), LABELS)
    assert len(annotations.audited) == 5
    every = [annotations.find_right_label(row_digest(content, "cat"), content, "cat")
             for content in (content_digest(text, None) for _, text, _ in ROWS)]  # fmt: skip
    assert every == [(True, "cat")] * 5


def test_a_sample_and_its_population_are_recorded_once(world):
    result = MislabelResult(make_detection(), {})
    first, again = (
        sample_for_review(world.store, result, 2),
        sample_for_review(world.store, result, 2),
    )
    assert first.equals(again)
    (stored,) = read_samples(world.store)
    assert stored.population_digests == set(row_digests(table(), LABELS))
    assert set(first["row"]) == {row.hex() for row in stored.sampled_rows}
    write_sample(world.store, make_detection(ROWS[:3]), make_detection(ROWS[:1]))
    assert [len(stored.population_digests) for stored in read_samples(world.store)] == [5, 3]


def test_rows_annotated_since_the_detection_are_not_exported_again(world):
    result = MislabelResult(make_detection(), {})
    world.import_file(world.export(review(), RIGHTS))
    annotations = read_annotations(world.store, table(), LABELS)
    assert set(make_review_frame(result, 5, annotations)["id"]) == {"d", "e"}
    assert set(sample_for_review(world.store, result, 5, annotations)["id"]) == {"d", "e"}
