"""One statement on wrong labels in all places, from handmade stores; its sentences by hand."""

import json
import re
from types import SimpleNamespace

import polars as pl
import pytest
from handmade_runs import Row, fill_columns, open_store, write_run
from rich.console import Console

from fastif.mislabels.audit_sample import MIN_AUDITED
from storage import polars_schema
from storage.mislabel_schemas import MISLABELS, VERDICTS
from tasks.data.row_hashes import content_digest, row_digest
from tasks.mislabels.annotations import read_annotations, write_annotations
from tasks.mislabels.label_statement import MIN_SAMPLED, make_label_statement
from tasks.mislabels.results import read_latest_result
from tasks.report.build import ReportRequest, build_report
from tasks.report.history import read_history
from tasks.report.markdown import render_report_markdown
from tasks.report.report_json import render_report_json
from tasks.results.run_numbers import read_run_numbers
from tasks.terminal.mislabels import render_mislabels, render_mislabels_markdown

UNKNOWN = "How many labels are wrong is unknown: "
REVIEWED = "23 of 30 reviewed suspicious labels are wrong, 20 of rows 1 to 25: continue."
COUNTED = "(90 % interval {}, by 40 annotated rows of a random sample)."
RANDOM = "fastif review export --random 100 --out random.csv"
ROWS = 100


def make_train(corrected=()):
    return [
        Row(f"t{i}", f"text {i}", "b" if i in corrected else "a", groups={"source": "x"})
        for i in range(ROWS)
    ]


def annotate(store, ids, wrong, random=False, copied=(), reviewer="ann"):
    """Import annotations of the uncorrected rows with these numbers, in this order."""
    lines = []
    for i in ids:
        content = content_digest(f"text {i}", None)
        lines.append(
            {"row": row_digest(content, "a"), "content": content, "id": f"t{i}", "label": "a",
             "right_label": "b" if i in wrong else "a", "reviewer": reviewer, "drawn": random,
             "copied": i in copied}
        )  # fmt: skip
    frame = pl.DataFrame(lines, schema=polars_schema(VERDICTS))
    write_annotations(store, frame, ["a", "b"], "review.csv", "2026-01-02")


def detect(store, train, sampled=0, errors=None):
    """Store a detection with strengths from 0.99 on, as one after these annotations."""
    rows = [
        {"train": i, "id": row.id, "text": row.text, "label": row.label, "cluster": i, "rank": i,
         "suggested": "b", "probability": 0.99 * 0.9**i, "agreeing": None, "conflicting": None}
        for i, row in enumerate(train)
    ]  # fmt: skip
    drawn = {"rows": sampled, "wrong": 0, "enough": sampled >= MIN_SAMPLED, "population": ROWS,
             "gone": 0, "skipped": 0, "later": 0}  # fmt: skip
    count = {"counted": ROWS, "verdicts": sampled, **(errors or {})}
    reviewed = {"rows": 0, "wrong": 0, "audited": sampled, "conflicts": 0}
    by_label = {"a": {"rows": ROWS, **(count if errors else {})}}
    facts = {"study": "by-hand", "rows": ROWS, "number": 1, "created": "2026", "budget": 50,
             "procedure": 1, "counted_by": "random sample" if errors else None,
             "errors": count if errors else None, "by_label": by_label, "by_group": {},
             "drawn": drawn if sampled else None, "recall": {"planted": 0}, "reviewed": reviewed,
             "skill": 0.5, "trusted": 0, "encoder": "e", "encoder_saw_labels": False}  # fmt: skip

    def write(folder):
        fill_columns(MISLABELS, rows).write_parquet(folder / "mislabels.parquet")
        (folder / "facts.json").write_text(json.dumps(facts))

    store.write_artifact("mislabels", "a" * 64, write)


def review(store):
    """Thirty reviewed rows in another order than that of the table: 20 of the first 25 wrong."""
    annotate(store, range(29, -1, -1), [*range(10, 30), 0, 1, 2])


def sample(store, rows, wrong=()):
    annotate(store, range(40, 40 + rows), wrong, random=True)


def no_verdicts(store):
    detect(store, make_train())


def verdicts(store):
    detect(store, make_train())
    review(store)


def random_sample(store):
    sample(store, 40, range(48, 56))
    detect(store, make_train(), 40, {"expected": 12.2, "low": 8.0, "high": 25.0})


def half_of_it(store):
    review(store)
    sample(store, 20)
    detect(store, make_train(), 20)


def all_right(store):
    sample(store, 40)
    detect(store, make_train(), 40, {"expected": 0.0, "low": 0.0, "high": 4.0})


def relabelled(store):
    """The second detection, after the wrong labels of the review were corrected."""
    review(store)
    detect(store, make_train([*range(10, 30), 0, 1, 2]))


def imported_after_the_search(store):
    detect(store, make_train())
    sample(store, 40)


