"""The list of runs, names of runs in other commands, and the command that each suggests next."""

import os
import subprocess
import sys

import handmade_runs
import pytest
import tiny
from command_line import run

from flows.cli.common import out
from flows.cli.next_step import name_new_file
from storage import RunRecord

LONG = f"by-hand-{'long-' * 16}1"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory: a study, and a store with two finished runs."""
    tiny.write_study(tmp_path, top={"name": handmade_runs.STUDY})
    rows = [handmade_runs.Row("-4", "a text"), handmade_runs.Row("row 2", "another")]
    for name in ("by-hand-1", LONG):
        handmade_runs.write_run(handmade_runs.open_store(tmp_path), name, rows, rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("width", [20, 80])
def test_names_of_runs_are_never_cut(folder, monkeypatch, width):
    monkeypatch.setattr(out, "_width", width)
    lines = run("runs")[1].splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [LONG, "by-hand-1"]
    assert {line.split()[1] for line in lines[1:3]} == {"finished"}
    assert lines[3] == "Next: fastif diff previous latest"


def test_states_and_their_next_commands(folder):
    store = handmade_runs.open_store(folder)
    created = "2027-01-01T00:00:00+00:00"
    store.open_run(RunRecord("by-hand-3", "by-hand", "f" * 64, created, {}, 2, 2, 1))
    text = run("runs")[1]
    assert "by-hand-3" in text
    assert text.splitlines()[1].split()[1:3] == ["unfinished", "0/2"]
    assert "Next: fastif audit --run by-hand-3\n" in text
    for path in (folder / "store" / "runs" / "by-hand-1").rglob("00000.json"):
        path.unlink()
    (line,) = [line for line in run("runs")[1].splitlines() if line.startswith("by-hand-1 ")]
    assert line.split()[1] == "damaged"


def test_damaged_runs_are_repaired_and_computed_by_the_suggested_commands(folder):
    next((folder / "store" / "runs" / "by-hand-1").rglob("00000.json")).unlink()
    suggested = []
    for words in (["runs"], ["verify", "--run", "by-hand-1"], ["verify", "--repair"], ["verify"]):
        suggested.append(run(*words)[1].splitlines()[-1].removeprefix("Next: fastif "))
    unfinished = "audit --run by-hand-1"
    assert suggested == ["verify", "verify --run by-hand-1 --repair", unfinished, unfinished]
    assert run("runs")[1].splitlines()[-1] == "Next: fastif report", "no two runs to compare"


def test_damage_that_cannot_be_repaired_suggests_no_repair(folder):
    next((folder / "store" / "runs" / "by-hand-1").rglob("run.json")).write_text("{")
    expected = "Next: restore the files from a backup, then: fastif verify"
    for words in (["verify"], ["verify", "--repair"]):
        assert run(*words)[1].splitlines()[-1] == expected


def test_a_study_without_an_audit_has_detection_as_its_next_command(tmp_path, monkeypatch):
    (tmp_path / "study.toml").write_text(
        'name = "by-hand"\nlabels = ["a", "b"]\n[train]\ntable = "t.csv"\ntext = "text"\n'
        'label = "label"\n[store]\npath = "store"\n'
    )
    monkeypatch.chdir(tmp_path)
    handmade_runs.open_store(tmp_path)
    assert run("runs")[1].splitlines()[-1] == "Next: fastif mislabels"


@pytest.mark.parametrize(
    ("words", "step"),
    [
        (["gc"], "runs"),
        (["gc", "--dry-run"], "runs"),
        (["export", "scores", "--out", "scores.csv", "--run", "by-hand-1"], "report by-hand-1"),
    ],
)
def test_commands_of_the_store_suggest_one_that_works(folder, words, step):
    code, text, _ = run(*words)
    assert code == 0
    assert text.splitlines()[-1] == f"Next: fastif {step}"
    assert run(*step.split())[0] == 0


def test_a_doctor_with_faults_suggests_itself(folder):
    code, text, _ = run("doctor")
    assert code == 2, "the study has no model"
    assert text.splitlines()[-1] == "Next: repair what failed, then: fastif doctor"


def test_a_suggested_new_file_is_new(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = []
    for _ in range(3):
        names.append(name_new_file("review.csv"))
        (tmp_path / names[-1]).touch()
    assert names == ["review.csv", "review-2.csv", "review-3.csv"]


def test_an_id_that_begins_with_a_dash_is_suggested_so_that_it_can_be_pasted(folder):
    code, text, _ = run("top", "row 2", "-k", "1")
    assert code == 0
    assert text.splitlines()[-1] in ("Next: fastif show -- -4", "Next: fastif show 'row 2'")
    text = run("show", "--", "row 2")[1]
    assert text.splitlines()[-1] in ("Next: fastif top -- -4", "Next: fastif top 'row 2'")
    assert run("top", "--", "-4")[0] == 0


def test_short_names_are_taken_by_every_command_that_takes_a_run(folder):
    assert run("top", "row 2", "--run", "latest")[0] == 0
    assert run("top", "row 2", "--run", "by-hand-l")[0] == 0
    assert "by-hand-1 →" in run("diff", "previous", "latest")[1].replace("\n", " ")
    assert run("verify", "--run", "previous")[0] == 0
    assert run("export", "queries", "--out", "q.csv", "--run", "previous")[0] == 0
    code, _, message = run("top", "row 2", "--run", "by")
    assert code == 2
    assert "by-hand-1" in message


def test_gc_says_why_nothing_is_removed(folder):
    text = " ".join(run("gc")[1].split())
    assert "Runs are deleted only on request, by --keep-runs or --older-than." in text
    text = " ".join(run("gc", "--keep-runs", "2", "--dry-run")[1].split())
    assert "Runs: 2, and the newest finished run is never deleted; --keep-runs 2 keeps" in text
    text = run("gc", "--keep-runs", "1", "--dry-run")[1]
    assert text.splitlines()[-1] == "Next: fastif gc --keep-runs 1"
    options = ("--keep-runs", "1", "--older-than", "0.1234567", "--compact")
    text = run("gc", *options, "--dry-run")[1]
    assert text.splitlines()[-1] == f"Next: fastif gc {' '.join(options)}"


def test_the_study_of_this_folder_is_named_if_it_has_another_name(folder):
    (folder / "study.toml").rename(folder / "support.toml")
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert "name the only study there, support.toml, after the command" in run("runs")[2]
    tiny.write_study(folder, "second.toml", top={"name": "second"})
    message = run("runs")[2]
    assert "second.toml" in message
    assert "support.toml" in message


def test_a_shell_completes_names_of_runs(folder):
    """Through the completion script's own protocol, in a new process."""
    words = "fastif top x --run by"
    done = subprocess.run(
        [sys.executable, "-c", "from flows.cli.app import app; app(prog_name='fastif')"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "_FASTIF_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": "4",
        },
        capture_output=True,
        text=True,
    )
    assert sorted(done.stdout.split()) == sorted([LONG, "by-hand-1"]), done.stderr
