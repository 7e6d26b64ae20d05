"""Queries that were broken or repaired, with changed training rows; truths in plain Python."""

import json

import numpy as np
import polars as pl
import pytest
from handmade_runs import Row, open_store, write_run
from rich.console import Console

from storage import polars_schema
from storage.mislabel_schemas import VERDICTS
from tasks.data.row_hashes import content_digest, row_digest
from tasks.mislabels.annotations import write_annotations
from tasks.report.build import ReportRequest, build_report
from tasks.results.compare_runs import diff_runs
from tasks.terminal.diff import render_difference

KEPT = [Row(f"kept{i}", f"kept text {i}", groups={"source": "s"}) for i in range(4)]
OLD = [*KEPT, Row("gone", "removed text"), Row("re", "relabelled text", "a"), Row("ed", "early")]
NEW = [*KEPT, Row("re", "relabelled text", "b"), Row("ed", "late"), Row("new", "new text")]
BROKEN, REPAIRED, SAME = 0, 1, 2


def ask(right, losses, extra=()):
    rows = [
        Row(f"q{i}", f"query {i}", correct=i in right, loss=loss, groups={"kind": "ab"[i % 2]})
        for i, loss in enumerate(losses)
    ]
    return [*extra, *rows]


def make_effects(queries, train, seed, shift=0):
    """Effects of every row on every query, in float32 as the store has them."""
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(queries, train)).astype(np.float32) / 10
    return {(q, t): float(table[q, t]) for q in range(shift, queries) for t in range(train)}


@pytest.fixture
def store(tmp_path):
    """The run `old`: queries 1 and 2 are right, with effects of each row on each query."""
    store = open_store(tmp_path)
    effects = make_effects(3, len(OLD), 1)
    write_run(store, "old", OLD, ask({BROKEN, SAME}, [0.1, 2.0, 0.3]), effects)
    return store


def write_second(store, name="two", train=NEW, extra=(), effects=None, **parts):
    queries = ask({REPAIRED, SAME}, [1.5, 0.4, 0.2], extra)
    effects = make_effects(len(queries), len(train), 2) if effects is None else effects
    write_run(store, name, train, queries, effects, **parts)
    return diff_runs(store, "old", name)


def rank_by_hand(query, sign, has_sizes=True):
    """State and loss change of the changed rows of a query, the strongest first."""
    old, new = make_effects(3, len(OLD), 1), make_effects(3, len(NEW), 2)
    before = {row.id: old[query, i] for i, row in enumerate(OLD)}
    after = {row.id: new[query, i] for i, row in enumerate(NEW)}
    changes = {"new": -after["new"]}
    for name in ("re", "ed"):
        changes[name] = (before[name] if has_sizes else 0.0) - after[name]
    if has_sizes:
        changes["gone"] = before["gone"]
    pushing = [(name, change) for name, change in changes.items() if sign * change > 0]
    return sorted(pushing, key=lambda pair: -abs(pair[1]))


def list_rows(query):
    return [(row.id, row.loss_change) for row in query.rows]


def test_changed_rows_are_ranked_by_their_effect_on_the_query(store):
    changes = write_second(store).queries
    (broken,), (repaired,) = changes.broken, changes.repaired
    assert (broken.id, broken.before, broken.after) == ("q0", "a", "z")
    assert (broken.loss_before, broken.loss_after) == pytest.approx((0.1, 1.5), abs=1e-6)
    assert (repaired.id, repaired.before, repaired.after) == ("q1", "z", "a")
    assert (changes.broken_count, changes.repaired_count, changes.changed_rows) == (1, 1, 4)
    for query, place, sign in ((broken, BROKEN, 1), (repaired, REPAIRED, -1)):
        expected = rank_by_hand(place, sign)
        assert [name for name, _ in list_rows(query)] == [name for name, _ in expected]
        assert [change for _, change in list_rows(query)] == pytest.approx(
            [change for _, change in expected], abs=1e-6
        )
        assert query.unstored == 0
    states = {row.id: (row.state, row.label_before) for q in (broken, repaired) for row in q.rows}
    truth = {"new": ("new", None), "gone": ("removed", None), "re": ("relabelled", "a"),
             "ed": ("edited", None)}  # fmt: skip
    assert states.items() <= truth.items()
    assert len(states) >= 3


def test_another_model_leaves_removed_rows_out(store):
    difference = write_second(store, model="another")
    assert difference.comparability.level == "order"
    changes = difference.queries
    for query, place, sign in ((changes.broken[0], BROKEN, 1), (changes.repaired[0], REPAIRED, -1)):
        expected = rank_by_hand(place, sign, has_sizes=False)
        assert [name for name, _ in list_rows(query)] == [name for name, _ in expected]
        assert all(row.effect_before is None for row in query.rows)
    assert any("removed rows are left out" in note for note in changes.notes)
    assert difference.overall.entered is not None
    assert difference.overall.doubled is None, "sizes cannot be compared"