CASES = {
    no_verdicts: (f"{UNKNOWN}no random sample was annotated.", RANDOM),
    verdicts: (f"{UNKNOWN}no random sample was annotated. {REVIEWED}", RANDOM),
    random_sample: (f"About 12 of 100 labels are wrong {COUNTED.format('8 to 25')}", ""),
    half_of_it: (
        f"{UNKNOWN}20 rows of a random sample are annotated, 30 are needed. {REVIEWED}",
        RANDOM,
    ),
    all_right: (f"About 0 of 100 labels are wrong {COUNTED.format('0 to 4')}", ""),
    relabelled: (f"{UNKNOWN}no random sample was annotated. {REVIEWED}", RANDOM),
    imported_after_the_search: (
        f"{UNKNOWN}40 rows of a random sample were annotated after the search.",
        "fastif mislabels",
    ),
}


@pytest.fixture(params=CASES, ids=lambda case: case.__name__)
def world(request, tmp_path):
    """Store of one run, after a search for wrong labels and annotations."""
    store = open_store(tmp_path)
    corrected = [*range(10, 30), 0, 1, 2] if request.param is relabelled else ()
    queries = [Row(f"q{i}", f"query {i}") for i in range(4)]
    write_run(store, "one", make_train(corrected), queries, effects={(0, 0): -2.5})
    request.param(store)
    (tmp_path / "study.toml").write_text(
        'name = "by-hand"\nlabels = ["a", "b"]\n[train]\ntable = "t.csv"\ntext = "text"\n'
        'label = "label"\n[store]\npath = "store"\n'
    )
    sentence, command = CASES[request.param]
    return SimpleNamespace(folder=tmp_path, store=store, sentence=sentence, command=command)


def read_places(world):
    """Text of each place that says something about wrong labels, on one line."""
    request = ReportRequest(str(world.folder / "study.toml"), "one")
    built = build_report.fn(request)
    html = (world.folder / "reports" / "one.html").read_text()
    section = html.split('<h2 id="suspects">')[1].split("<h2")[0]
    result = read_latest_result(world.store)
    labels = make_label_statement(result.facts, read_annotations(world.store))
    console = Console(width=400)
    with console.capture() as captured:
        console.print(render_mislabels(result, labels))
    places = {
        "page": re.sub(r"<table><caption>Precision.*?</table>", "", section, flags=re.DOTALL),
        "page, summary": html.split('aria-label="Summary">')[1].split("</ul>")[0],
        "terminal": captured.get(),
        "terminal of the report": " ".join(built.headline),
        "artifact": render_mislabels_markdown(result, labels),
        "artifact of the report": render_report_markdown(built),
        "JSON": json.loads(render_report_json(built))["labels"]["sentence"],
    }
    return {name: " ".join(re.sub("<[^>]*>", " ", text).split()) for name, text in places.items()}


def test_every_place_has_the_same_sentence_and_no_other_number(world):
    is_counted = world.sentence.startswith("About")
    for name, text in read_places(world).items():
        assert world.sentence in text, name
        assert not world.command or name not in ("page", "terminal") or world.command in text
        if not is_counted and name in ("page", "terminal", "artifact"):
            assert not re.search(r"%|\b0\.\d", text), "neither a share nor a score"
    tests = json.loads(world_json(world))["tests"]
    (tile,) = [test for test in tests if test["key"] == "wrong_labels_above"]
    assert (tile["value"] is None) is not is_counted
    assert tile["remedy"] == world.command


def world_json(world):
    return render_report_json(build_report.fn(ReportRequest(str(world.folder / "study.toml"))))


def test_lists_of_runs_have_the_same_number(world):
    numbers = read_run_numbers(world.store, world.store.list_runs(), pytest.fail)["one"]
    (run,) = read_history(world.store, 5)
    measured = run.numbers["wrong_labels_above"]
    if not world.sentence.startswith("About"):
        assert (numbers.labels.brief, measured) == ("not counted", None)
        return
    wrong = int(world.sentence.split()[1])
    assert numbers.labels.brief == f"{wrong + (0.2 if wrong else 0):.1f}%"
    assert measured.text.startswith(numbers.labels.brief)


def test_blocks_are_in_the_order_of_the_review(tmp_path):
    """Random samples, disputed rows and copies for near duplicates are not in them."""
    store = open_store(tmp_path)
    annotate(store, range(60), [*range(20), 59], copied=[3, 4])
    annotate(store, [5], [], reviewer="ben")  # disagrees with ann
    annotate(store, [59], [59], random=True)
    annotate(store, [0], [])  # ann has another opinion now, at the same place
    blocks = make_label_statement(None, read_annotations(store)).blocks
    order = [i for i in range(59) if i not in (3, 4, 5)]
    wrong = [0 < i < 20 for i in order]
    expected = [(1, 25, sum(wrong[:25])), (26, 25, sum(wrong[25:50])), (51, 6, sum(wrong[50:]))]
    assert [(block.first, block.rows, block.wrong) for block in blocks] == expected


@pytest.mark.parametrize(("wrong", "advice"), [(25, "continue"), (3, "continue"), (2, "stop")])
def test_the_stopping_rule(tmp_path, wrong, advice):
    store = open_store(tmp_path)
    annotate(store, range(25), range(wrong))
    labels = make_label_statement(None, read_annotations(store))
    assert labels.review_sentence.endswith(f"{wrong} of rows 1 to 25: {advice}.")
    assert labels.make_record()["stop"] is (advice == "stop")


def test_the_least_number_of_annotations_is_that_of_the_estimate():
    assert MIN_SAMPLED == MIN_AUDITED
