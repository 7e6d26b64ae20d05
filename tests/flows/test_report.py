"""The page about a night: its figures are those of the store, and no text of the data is markup."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
import tiny
from scipy.stats import pearsonr, spearmanr, ttest_1samp
from typer.testing import CliRunner

from flows.cli.app import app
from storage import StoreError
from tasks.mislabels.detect import detect_mislabels
from tasks.mislabels.detection_plan import DETECTOR_VERSION
from tasks.mislabels.results import read_latest_result
from tasks.report.data_quality import assess_data_quality
from tasks.report.duplicates import find_duplicates
from tasks.report.formatting import shorten_text
from tasks.report.mislabels import read_flagged_labels
from tasks.report.page import build_page, render_page
from tasks.report.reliability import check_reliability, compare_baselines
from tasks.report.run_data import read_run_data
from tasks.report.slices import summarize_slices
from tasks.report.tfidf_space import make_tfidf_space
from tasks.report.worst_queries import make_query_cases
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

HOSTILE = (
    "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>",
    "\"><svg onload=window.hit=1> ' javascript:alert(1) {{ 7 * 7 }} {% raw %}",
    "a\u202egnp.exe\u2066 \x00\x07\x1b[31m \ufeff\u200b",
    "👩\u200d👩\u200d👧 ❤\ufe0f 🇨🇭",
    '=HYPERLINK("http://x")',
)


@pytest.fixture(scope="module")
def night(finished):
    study = finished / "study.toml"
    store = open_existing_store(load_study(study))
    return read_run_data(store, store.find_latest().record.run, study)


@pytest.fixture
def audit(finished, tmp_path):
    """A copy of the audited study's folder."""
    return tiny.copy(finished, tmp_path / "world")


@pytest.fixture(scope="module")
def audit_and_search(finished, tmp_path_factory):
    """The audited study's folder after a search for wrong labels; copied, never changed."""
    folder = tiny.copy(finished, tmp_path_factory.mktemp("searched") / "world")
    detect_mislabels.fn(str(folder / "study.toml"))
    return folder


@pytest.fixture
def searched(audit_and_search, tmp_path):
    """A copy of the folder that was audited and searched."""
    return tiny.copy(audit_and_search, tmp_path / "world")


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def audited(folder, **changes):
    """A night of a study that is written anew."""
    tiny.write_study(folder, **{"candidates": tiny.WITH_RECALL, **changes})
    tiny.run_directly(folder / "study.toml")
    store = open_existing_store(load_study(folder / "study.toml"))
    return read_run_data(store, store.find_latest().record.run, folder / "study.toml")


class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.seen = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_the_command_writes_a_page_of_every_section(audit):
    done = run("report", "--study", audit / "study.toml", "--price", "2")
    assert done.exit_code == 0, done.output
    (page,) = (audit / "reports").iterdir()
    html = page.read_text()
    for section in ("evidence", "suspects", "slices", "map", "quality", "trust", "cost"):
        assert f'id="{section}"' in html
    assert "at 2.00 an hour" in html
    assert html.count("<svg") >= 4
    assert len(html) < 5_000_000
    assert f"{page}" in done.output.replace("\n", "")


def test_a_page_replaces_a_page_and_nothing_else(finished, tmp_path):
    study = finished / "study.toml"
    page, table = tmp_path / "page.html", tmp_path / "train.csv"
    assert run("report", "--study", study, "--out", page).exit_code == 0
    assert run("report", "--study", study, "--out", page).exit_code == 0
    other = tmp_path / "other.html"
    for path in (table, other):
        path.write_text("id,text\n1,mine\n")
        refused = run("report", "--study", study, "--out", path)
        assert refused.exit_code == 2, refused.output
        assert path.read_text() == "id,text\n1,mine\n"
    for out in (tmp_path, study, tmp_path / "page"):
        refused = run("report", "--study", study, "--out", out)
        assert refused.exit_code == 2
        assert "Traceback" not in refused.output
    assert study.read_text().startswith("name")


