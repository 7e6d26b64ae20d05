"""Random audit samples in the store, and their rows in an imported file."""

import polars as pl
import pytest

from tasks.data.row_hashes import content_digest, row_digest, row_digests
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.label_studio import make_labelling_tasks
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.review_export import make_review_frame
from tasks.mislabels.sample_design import sample_rows
from tasks.mislabels.stored_samples import KIND, UNKNOWN_ERROR, read_samples
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
    assert stored.population_digests.keys() == set(row_digests(table(), LABELS))
    assert set(first["row"]) == {row.hex() for row in stored.sampled_rows}
    sample_for_review(world.store, MislabelResult(make_detection(ROWS[:3]), {}), 1)
    assert [len(stored.population_digests) for stored in read_samples(world.store)] == [5, 3]


def test_rows_annotated_since_the_detection_are_not_exported_again(world):
    result = MislabelResult(make_detection(), {})
    world.import_file(world.export(review(), RIGHTS))
    annotations = read_annotations(world.store, table(), LABELS)
    assert set(make_review_frame(result, 5, annotations)["id"]) == {"d", "e"}
    assert set(sample_for_review(world.store, result, 5, annotations)["id"]) == {"d", "e"}


def test_a_sample_of_an_earlier_version_is_a_simple_random_sample(world):
    """Its files have the texts and labels of all rows, and the doubt of the sampled ones."""
    contents = [content_digest(text, None) for _, text, _ in ROWS]
    names = [label for _, _, label in ROWS]
    rows = pl.DataFrame({"content": [*contents, contents[0]], "label": [*names, names[0]]})
    selected = rows[[3, 0]].with_columns(doubt=pl.Series([0.25, 0.5], dtype=pl.Float32))

    def write(folder):
        rows.write_parquet(folder / "population.parquet")
        selected.write_parquet(folder / "selected.parquet")
        (folder / "draw.json").write_text('{"number": 0, "population": 6, "selected": 2}')

    world.store.write_artifact(KIND, "0" * 64, write)
    (stored,) = read_samples(world.store)
    assert stored.population_digests.keys() == set(row_digests(table(), LABELS))
    assert stored.population["copies"].to_list() == [2, 1, 1, 1, 1]
    assert stored.population["size"].to_list() == [1.0] * 5
    assert set(stored.population["doubt"]) == {UNKNOWN_ERROR}
    assert [row.prior_error for row in stored.selected] == [0.25, 0.5]
    assert [row.content for row in stored.selected] == [contents[3], contents[0]]


def test_a_sample_shows_nothing_that_leads_the_reviewers(world):
    sample = sample_for_review(world.store, MislabelResult(make_detection(), {}), 3)
    hidden = {"suggested", "probability", "confidence", "doubt", "alike", "rank"}
    assert not hidden & set(sample.columns)
    assert {"id", "label", "text", "row", "right_label", "reviewer", "drawn"} <= set(sample.columns)
    for job in make_labelling_tasks(sample):
        assert set(job) == {"data"}
        assert not hidden & set(job["data"])


def test_doubtful_rows_are_sampled_more_often_in_no_order():
    """The share of doubtful rows is by size, and the same in both halves of the file."""
    rows = [(f"{i}", f"text {i}", "cat") for i in range(2000)]
    doubt = [0.5 if i < 400 else 0.001 for i in range(2000)]
    table = make_detection(rows, doubt=doubt).with_columns(
        row=pl.Series([f"{i}".encode() for i in range(2000)])
    )
    review = sample_rows(table, 400)
    doubtful = [int(name) < 400 for name in review.rows["id"]]
    size = 0.05**0.5 * 0.95**0.5
    expected = 400 * 400 * 0.5 / (400 * 0.5 + 1600 * size)
    assert sum(doubtful) == pytest.approx(expected, rel=0.15)
    assert sum(doubtful[:200]) == pytest.approx(sum(doubtful[200:]), rel=0.35)
    first = review.rows.row(0, named=True)
    mass = float((review.population["copies"] * review.population["size"]).sum())
    assert first["chance"] == pytest.approx(first["copies"] * first["size"] / mass)
    assert review.rows.head(30).equals(sample_rows(table, 30).rows)


def test_another_detection_gives_an_independent_sample():
    rows = [(f"{i}", f"text {i}", "cat") for i in range(500)]
    tables = [
        make_detection(rows, doubt=[0.1 + i * step for i in range(500)]).with_columns(
            row=pl.Series([f"{i}".encode() for i in range(500)])
        )
        for step in (0.0, 0.0005)
    ]
    first, second = (set(sample_rows(table, 100).rows["id"]) for table in tables)
    assert 5 <= len(first & second) <= 40  # 20 are expected


def test_equal_rows_are_one_row_of_a_sample_with_the_size_of_all():
    rows = [(f"{i}", "same" if i < 50 else f"text {i}", "cat") for i in range(100)]
    table = make_detection(rows).with_columns(
        row=pl.Series([b"same" if i < 50 else f"{i}".encode() for i in range(100)])
    )
    review = sample_rows(table, 100)
    assert len(review.rows) == len(review.population) == 51
    assert sorted(review.population["copies"])[-1] == 50
    assert review.rows["content"].to_list().index(content_digest("same", None)) < 10
