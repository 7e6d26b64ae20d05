"""Formats of `fastif report` as typed, and the browser that opens its page."""

import json
import os
import subprocess
import sys
from pathlib import Path

import handmade_runs
import pytest
from command_line import run, run_refused

OPEN = "import sys; from pathlib import Path; from flows.cli.report import _open_page; "
OPEN += "_open_page(Path(sys.argv[1]))"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory: a study and a store with one run."""
    (tmp_path / "study.toml").write_text(
        f'name = "{handmade_runs.STUDY}"\nlabels = ["a", "b"]\n[train]\ntable = "t.csv"\n'
        'text = "text"\nlabel = "label"\n[store]\npath = "store"\n'
    )
    rows = handmade_runs.rows("q", 20, ["x"], "kind")
    handmade_runs.write_run(handmade_runs.open_store(tmp_path), "one", rows, rows[:12])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_format_is_that_of_the_option_or_of_the_suffix(folder):
    code, text, _ = run("report", "--format", "json")
    assert code == 0
    path = folder / "reports" / "one.json"
    assert f"Report: {path}" in text
    record = json.loads(path.read_text())
    assert record["compared_with"] is None, "there is no other run"
    assert record["counts"]["leaked_queries"] == 12
    assert run("report", "--out", "x.md")[0] == 0
    assert (folder / "x.md").read_text().startswith("# Data quality, run one\n")
    assert "ends in .json" in run_refused(folder, "report", "--format", "json", "--out", "x.md")
    assert "--open" in run_refused(folder, "report", "--open", "--out", "y.json")


def open_in(folder, page, **environment):
    """What is printed by the opening of a page in a new process with this environment."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(page)],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": str(folder), **environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_is_opened_by_the_browser_of_the_user(tmp_path):
    """A browser that writes down the address it is given."""
    browser, page = tmp_path / "browser", tmp_path / "a page.html"
    browser.write_text(f"#!{Path('/bin/sh')}\necho \"$1\" > '{tmp_path}/address'\n")
    browser.chmod(0o755)
    assert open_in(tmp_path, page, BROWSER=f"{browser} %s") == ""
    assert (tmp_path / "address").read_text().strip() == page.as_uri()


def test_a_machine_without_a_browser_says_so(tmp_path):
    assert "No browser was found" in open_in(tmp_path, tmp_path / "page.html")


def test_the_last_runs_are_one_page(folder):
    code, text, _ = run("report", "--last", "5")
    assert code == 0
    assert f"Report: {folder / 'reports' / 'history.html'}" in text
    for words in (["one"], ["--fail-on", "fail"], ["--format", "md"]):
        assert words[-1] in run_refused(folder, "report", "--last", "5", *words)