def test_nothing_on_the_page_asks_a_network(night):
    html = render_page(build_page(night))
    addresses = set(re.findall(r"https?://[^\s\"'<]+", html))
    assert all(address.startswith("http://www.w3.org/") for address in addresses)  # namespaces
    assert "default-src 'none'" in html
    for tag, attributes in Elements(html).seen:
        assert tag not in ("link", "iframe", "object", "img", "base", "form")
        assert attributes.get("href", "#").startswith("#")


def test_the_same_night_makes_the_same_page(night):
    made = [re.sub(r"Made [\d: -]+ UTC", "", render_page(build_page(night))) for _ in range(2)]
    assert made[0] == made[1]


def test_the_matrix_sums_what_the_store_holds(night):
    slices = summarize_slices(night)
    assert (slices.slice_name, slices.source_name) == ("kind", "label")
    labels = dict(night.train.select("train", "label").iter_rows())
    kinds = dict(night.queries.select("query", "group_kind").iter_rows())
    sums: dict = {}
    for query, train, effect in night.scores.select("query", "train", "removal_effect").iter_rows():
        key = (labels[train], kinds[query])
        sums[key] = sums.get(key, 0.0) + effect
    effects = {
        (s, q): e for s, q, e in slices.matrix.select("source", "slice", "effect").iter_rows()
    }
    assert effects.keys() == sums.keys()
    assert all(effects[key] == pytest.approx(sums[key], rel=1e-6) for key in sums)


def test_a_slices_effects_correlate_as_numpy_says(night):
    correlations = summarize_slices(night).correlations
    kinds = dict(night.queries.select("query", "group_kind").iter_rows())
    a, b = sorted(set(kinds.values()))[:2]
    vectors = {a: np.zeros(len(night.train)), b: np.zeros(len(night.train))}
    scored_rows = set()
    for query, train, effect in night.scores.select("query", "train", "removal_effect").iter_rows():
        scored_rows.add(train)
        if kinds[query] in vectors:
            vectors[kinds[query]][train] += effect
    rows = sorted(scored_rows)
    actual = correlations.filter((pl.col("a") == a) & (pl.col("b") == b))["correlation"].item()
    assert actual == pytest.approx(pearsonr(vectors[a][rows], vectors[b][rows])[0], abs=1e-6)


def test_a_source_is_tested_over_queries(night):
    query_ids = night.scores["query"].unique().to_list()
    for row in summarize_slices(night).ranking:
        source_rows = night.train.filter(pl.col("label") == row["source"])["train"].to_list()
        sums = [
            float(night.scores.filter((pl.col("query") == q) & pl.col("train").is_in(source_rows))
                  ["removal_effect"].cast(pl.Float64).sum())
            for q in query_ids
        ]  # fmt: skip
        assert row["mean"] == pytest.approx(np.mean(sums), rel=1e-6)
        assert row["p"] == pytest.approx(ttest_1samp(sums, 0.0).pvalue, rel=1e-5)
        assert row["q"] >= row["p"]


def test_cases_are_the_worst_queries_with_both_ends(night):
    worst = make_query_cases(night, find_duplicates(night, make_tfidf_space(night)))
    losses = [case.query["loss"] for case in worst]
    assert losses == sorted(night.queries["loss"].to_list(), reverse=True)[: len(losses)]
    for case in worst:
        effects = night.scores.filter(pl.col("query") == case.query["query"])["removal_effect"]
        assert [row["effect"] for row in case.harmful] == sorted(effects.filter(effects < 0))[:3]
        helpful = sorted(effects.filter(effects > 0), reverse=True)[:3]
        assert [row["effect"] for row in case.helpful] == helpful


def test_what_rows_have_in_common_is_told(world):
    """Where all harm comes from one rare source, the page says so."""
    rows = tiny.rows_of(world / "train.csv")
    night = audited(world)
    worst = set(night.harm.sort("harm", descending=True)["train"].head(12).to_list())
    rows = [row | {"source": "bad" if i in worst else "good"} for i, row in enumerate(rows)]
    tiny.write_rows(world / "train.csv", rows)
    train = {**tiny.SECTIONS["train"], "groups": ["source"]}
    night = audited(world, train=train, candidates={"kind": "full"})
    notes = [
        note
        for case in make_query_cases(night, find_duplicates(night, make_tfidf_space(night)))
        for note in case.shared_properties
    ]
    assert any("source bad (20% of all)" in note for note in notes)


