"""A random sample is recorded when it is drawn, and its rows are known when a file comes back."""

import polars as pl
import pytest

from tasks.data.row_hashes import content_digest, row_digest, row_digests
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.review_export import make_review_frame, sample_for_review
from tasks.mislabels.stored_samples import read_samples, write_sample
from tasks.study.errors import StudyError
from tests.tasks.mislabels.annotated_store import (
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


def test_the_flag_of_a_random_sample_is_never_lost_in_silence(world):
    sample = sample_for_review(world.store, MislabelResult(make_suspicions(), {}), 3)
    rights = dict.fromkeys(sample["id"], "cat")
    for word in ("WAHR", "x", "1", "Ja"):
        fresh = World(world.folder / word)
        sample_for_review(fresh.store, MislabelResult(make_suspicions(), {}), 3)
        fresh.import_file(fresh.export(sample.with_columns(drawn=pl.lit(word)), rights))
        assert len(read_annotations(fresh.store).audited) == 3
    path = world.export(sample.with_columns(drawn=pl.lit("sure")), rights)
    with pytest.raises(StudyError, match=r'column drawn[^!]*row 1: "sure"'):
        world.import_file(path)
    for lost in (sample.drop("drawn"), sample.with_columns(drawn=pl.lit(None, pl.String))):
        fresh = World(world.folder / f"lost{len(lost.columns)}")
        sample_for_review(fresh.store, MislabelResult(make_suspicions(), {}), 3)
        kept = fresh.import_file(fresh.export(lost, rights))
        assert "though the column `drawn` is gone" in kept.notes[0]
        assert len(read_annotations(fresh.store).audited) == 3


def test_a_part_of_a_sample_without_its_flag_is_told(world):
    sample = sample_for_review(world.store, MislabelResult(make_suspicions(), {}), 3)
    rights = dict.fromkeys(sample["id"], "cat")
    kept = world.import_file(world.export(sample.drop("drawn").head(2), rights))
    assert "2 rows are of a random sample, but the file has no column `drawn`" in kept.notes[0]
    assert not read_annotations(world.store).audited


def test_rows_that_claim_to_be_drawn_are_not_counted_by(world):
    kept = world.import_file(world.write_file("id,right_label,drawn\na,cat,yes\n"))
    assert "in no random sample that this store has recorded" in kept.notes[1]
    assert not read_annotations(world.store).audited


def test_a_drawn_row_that_was_mended_before_its_file_came_back_counts(world):
    sample = sample_for_review(world.store, MislabelResult(make_suspicions(), {}), 5)
    path = world.export(sample, dict.fromkeys(sample["id"], "cat"))
    mended = [(name, text, "cat") for name, text, _ in ROWS]
    kept = world.import_file(path, mended)
    assert kept.refused == ()
    verdicts = read_annotations(world.store, table(mended), LABELS)
    assert len(verdicts.audited) == 5
    every = [verdicts.find_right_label(row_digest(content, "cat"), content, "cat")
             for content in (content_digest(text, None) for _, text, _ in ROWS)]  # fmt: skip
    assert every == [(True, "cat")] * 5


def test_a_draw_records_what_it_was_drawn_from_once(world):
    result = MislabelResult(make_suspicions(), {})
    first, again = (
        sample_for_review(world.store, result, 2),
        sample_for_review(world.store, result, 2),
    )
    assert first.equals(again)
    (draw,) = read_samples(world.store)
    assert draw.population_digests == set(row_digests(table(), LABELS))
    assert set(first["row"]) == {row.hex() for row in draw.sampled_rows}
    write_sample(world.store, make_suspicions(ROWS[:3]), make_suspicions(ROWS[:1]))
    assert [len(draw.population_digests) for draw in read_samples(world.store)] == [5, 3]


def test_rows_with_a_verdict_since_the_search_are_not_asked_again(world):
    result = MislabelResult(make_suspicions(), {})
    world.import_file(world.export(review(), RIGHTS))
    verdicts = read_annotations(world.store, table(), LABELS)
    assert set(make_review_frame(result, 5, verdicts)["id"]) == {"d", "e"}
    assert set(sample_for_review(world.store, result, 5, verdicts)["id"]) == {"d", "e"}
