"""A report as the command and the flow write it."""

import polars as pl
import pytest
import tiny
from command_line import invoke as run

from storage import StoreError
from tasks.mislabels.detect import detect_mislabels
from tasks.report.page import build_page, render_page
from tasks.report.run_data import read_run_data
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


def test_the_command_writes_a_page_of_every_section(audit):
    done = run("report", "--study", audit / "study.toml", "--price", "2")
    assert done.exit_code == 0, done.output
    (page,) = (audit / "reports").iterdir()
    html = page.read_text()
    for section in ("now", "evidence", "suspects", "slices", "map", "quality", "trust", "cost"):
        assert f'id="{section}"' in html
    assert "at 2.00 an hour" in html
    assert html.count("<svg") >= 2  # effects by source and slice, seconds by stage
    assert "<canvas" in html
    assert len(html) < 5_000_000
    assert f"{page}" in done.output.replace("\n", "")


def test_limits_decide_the_exit_code(finished, tmp_path):
    """No accuracy is above 1; an accuracy of 0.001 or more passes."""
    study = tmp_path / "limits.toml"
    page = tmp_path / "page.html"
    text = (finished / "study.toml").read_text()

    def report(limits, *options):
        study.write_text(f"{text}\n[report]\n{limits}\n")
        moved = finished / "limits.toml"
        moved.write_text(study.read_text())
        done = run("report", "--study", moved, "--out", page, *options)
        moved.unlink()
        return done

    failing = report("accuracy_below = 1.0", "--fail-on", "fail")
    assert failing.exit_code == 5, failing.output
    assert "FAIL: accuracy" in failing.output
    assert page.is_file(), "the page is written before the exit code is decided"
    assert report("accuracy_below = 1.0").exit_code == 0
    assert report("accuracy_below = 0.001", "--fail-on", "warn").exit_code == 0
    uncounted = "wrong_labels_above = 0.5"
    assert report(uncounted, "--fail-on", "warn").exit_code == 5
    assert report(uncounted, "--fail-on", "fail").exit_code == 0
    refused = report("", "--fail-on", "fail")
    assert refused.exit_code == 2
    assert "limits in the section [report]" in " ".join(refused.output.split())


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


@pytest.mark.long
def test_the_page_describes_the_sample_behind_the_estimate(searched):
    store = open_existing_store(load_study(searched / "study.toml"))
    own = store.find_latest().record.run

    def page():
        return render_page(build_page(read_run_data(store, own, searched / "study.toml")))

    before, out = page(), searched / "drawn.csv"
    assert "How many labels are wrong is unknown: no random sample was annotated." in before
    assert "are expected to be wrong" not in before
    study = searched / "study.toml"
    printed = " ".join(run("report", study).output.split())
    assert "Next: fastif review export " in printed, "the search has been made"
    run("review", "export", "--study", study, "--out", out, "--random", 40)
    frame = pl.read_csv(out, infer_schema=False)
    other = dict(zip(tiny.LABELS, reversed(tiny.LABELS), strict=True))
    labels = [other[label] if i < 10 else label for i, label in enumerate(frame["label"])]
    frame.with_columns(right_label=pl.Series(labels)).write_csv(out)
    assert run("review", "import", out, "--study", study).exit_code == 0
    detect_mislabels.fn(str(study))
    after = page()
    assert "by 40 annotated rows of a random sample)" in after
    assert "is unknown" not in after
    assert "Suspicious labels" in after


@pytest.mark.parametrize("name", ["../other", "a/b", "..", ""])
def test_a_run_name_that_leaves_the_store_is_refused(audit, name):
    done = run("report", name or "/", "--study", audit / "study.toml")
    assert done.exit_code == 2
    assert not list(audit.parent.rglob("*.html"))


def test_a_missing_or_unfinished_run_is_refused(audit):
    done = run("report", "nothing", "--study", audit / "study.toml")
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    store = open_existing_store(load_study(audit / "study.toml"))
    name = store.find_latest().record.run
    store.withdraw(name, ["finish"])
    with pytest.raises(StoreError, match="finished run"):
        read_run_data(store, name, audit / "study.toml")


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