def test_planted_duplicates_leaks_and_empty_texts_are_found(world):
    rows = tiny.rows_of(world / "train.csv")
    base = {**rows[0], "text": "the very fine film was not a dull plot but great fast and bright"}
    other = next(row["label"] for row in rows if row["label"] != base["label"])
    near = base["text"].replace("fast", "slow")
    rows += [
        base | {"id": "one"},
        base | {"id": "again", "text": base["text"].upper() + "!"},
        base | {"id": "conflict", "label": other},
        base | {"id": "near", "text": near},
        base | {"id": "empty", "text": "?!"},
    ]
    tiny.write_rows(world / "train.csv", rows)
    queries = tiny.rows_of(world / "queries.csv")
    queries += [queries[0] | {"id": "leak", "text": base["text"]}]
    tiny.write_rows(world / "queries.csv", queries)
    night = audited(world)
    space = make_tfidf_space(night)
    duplicates = find_duplicates(night, space)
    place = {name: i for i, name in enumerate(night.train["id"])}
    alike = {int(duplicates.cluster[place[name]]) for name in ("one", "again", "conflict", "near")}
    assert len(alike) == 1
    assert -1 not in alike
    assert duplicates.cluster[place["empty"]] == -1
    assert duplicates.exact >= 2
    assert duplicates.conflicting >= 1
    assert duplicates.groups[0][0]["label"] in tiny.LABELS
    assert "leak" in [row["id"] for row in duplicates.leaks if row["exact"]]
    assert assess_data_quality(night, space).empty == {"training rows": 1, "queries": 0}


def test_queries_that_fail_together_are_a_group(world):
    """Twenty queries with a word of their own and wrong labels, against twenty others."""
    queries = tiny.rows_of(world / "queries.csv")
    right = [
        {
            **queries[0],
            "id": f"r{i}",
            "text": f"the {tiny.GOOD[i % 5]} film was very fine",
            "label": "pos",
        }
        for i in range(40)
    ]
    wrong = [
        {
            **queries[0],
            "id": f"w{i}",
            "text": f"is a {tiny.GOOD[i % 5]} actor plot not",
            "label": "neg",
        }
        for i in range(20)
    ]
    tiny.write_rows(world / "queries.csv", right + wrong)
    night = audited(world)
    groups = assess_data_quality(night, make_tfidf_space(night)).groups
    assert sum(row["queries"] for row in groups) == 60
    worst = groups[0]
    assert "actor" in worst["name"]
    assert worst["accuracy"] < 0.5


def test_suspects_are_those_of_the_newest_search(searched):
    store = open_existing_store(load_study(searched / "study.toml"))
    night = read_run_data(store, store.find_latest().record.run, searched / "study.toml")
    section = read_flagged_labels(night)
    table = night.mislabels.table.sort("rank")
    assert [row["id"] for row in section.rows] == table["id"].to_list()
    for row in section.rows:
        assert all(0 < share <= 1 for _, share in row["bars"])
        effects = night.scores.filter(pl.col("train") == row["train"])["removal_effect"]
        assert [nats for _, nats in row["harms"]] == sorted(
            (-effects.filter(effects < 0)), reverse=True
        )[:3]
    html = render_page(build_page(night))
    assert html.count('<input type="checkbox"') == len(table)
    assert "canaries" in html


