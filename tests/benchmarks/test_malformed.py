"""The malformed inputs of the benchmark: what is wrong with an answer, and all of them at once."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.malformed.__main__ import try_cases
from benchmarks.malformed.case import Case, leave
from benchmarks.malformed.cases import CASES
from benchmarks.malformed.folders import make_folders
from benchmarks.malformed.worker import contents, differences, judge

CASE = Case("tables", "an example", ("audit",), leave, ("train.csv", "row 3|row three"), ("hub",))
RIGHT = "Refused. train.csv: expected a label; got nothing in row 3. Fill it."


def test_every_input_is_tried_once():
    keys = [case.key for case in CASES]
    assert len(keys) == len(set(keys)) >= 60


def test_a_right_answer_has_no_faults():
    assert judge(CASE, 2, RIGHT, []) == []
    assert judge(CASE, 2, RIGHT.replace("row 3", "ROW\n  three"), []) == []


@pytest.mark.parametrize(
    ("code", "text", "changed", "fault"),
    [
        (0, RIGHT, [], "exit code 0 instead of 2"),
        (2, RIGHT + "\nTraceback (most recent call last):", [], "a traceback"),
        (2, RIGHT + "\nA bug in fastif, not in your study: KeyError", [], "a traceback"),
        (2, RIGHT + "\x1b[2J", [], "control characters U+001B"),
        (2, RIGHT.replace("row 3", "a row"), [], "does not say 'row 3 or row three'"),
        (2, RIGHT + " Download it from the hub.", [], "says 'hub'"),
        (2, RIGHT, ["study.toml"], "changes study.toml"),
    ],
)
def test_a_wrong_answer_has_its_fault(code, text, changed, fault):
    assert judge(CASE, code, text, changed) == [fault]


def test_changed_new_and_removed_files_are_noticed(tmp_path):
    for name in ("kept", "changed", "removed"):
        (tmp_path / name).write_text(name)
    before = contents(tmp_path)
    (tmp_path / "changed").write_text("other")
    (tmp_path / "removed").unlink()
    (tmp_path / "new").mkdir()
    assert differences(before, contents(tmp_path)) == {"changed", "removed", "new"}


@pytest.mark.long
def test_every_input_is_answered_as_it_should_be(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make_folders(tmp_path / "folders")
    faults = {}
    for unprivileged in (False, True):
        cases = [case for case in CASES if case.unprivileged == unprivileged]
        if not unprivileged or os.geteuid() == 0:
            answers = dict(try_cases(cases, tmp_path / "folders", tmp_path))
            faults |= {key: answer["faults"] for key, answer in answers.items()}
    assert {key: phrases for key, phrases in faults.items() if phrases} == {}


@pytest.mark.long
def test_a_worker_answers_line_by_line(tmp_path):
    """The parent knows from the lines which command ended the process."""
    make_folders(tmp_path / "folders", audit=False)
    key = "studies: a label twice"
    lines = tmp_path / "lines.jsonl"
    words = [sys.executable, "-m", "benchmarks.malformed.worker", tmp_path / "folders", lines, key]
    subprocess.run(words, check=True, capture_output=True)
    started, answer = map(json.loads, lines.read_text().splitlines())
    assert started == {"key": key}
    assert (answer["key"], answer["code"], answer["faults"]) == (key, 2, [])