def test_effects_that_are_not_stored_are_counted(store):
    effects = {(q, t): -0.1 for q in range(3) for t in range(4)}  # of the kept rows alone
    difference = write_second(store, effects=effects)
    (broken,) = difference.queries.broken
    assert broken.unstored == 3, "of the removed row, the effect is in the earlier run"
    old, places = make_effects(3, len(OLD), 1), {row.id: i for i, row in enumerate(OLD)}
    earlier = {name: old[BROKEN, places[name]] for name in ("re", "ed", "gone")}
    expected = sorted(
        (name for name in earlier if earlier[name] > 0), key=lambda name: -earlier[name]
    )
    assert [row.id for row in broken.rows] == expected
    text = render(difference)
    assert "effects of 3 of 4 changed rows not stored" in text


def test_only_queries_of_both_runs_count(store):
    """A new query in front moves the positions, and a query with another label is another one."""
    extra = [Row("fresh", "a new query", correct=False, groups={"kind": "a"})]
    changes = write_second(store, extra=extra).queries
    assert [query.id for query in (*changes.broken, *changes.repaired)] == ["q0", "q1"]
    other = [Row("q0", "query 0", "b", correct=False), Row("q1", "query 1", correct=True)]
    write_run(store, "third", NEW, other)
    changes = diff_runs(store, "old", "third").queries
    assert [query.id for query in (*changes.broken, *changes.repaired)] == ["q1"]


def test_losses_of_another_definition_are_not_compared(store):
    difference = write_second(store, max_length=64)
    assert difference.comparability.level == "nothing"
    assert difference.rows is None
    (broken,) = difference.queries.broken
    assert (broken.loss_before, broken.loss_after, broken.loss_change) == (None, None, None)
    assert "Losses of the two runs have other definitions" in render(difference)


def test_another_ranking_is_named_and_effects_are_not_compared(store):
    write_run(store, "scaled", NEW, ask({1, 2}, [1.5, 0.4, 0.2]), scales=[1.0] * len(NEW))
    difference = diff_runs(store, "old", "scaled")
    assert difference.comparability.level == "nothing"
    assert "ranking: by removal effect became by ranking score" in str(difference.comparability)
    assert difference.rows is None
    assert len(difference.queries.broken) == 1


def test_another_kind_of_estimator_is_named_and_effects_are_not_compared(store):
    chosen = {"estimator": {"estimator": {"kind": "through the training", "models": [0]}}}
    difference = write_second(store, curvature=chosen)
    assert difference.comparability.level == "nothing"
    assert "influence became through the training" in str(difference.comparability)


def test_the_same_rows_are_behind_nothing(store):
    effects = make_effects(3, len(OLD), 1)
    difference = write_second(store, train=OLD, effects=effects, model="seed")
    assert difference.queries.changed_rows == 0
    assert difference.queries.broken[0].rows == ()
    assert "No training row is new, removed, relabelled or edited" in render(difference)


def test_annotations_between_the_nights_change_no_comparison(store):
    """A row is annotated as wrong after the first night, and relabelled before the second."""
    content = content_digest("relabelled text", None)
    line = {"row": row_digest(content, "a"), "content": content, "id": "re", "label": "a",
            "right_label": "b", "reviewer": "ann", "drawn": False, "copied": False}  # fmt: skip
    frame = pl.DataFrame([line], schema=polars_schema(VERDICTS))
    write_annotations(store, frame, ["a", "b"], "review.csv", "2026-01-02")
    changes = write_second(store).queries
    for query, place, sign in ((changes.broken[0], BROKEN, 1), (changes.repaired[0], REPAIRED, -1)):
        assert [name for name, _ in list_rows(query)] == [n for n, _ in rank_by_hand(place, sign)]


def render(difference):
    console = Console(width=250)
    with console.capture() as captured:
        console.print(render_difference(difference, "old", "two"))
    return " ".join(captured.get().split())


def test_page_terminal_and_json_have_the_same_changes(store, tmp_path):
    difference = write_second(store)
    (tmp_path / "study.toml").write_text(
        'name = "by-hand"\nlabels = ["a", "b"]\n[train]\ntable = "t.csv"\ntext = "text"\n'
        'label = "label"\n[store]\npath = "store"\n'
    )
    for kind in ("html", "json"):
        build_report.fn(ReportRequest(str(tmp_path / "study.toml"), "two", "old", format=kind))
    html = (tmp_path / "reports" / "two.html").read_text()
    section = html.split('<h2 id="changes">')[1].split("<h2")[0]
    record = json.loads((tmp_path / "reports" / "two.json").read_text())["changes"]
    assert "query 0" not in json.dumps(record), "no text of an example"
    text = render(difference)
    for query, word in ((difference.queries.broken[0], "broken"),
                        (difference.queries.repaired[0], "repaired")):  # fmt: skip
        (listed,) = record[word]
        assert (listed["id"], listed["after"]) == (query.id, query.after)
        for row, same in zip(query.rows[:3], listed["rows"], strict=False):
            assert (same["id"], same["loss_change"]) == (row.id, row.loss_change)
            change = f"{row.loss_change:+.4f}"
            assert f"{change} {row.id}" in text
            assert change in section
        assert f"Queries that were {word}: 1" in section
        assert f"queries that were {word}: 1" in text
    assert record["overall"]["entered"] == difference.overall.entered
    assert f"{difference.overall.entered} training rows entered the 100 most harmful" in text
    assert "newly harmful" not in html + text