def test_the_page_says_by_what_wrong_labels_are_counted(searched):
    store = open_existing_store(load_study(searched / "study.toml"))
    own = store.find_latest().record.run

    def page():
        return render_page(build_page(read_run_data(store, own, searched / "study.toml")))

    before, out = page(), searched / "drawn.csv"
    assert "How many labels are wrong is not known" in before
    assert "are expected to be wrong" not in before
    study = searched / "study.toml"
    run("review", "export", "--study", study, "--out", out, "--random", 40)
    frame = pl.read_csv(out, infer_schema=False)
    other = dict(zip(tiny.LABELS, reversed(tiny.LABELS), strict=True))
    labels = [other[label] if i < 10 else label for i, label in enumerate(frame["label"])]
    frame.with_columns(right_label=pl.Series(labels)).write_csv(out)
    assert run("review", "import", out, "--study", study).exit_code == 0
    detect_mislabels.fn(str(study))
    after = page()
    assert "40 rows drawn at random, 10 of them wrong" in after
    assert "is not known" not in after
    assert "are probably wrong" in after


def test_what_another_procedure_did_not_see_is_not_new(audit, monkeypatch):
    now = DETECTOR_VERSION
    monkeypatch.setattr("tasks.mislabels.detection_plan.DETECTOR_VERSION", now - 1)
    detect_mislabels.fn(str(audit / "study.toml"))
    monkeypatch.setattr("tasks.mislabels.detection_plan.DETECTOR_VERSION", now)
    detect_mislabels.fn(str(audit / "study.toml"))
    store = open_existing_store(load_study(audit / "study.toml"))
    night = read_run_data(store, store.find_latest().record.run, audit / "study.toml")
    assert [search.facts["procedure"] for search in night.mislabel_results] == [now, now - 1]
    section = read_flagged_labels(night)
    assert not section.has_previous
    assert not any(row["new"] for row in section.rows)


def test_a_search_among_other_rows_is_not_shown(world):
    detect_mislabels.fn(str(world / "study.toml"))
    rows = tiny.rows_of(world / "train.csv")
    flipped = next(label for label in tiny.LABELS if label != rows[0]["label"])
    tiny.write_rows(world / "train.csv", [rows[0] | {"label": flipped}, *rows[1:]])
    assert audited(world).mislabels is None


def test_two_nights_are_compared(world):
    before = audited(world)
    queries = tiny.rows_of(world / "queries.csv")
    tiny.write_rows(world / "queries.csv", queries[:-2])
    night = audited(world)
    assert night.against == before.run
    html = render_page(build_page(night))
    assert f"on the {len(queries) - 2} asked in both runs" in html
    assert "What became harmful" in html or not len(night.difference.rows)
    assert "Slice by slice" in html
    assert night.difference.overall.queries == len(queries) - 2
    for part in night.difference.slices:
        assert f"<td>{part.value}</td>" in html
        assert 0 <= part.before <= 1
        assert 0 <= part.after <= 1


def test_hostile_texts_are_inert(world):
    for name in ("train.csv", "queries.csv"):
        rows = tiny.rows_of(world / name)
        for row, text in zip(rows, [*HOSTILE, "x" * 100_000], strict=False):
            row["text"] = text
            row["id"] = f"<b onclick=hit()>{row['id']}"
            row["kind"] = HOSTILE[0]  # in the pictures too
        tiny.write_rows(world / name, rows)
    night = audited(world)
    detect_mislabels.fn(str(world / "study.toml"))
    store = open_existing_store(load_study(world / "study.toml"))
    html = render_page(build_page(read_run_data(store, night.run, world / "study.toml")))
    elements = Elements(html).seen
    assert [tag for tag, _ in elements].count("script") == 1
    assert not [a for _, a in elements if any(name.startswith("on") for name in a)]
    assert not [tag for tag, _ in elements if tag == "img"]
    assert "x" * 2001 not in html
    for hidden in "\u202e\u2066\x00\x1b\u200b":
        assert hidden not in html
    assert "⟨U+202E⟩" in html
    assert HOSTILE[3] in html  # emoji stay whole
    assert "{{ 7 * 7 }}" in html


DIVERGING = {"kind": "lissa", "depth": 200, "scale": 1e-6, "batch": 4}


