"""Verdicts find their rows by content, whatever happened to the table, its ids or its labels."""

import json
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from storage import Store
from tasks.data.csv_escape import escape_formulas
from tasks.data.dataset import Table
from tasks.data.row_hashes import content_digest, row_digest, row_digests
from tasks.mislabels.annotation_import import import_annotations
from tasks.mislabels.annotations import RECORD, read_annotations
from tasks.mislabels.random_sample import select_random_sample
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.review_export import make_review_frame, sample_for_review
from tasks.mislabels.stored_samples import read_samples, write_sample
from tasks.study.errors import StudyError

LABELS = ("cat", "dog")
ROWS = [("a", "cats purr", "dog"), ("b", "dogs bark", "dog"), ("c", "=cats, all", "cat"),
        ("d", "a bone", "dog"), ("e", "a mouse", "cat")]  # fmt: skip


def table(rows=ROWS, labels=LABELS) -> Table:
    ids, texts, names = (list(column) for column in zip(*rows, strict=True))
    return Table(ids, texts, None, [labels.index(name) for name in names], {}, "", "here")


def make_suspicions(rows=ROWS, **columns) -> pl.DataFrame:
    n = len(rows)
    frame = pl.DataFrame(rows, schema=["id", "text", "label"], orient="row")
    plain = {"rank": range(n), "cluster": range(n), "probability": [0.5] * n, "doubt": [0.5] * n,
             "confidence": [0.9] * n, "suggested": ["cat"] * n}  # fmt: skip
    kinds = {"text_pair": pl.lit(None, pl.String), "reviewed": pl.lit(None, pl.String)}
    return frame.with_columns(**kinds, **{
        name: pl.Series(values) for name, values in (plain | columns).items()
    })  # fmt: skip


class World:
    """A store, and the imports into it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.count = folder, Store.open(folder / "store", "s"), 0

    def export(self, frame: pl.DataFrame, rights: dict[str, str]) -> Path:
        """A file of `fastif review export`, filled in by id."""
        right_labels = [rights.get(name) for name in frame["id"]]
        return self.write_file(
            escape_formulas(
                frame.with_columns(right_label=pl.Series(right_labels, dtype=pl.String))
            )
        )

    def write_file(self, frame: pl.DataFrame | str) -> Path:
        self.count += 1
        path = self.folder / f"v{self.count}.csv"
        path.write_text(frame if isinstance(frame, str) else frame.write_csv())
        return path

    def import_file(self, path: Path, rows=ROWS, labels=LABELS, named=True, when="2026-01-01"):
        study = SimpleNamespace(labels=labels, train=SimpleNamespace(id="id" if named else None))
        return import_annotations(
            self.store, study, table(rows, labels), make_suspicions(rows), path, when
        )

    def read_settled(self, rows=ROWS, labels=LABELS) -> dict[str, str | None]:
        """Right labels by the text of today's rows."""
        verdicts, today = (
            read_annotations(self.store, table(rows, labels), labels),
            table(rows, labels),
        )
        digests = row_digests(today, labels)
        return {
            text: verdicts.agreed[digest]
            for text, digest in zip(today.texts, digests, strict=True)
            if digest in verdicts.agreed
        }


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def review(rows=ROWS) -> pl.DataFrame:
    return make_review_frame(MislabelResult(make_suspicions(rows), {}), len(rows))


RIGHTS = {"a": "cat", "b": "dog", "c": "none"}
EXPECTED = {"cats purr": "cat", "dogs bark": "dog", "=cats, all": None}


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


def test_rows_of_one_reviewer_that_disagree_are_named_and_not_kept(world):
    names = ["Ann", " ann", "ANN", "Zoe\u0301", "Zo\u00e9"]
    rows = "".join(f"{i},{y},{who}\n" for i, y, who in zip("aabcc", ["cat", "dog", "dog", "cat",
                   "dog"], names, strict=True))  # fmt: skip
    kept = world.import_file(world.write_file(f"id,right_label,reviewer\n{rows}"))
    assert len(kept.refused) == 2
    assert world.read_settled() == {"dogs bark": "dog"}


def test_two_reviewers_disagree_and_one_in_two_spellings_does_not(world):
    world.import_file(world.write_file("id,right_label,reviewer\na,cat,Ann Lee\nb,cat,bob\n"))
    world.import_file(world.write_file("id,right_label,reviewer\na,dog,ann  lee\nb,dog,Zoe\n"))
    verdicts = read_annotations(world.store)
    assert list(verdicts.agreed.values()) == ["dog"]
    assert [dict(by) for by in verdicts.conflicts.values()] == [{"bob": "cat", "Zoe": "dog"}]


def test_the_last_import_counts_whatever_the_clock_says(world):
    world.import_file(world.write_file("id,right_label\na,cat\n"), when="2026-05-05")
    world.import_file(world.write_file("id,right_label\na,dog\n"), when="2026-01-01")
    assert world.read_settled() == {"cats purr": "dog"}
    world.import_file(world.write_file("id,right_label\na,none\n"), when="2026-01-01")
    assert world.read_settled() == {"cats purr": None}


def test_annotations_of_one_person_count_by_their_time(world):
    row = row_digests(table(), LABELS)[0].hex()
    lines = ["annotation_id,annotator,updated_at,row,right_label"]
    lines += [f"2,1,2026-02-02,{row},cat", f"1,1,2026-02-01,{row},dog"]
    world.import_file(world.write_file("\n".join(lines)))
    assert world.read_settled() == {"cats purr": "cat"}


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


def test_what_is_alike_gets_the_verdict_unless_two_of_them_disagree(world):
    rows = [*ROWS, ("f", "cats purr!", "dog")]
    suspicions = make_suspicions(rows, cluster=[0, 1, 2, 3, 4, 0])
    study = SimpleNamespace(labels=LABELS, train=SimpleNamespace(id="id"))
    path = world.write_file("id,right_label\na,cat\n")
    import_annotations(world.store, study, table(rows), suspicions, path, "")
    assert world.read_settled(rows) == {"cats purr": "cat", "cats purr!": "cat"}


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


AT = "2026-01-01T"
"""Day of the annotations below."""


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("10:00:00Z", "10:00:00.5Z"),  # as words the other way round
        ("10:30:00+02:00", "09:00:00Z"),
        ("23:00:00", "23:30:00Z"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_newest_annotation_is_that_of_the_latest_time(world, earlier, later, turned):
    several = [make_annotation("dog", AT + earlier), make_annotation("cat", AT + later)]
    kept = world.import_file(tasks_file(world, several[::-1] if turned else several))
    assert kept.refused == ()
    assert world.read_settled() == {"cats purr": "cat"}


@pytest.mark.parametrize(
    "times", [(None, None), (AT + "10:00:00Z",) * 2, ("01/02/2026 10:00",) * 2]
)
def test_annotations_of_which_none_is_the_newest_are_refused(world, times):
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


def test_an_id_in_another_normal_form_is_the_same(world):
    rows = [("caf\u00e9", *ROWS[0][1:]), *ROWS[1:]]
    kept = world.import_file(world.write_file("id,right_label\ncafe\u0301,cat\n"), rows)
    assert kept.refused == ()
    assert world.read_settled(rows) == {"cats purr": "cat"}
