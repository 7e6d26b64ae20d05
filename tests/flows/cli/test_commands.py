"""Output, forecasts and files of the commands."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from command_line import contents, run, run_refused
from spoilt_inputs import broken_weights

from storage import Store
from tasks.study.study import load_study
from tasks.terminal.audit import EXPLAINED

COMMANDS = ("init", "train", "audit", "runs", "top", "show", "doctor")


@pytest.mark.parametrize("dry", [False, True], ids=["audit", "dry-run"])
def test_a_runs_name_is_not_taken_twice(finished, tmp_path, dry):
    folder = tiny.copy(finished, tmp_path / "again")
    run_name = load_latest(folder)
    path = tiny.write_study(folder, curvature={"damping": 0.5})
    options = ["--run", run_name, *(["--dry-run"] if dry else [])]
    message = run_refused(folder, "audit", path, *options)
    for fragment in (run_name, "curvature.damping: 0.01 -> 0.5", "another name"):
        assert fragment in message


def load_latest(folder: Path) -> str:
    status = Store.open(folder / "store", "tiny", create=False).find_latest()
    assert status is not None
    return status.record.run


@pytest.mark.parametrize("command", ["runs", "top query-0", "show train-0"])
def test_reading_commands_before_any_audit_are_refused(world, command):
    first, *others = command.split()
    message = run_refused(world, first, *others, "--study", world / "study.toml")
    assert "Run `fastif audit` or `fastif mislabels` first" in message


def test_unknown_ids_and_runs_are_refused(finished):
    option = ("--study", finished / "study.toml")
    assert "query-10" in run_refused(finished, "top", "query-100", *option), "near ids are named"
    assert "Did you mean" in run_refused(finished, "show", "trian-12", *option)
    message = run_refused(finished, "top", "query-1", "--run", "nightly", *option)
    assert "nightly" in message
    assert load_latest(finished) in message
    code, _, message = run("top", "query-1", "-k", "0", *option)
    assert code == 2
    assert "-k" in message


def test_help_describes_each_command():
    code, out, _ = run("--help")
    assert code == 0
    assert "which training examples helped or" in " ".join(out.split())
    for command in COMMANDS:
        assert command in out
        code, own, _ = run(command, "--help")
        assert code == 0
        assert "study" in own


def test_init_writes_a_file_that_loads_once_it_is_filled_in(world, monkeypatch):
    monkeypatch.chdir(world)
    code, out, _ = run("init", "mine.toml")
    assert code == 0
    assert "mine.toml" in out
    message = run_refused(world, "init", "mine.toml")
    assert "exists" in message
    text = (world / "mine.toml").read_text()
    for old, new in (
        ('["negative", "positive"]', json.dumps(tiny.LABELS)),
        ('"out/model"', '"model"'),
        ("max_length = 128", "max_length = 10"),
        ("keep = 100", "keep = 3"),
    ):
        assert old in text
        text = text.replace(old, new)
    (world / "mine.toml").write_text(text)
    assert load_study(world / "mine.toml").candidates.kind == "full"
    code, out, message = run("audit", "mine.toml", "--dry-run")
    assert (code, message) == (0, "")
    assert "102" in out, "17 queries with 3 rows kept at each end"


def test_a_dry_run_forecasts_and_writes_nothing(world):
    before = contents(world)
    code, out, _ = run("audit", world / "study.toml", "--dry-run")
    assert code == 0
    assert contents(world) == before
    for fragment in ("4 of 4 (0 committed)", "204", "peak memory", "Nothing was written"):
        assert fragment in out
    for line in ("shards to compute", "queries to attribute", "time", "written"):
        assert re.search(rf"{line} .*\d", out)


def test_a_dry_run_after_the_audit_has_nothing_to_compute(finished):
    before = contents(finished)
    code, out, _ = run("audit", finished / "study.toml", "--dry-run")
    assert code == 0
    assert contents(finished) == before
    assert "0 of 4 (4 committed)" in out


def test_a_finished_audit_is_shown_without_computation(finished):
    """The summary comes from the store: no Prefect, no model, no change."""
    before = contents(finished)
    code, out, message = run("audit", finished / "study.toml")
    assert (code, message) == (0, "")
    assert contents(finished) == before
    queries = Store.open(finished / "store", "tiny").scan("queries", load_latest(finished))
    worst = queries.sort("loss", descending=True).head(5).collect()
    panels = [out.index(f"query {name} ─") for name in worst["id"][:EXPLAINED]]
    others = out.index("next highest losses", panels[-1])
    places = [*panels, *(out.index(f" {name} ", others) for name in worst["id"][EXPLAINED:])]
    assert places == sorted(places)
    right = queries.collect()["correct"].mean()
    assert f"{right:.1%} of 17 queries" in out
    cut = [
        sum(len(re.findall(r"\w+|[^\w\s]", row["text"])) + 2 > tiny.MAX_LENGTH for row in rows)
        for rows in (tiny.rows_of(finished / f"{name}.csv") for name in ("queries", "train"))
    ]
    facts = Store.open(finished / "store", "tiny").scan("runs", load_latest(finished)).collect()
    counted = facts.select("truncated_queries", "truncated_train").row(0)
    assert min(counted) > 0
    assert list(counted) == cut, "every text of more than eight words or signs"
    assert f"{counted[0]} queries, {counted[1]} training rows" in out
    assert "[bold]odd[/bold]" in out, "the name of a slice is text, not markup"
    assert "fastif top" in out
    assert str(finished / "store") in out


def test_runs_top_and_show(finished):
    option = ("--study", finished / "study.toml")
    code, out, _ = run("runs", *option)
    assert code == 0
    line = next(line for line in out.splitlines() if load_latest(finished) in line)
    for fragment in ("finished", "4/4", "17", "60"):
        assert fragment in line
    code, out, _ = run("top", "query-5", *option, "-k", "2")
    assert code == 0
    store, name = Store.open(finished / "store", "tiny"), load_latest(finished)
    scores = tiny.scores_by_id(store, name)
    of_query = scores.filter(query_id="query-5").sort("removal_effect")
    ends = [of_query.row(i, named=True) for i in (0, 1, -1, -2)]
    assert [e["removal_effect"] < 0 for e in ends] == [True, True, False, False]
    places = [out.index(f"{e['removal_effect']:+.4f}") for e in ends]
    assert places == sorted(places)
    for end in ends:
        assert re.search(rf"{end['removal_effect']:+.4f}".replace("+", r"\+"), out)
        assert end["train_id"] in out
    assert out.count("train-") + out.count("[/]train") + out.count("]train") >= 4
    best = scores.filter(train_id=ends[0]["train_id"])
    best = best.sort(best["removal_effect"].abs(), descending=True)
    code, out, _ = run("show", ends[0]["train_id"], *option, "-k", "3")
    assert code == 0
    shown = [out.index(query) for query in best["query_id"].head(3)]
    assert shown == sorted(shown)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("top", "[red]query[/]-3"),
        ("top", "[/]query-4"),
        ("show", "[red]train[/]-3"),
        ("show", "[/]train-4"),
    ],
)
def test_ids_and_texts_that_look_like_markup_are_printed_as_they_are(finished, command, name):
    code, out, _ = run(command, name, "--study", finished / "study.toml")
    assert code == 0
    assert name in out
    if name.endswith("-3"):
        assert "the [/] plot [bold] was fine" in out


def test_doctor_examines_machine_and_study(world):
    code, out, _ = run("doctor")
    assert code == 0
    for name in ("versions", "faiss", "threads", "device"):
        assert name in out
    before = contents(world)
    code, out, _ = run("doctor", "--study", world / "study.toml")
    assert code == 0
    assert contents(world) == before
    for name in (
        "depend on the batch",
        "deterministic",
        "gradient",
        "double backward",
        "frozen prefix",
    ):
        assert f"ok   {name}" in out or re.search(rf"ok .*{name}", out)
    assert "60 training rows" in out
    broken_weights(world)
    code, out, _ = run("doctor", "--study", world / "study.toml")
    assert code == 2
    assert "fail" in out
    assert "dense.bias" in out


@pytest.mark.long
def test_the_installed_command_refuses_without_a_traceback(world):
    """Runs the installed entry point in a new process."""
    (world / "train.csv").unlink()
    before = contents(world)
    done = subprocess.run(
        [Path(sys.executable).with_name("fastif"), "audit", world / "study.toml"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Refused. ")
    assert "Traceback" not in done.stderr
    assert contents(world) == before