@pytest.mark.parametrize(
    ("queries", "changes"),
    [
        (1, {}),
        (17, {"solver": DIVERGING}),
        (17, {"candidates": {"kind": "full"}, "queries": {"groups": None}}),
        (17, {"candidates": {"kind": "knn", "k": 1}}),
    ],
    ids=["one query", "no query answered", "no groups", "one candidate"],
)
def test_a_night_with_little_in_it_has_a_page_too(world, queries, changes):
    tiny.write_rows(world / "queries.csv", tiny.rows_of(world / "queries.csv")[:queries])
    night = audited(world, **changes)
    page = build_page(night)
    assert len(page.cases) == queries
    assert len(page.headline) == 3
    if changes.get("solver"):
        assert not len(night.scores)
        assert "queries without an answer" in page.headline[2]
    assert "</html>" in render_page(page)


@pytest.mark.parametrize("name", ["../other", "a/b", "..", ""])
def test_a_run_of_a_name_that_leaves_the_store_is_refused(audit, name):
    done = run("report", name or "/", "--study", audit / "study.toml")
    assert done.exit_code == 2
    assert not list(audit.parent.rglob("*.html"))


def test_a_text_is_cut_between_characters_and_never_lost():
    assert shorten_text("ab", 2) == "ab"
    assert shorten_text("a\nb\tc") == "a\nb\tc"
    assert shorten_text(None) == "None"


def test_the_page_says_when_it_should_not_be_believed(world):
    night = audited(world, curvature={"damping": 1e6}, candidates={"kind": "knn", "k": 2})
    checks = {check.name: check for check in check_reliability(night)}
    assert checks["gradient product"].passed is False
    assert "Read with care" in build_page(night).headline[2]


def test_baselines_are_rank_correlations(night):
    by_name = {
        baseline.name: baseline for baseline in compare_baselines(night, make_tfidf_space(night))
    }
    harm = dict.fromkeys(night.train["train"].to_list(), 0.0)
    for train, effect in night.scores.select("train", "removal_effect").iter_rows():
        harm[train] -= min(0.0, effect)
    loss = night.train["loss"].to_list()
    expected = spearmanr(loss, list(harm.values())).statistic
    assert by_name["loss"].correlation == pytest.approx(expected, abs=1e-6)
    for baseline in by_name.values():
        assert 0 <= baseline.overlap <= 1


def test_a_run_that_is_not_there_or_not_finished_is_refused(audit):
    done = run("report", "nothing", "--study", audit / "study.toml")
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    store = open_existing_store(load_study(audit / "study.toml"))
    name = store.find_latest().record.run
    store.withdraw(name, ["finish"])
    with pytest.raises(StoreError, match="finished run"):
        read_run_data(store, name, audit / "study.toml")


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".ndjson"])
def test_an_exported_table_is_that_of_the_store(finished, tmp_path, ending):
    to = tmp_path / f"scores{ending}"
    done = run("export", "scores", "--study", finished / "study.toml", "--out", to)
    assert done.exit_code == 0, done.output
    read = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".ndjson": pl.read_ndjson}[ending]
    frame = read(to)
    store = open_existing_store(load_study(finished / "study.toml"))
    scores = store.scan("scores", store.find_latest().record.run).collect()
    assert frame["removal_effect"].to_list() == pytest.approx(scores["removal_effect"].to_list())
    assert {"query_id", "train_id", "query_label", "train_label"} <= set(frame.columns)
    again = run("export", "scores", "--study", finished / "study.toml", "--out", to)
    assert again.exit_code == 2
    assert "a new file" in again.output


def test_mislabels_are_exported_for_label_studio(searched, tmp_path):
    to = tmp_path / "tasks.json"
    done = run("export", "mislabels", "--study", searched / "study.toml", "--out", to)
    assert done.exit_code == 0, done.output
    tasks = json.loads(to.read_text())
    table = read_latest_result(open_existing_store(load_study(searched / "study.toml"))).table
    # A suggestion is ticked where it is likelier than the given label, and nowhere else.
    likely = pl.col("probability") * pl.col("confidence") > 1 - pl.col("probability")
    ticked = set(table.filter(likely)["id"])
    assert {task["data"]["id"] for task in tasks if "predictions" in task} == ticked
    assert all({"data"} <= set(task) <= {"data", "predictions"} for task in tasks)
    assert len(tasks) == len(table)


@pytest.mark.parametrize(("table", "name"), [("nothing", "a.csv"), ("scores", "a.xlsx")])
def test_what_cannot_be_exported_is_refused(finished, tmp_path, table, name):
    done = run("export", table, "--study", finished / "study.toml", "--out", tmp_path / name)
    assert done.exit_code == 2
    assert not (tmp_path / name).exists()


def test_a_spreadsheet_takes_no_exported_text_for_a_formula(world, tmp_path):
    rows = tiny.rows_of(world / "train.csv")
    rows[0]["text"] = '=cmd|"/c calc"!A1'
    tiny.write_rows(world / "train.csv", rows)
    audited(world)
    done = run("export", "train", "--study", world / "study.toml", "--out", tmp_path / "train.csv")
    assert done.exit_code == 0, done.output
    assert pl.read_csv(tmp_path / "train.csv")["text"][0].startswith("'=")
    detect_mislabels.fn(str(world / "study.toml"))
    run("review", "export", "--study", world / "study.toml", "--out", tmp_path / "review.csv")
    texts = pl.read_csv(tmp_path / "review.csv")["text"].to_list()
    assert not [text for text in texts if text.startswith("=")]


@pytest.mark.flow
def test_the_flow_leaves_links_and_figures_but_no_texts(audit, prefect):
    from prefect.client.orchestration import get_client

    from flows.report import report

    path = report(str(audit / "study.toml"))
    with get_client(sync_client=True) as client:
        artifacts = {a.key: a for a in client.read_artifacts()}
    assert artifacts["data-quality-page"].type == "markdown"
    assert path.endswith(".html")
    assert path in str(artifacts["data-quality-page"].data)
    texts = {row["text"] for row in tiny.rows_of(audit / "train.csv")}
    for key in ("data-quality", "data-quality-trust"):
        assert not [text for text in texts if text in str(artifacts[key].data)]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_selection_is_exported_alone(searched, tmp_path, ending):
    """As a report's: a file whose column id names the rows; no run is needed for mislabels."""
    names = sorted(row["id"] for row in tiny.rows_of(searched / "train.csv")[:2])
    ids = pl.DataFrame({"id": names, "right_label": [None, "pos"]})
    only = tmp_path / f"selection.{ending}"
    (ids.write_csv if ending == "csv" else ids.write_parquet)(only)
    common = ["--study", searched / "study.toml", "--only", only]
    done = run("export", "mislabels", *common, "--out", tmp_path / "some.parquet")
    assert done.exit_code == 0, done.output
    assert sorted(pl.read_parquet(tmp_path / "some.parquet")["id"]) == names
    done = run("export", "mislabels", *common, "--out", tmp_path / "some.json")
    assert len(json.loads((tmp_path / "some.json").read_text())) == 2


def test_what_a_selection_names_no_longer_is_told(searched, tmp_path):
    """An id that is gone, and one that names a row of another text since."""
    rows = tiny.rows_of(searched / "train.csv")
    only, to = tmp_path / "selection.csv", tmp_path / "some.parquet"
    chosen = {"id": [rows[0]["id"], rows[1]["id"], "gone"], "text": [rows[0]["text"], "other", "a"]}
    pl.DataFrame(chosen).write_csv(only)
    done = run(
        "export", "mislabels", "--study", searched / "study.toml", "--only", only, "--out", to
    )
    assert pl.read_parquet(to)["id"].to_list() == [rows[0]["id"]]
    assert '1 ids of the selection are not in the table: "gone"' in done.output
    assert f'rows of another text now, which are left out: "{rows[1]["id"]}"' in done.output


@pytest.mark.parametrize("content", [None, "id\nnobody\n", "name\nnobody\n"])
def test_a_selection_that_names_no_row_is_refused(searched, tmp_path, content):
    only = tmp_path / "selection.csv"
    if content is not None:
        only.write_text(content)
    to = tmp_path / "some.parquet"
    done = run(
        "export", "mislabels", "--study", searched / "study.toml", "--only", only, "--out", to
    )
    assert done.exit_code == 2
    assert "--only" in done.output
    assert not to.exists()
