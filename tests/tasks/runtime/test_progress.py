"""Long work is never silent, its counts are those of the work, and a pipe gets plain lines."""

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from tasks.runtime import progress, progress_board
from tasks.runtime.progress_board import ProgressBoard
from tasks.runtime.progress_state import Stage
from tasks.runtime.stage_timer import time_stage

ROOT = Path(__file__).parents[3]
OVERLAPPING = """
import threading, time
from tasks.runtime import progress_board
from tasks.runtime.progress_board import BOARD
from tasks.runtime.progress_state import Stage
progress_board.LOG_SECONDS = 0.2

def work(name, units, count):
    with BOARD.open(Stage(name, count, units)) as stage:
        for _ in range(count):
            time.sleep(0.15)
            BOARD.advance(stage, 1)

with BOARD.open(Stage("whole", 1, "shards")) as whole:
    stages = (("left", "rows", 4), ("right", "steps", 5))
    threads = [threading.Thread(target=work, args=stage) for stage in stages]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    BOARD.advance(whole, 1)
"""


@pytest.fixture
def board(monkeypatch):
    monkeypatch.setattr(progress_board, "LOG_SECONDS", 0.05)
    monkeypatch.delenv("FASTIF_PROGRESS", raising=False)
    return ProgressBoard()


def test_a_step_longer_than_the_interval_is_reported_while_it_lasts(board, capfd):
    with board.open(Stage("solve", 5, "rows")) as stage:
        time.sleep(0.3)  # no unit is finished
        silent = capfd.readouterr().err.splitlines()
        board.advance(stage, 2)
        time.sleep(0.2)
    assert len(silent) >= 3
    assert all(re.fullmatch(r"solve: 0 of 5 rows after \d\.\d s", line) for line in silent)
    after = capfd.readouterr().err
    assert re.search(r"solve: 2 of 5 rows \(40 %\), \d+\.\d rows/s, \d\.\d s left", after)


def test_work_without_a_stage_is_reported_with_its_step(board, capfd):
    with board.open(Stage("fastif audit", None, "", is_background=True)), time_stage("index"):
        time.sleep(0.2)
    assert re.search(r"^fastif audit: at work for 0\.\d s \(index\)$", capfd.readouterr().err, re.M)


def test_a_part_is_shown_with_its_whole(board, capfd):
    with (
        board.open(Stage("queries", 300, "queries")) as queries,
        board.open(Stage("scores", None, "rows", is_part=True)) as part,
    ):
        board.advance(queries, 100)
        board.advance(part, 7)
        time.sleep(0.2)
    lines = capfd.readouterr().err.splitlines()
    assert re.match(r"queries: 100 of 300 queries \(33 %\), .* left; scores: 7 rows, ", lines[0])
    assert lines[-1].startswith("queries: 100 queries in ")


def test_a_part_does_not_repeat_the_time_of_its_whole(board, capfd):
    with (
        board.open(Stage("queries", 300, "queries")),
        board.open(Stage("scores", None, "rows", is_part=True)) as part,
    ):
        board.advance(part, 7)
        time.sleep(0.2)
    line = capfd.readouterr().err.splitlines()[-2]
    assert re.fullmatch(
        r"queries: 0 of 300 queries after 0\.\d s; scores: 7 rows, [\d,.]+ rows/s", line
    )


def read_seconds_left(stage: Stage, now: float) -> int | None:
    """Seconds left in the text of a stage; None if it names none."""
    match = re.search(r"(?:(\d+) min ?)?(?:(\d+)(?:\.\d)? s)? left$", stage.describe(now))
    return match and 60 * int(match[1] or 0) + int(match[2] or 0)


def test_the_time_left_falls_with_the_clock_while_a_shard_runs():
    stage = Stage("queries", 500, "queries", start=0.0, changed=0.0)
    stage.advance(256, 160.0)
    truth = 244 * 160 / 256
    for now in (160, 190, 220, 250, 280, 310):
        assert read_seconds_left(stage, now) == pytest.approx(truth - (now - 160), abs=1)
        assert "1.6 queries/s" in stage.describe(now)
    assert read_seconds_left(stage, 330) is None, "a time is left of a shard that is late"
    stage.advance(244, 330.0)
    assert stage.describe(330).startswith("queries: 500 of 500 queries (100 %), 1.5 queries/s")


def test_the_time_left_counts_the_running_shards_of_all_workers():
    stage = Stage("queries", 40, "queries", start=0.0, changed=0.0)
    for worker in range(4):
        stage.advance(1, 100.0 + 0.01 * worker)
    assert [read_seconds_left(stage, now) for now in (101, 150, 200)] == [
        pytest.approx(seconds, abs=1) for seconds in (899, 850, 800)
    ]
    # Of the shards that are late, no more than what a step took is thought to be done.
    assert read_seconds_left(stage, 400) == pytest.approx((40 - 8) * 400 / 8, abs=2)


def test_nothing_is_reported_after_the_last_stage(board, capfd):
    with board.open(Stage("solve", 1, "rows")):
        pass
    capfd.readouterr()
    time.sleep(0.15)
    assert capfd.readouterr().err == ""


def test_a_failed_stage_ends_the_reports(board, capfd):
    with pytest.raises(ValueError, match="bad"), board.open(Stage("solve", 1, "rows")):
        raise ValueError("bad")
    time.sleep(0.15)
    assert capfd.readouterr().err == ""


def test_no_progress_where_it_is_switched_off(board, capfd, monkeypatch):
    monkeypatch.setenv("FASTIF_PROGRESS", "off")
    with board.open(Stage("solve", 1, "rows")):
        time.sleep(0.15)
    assert capfd.readouterr().err == ""


def start_overlapping(stderr, **environment):
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen([sys.executable, "-c", OVERLAPPING], env=env, stderr=stderr)


def test_a_pipe_gets_lines_without_control_characters():
    process = start_overlapping(subprocess.PIPE, FORCE_COLOR="1", TERM="xterm-256color")
    _, written = process.communicate(timeout=60)
    text = written.decode()
    assert process.returncode == 0
    assert all(char.isprintable() or char == "\n" for char in text), text
    lines = text.splitlines()
    assert [line for line in lines if " in " in line][-1].startswith("whole: 1 shards in ")
    assert any(re.match(r"left: 4 rows in ", line) for line in lines)
    assert any(re.match(r"(left|right): \d of [45] ", line) for line in lines)


def read_terminal(**environment) -> str:
    """Everything that overlapping stages write to a terminal."""
    main, side = pty.openpty()
    process = start_overlapping(side, TERM="xterm-256color", COLUMNS="100", **environment)
    os.close(side)
    written = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        written += piece
    assert process.wait(60) == 0
    os.close(main)
    return written.decode()


def test_bars_of_stages_end_full_and_one_below_the_other():
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", read_terminal())
    last = re.split(r"[\r\n]+", text.strip())[-3:]
    assert [line.split()[0] for line in last] == ["whole", "left", "right"] or [
        line.split()[1] for line in last
    ] == ["whole", "left", "right"], last
    for line, counts in zip(last, ("1 shards", "4 rows", "5 steps"), strict=True):
        assert counts in line
        assert "━" * 12 in line, "a bar ended short"


def test_a_terminal_that_cannot_move_its_cursor_gets_lines():
    assert "\x1b" not in read_terminal(FASTIF_PROGRESS="lines")


class Recorder(ProgressBoard):
    """Board that keeps what its finished stages counted."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[Stage] = []

    def _finish(self, stage: Stage) -> None:
        self.ends.append(stage)
        super()._finish(stage)


TRIAL_ROWS = 1
"""Number of rows that a factorization reads beforehand, to see whether the model accepts them."""


@pytest.mark.long
@pytest.mark.parametrize("solver", ["dual", "spectral"])
def test_stages_of_an_audit_count_as_many_units_as_they_announce(world, monkeypatch, solver):
    recorder = Recorder()
    monkeypatch.setattr(progress, "BOARD", recorder)
    tiny.run_directly(tiny.write_study(world, solver={"kind": solver}, candidates=tiny.WITH_RECALL))
    names = [stage.name for stage in recorder.ends]
    assert "training rows: predictions" in names
    assert "curvature: factorization" in names
    assert "recall: full scan of a few queries" in names
    assert recorder.ends[names.index("curvature: factorization")].unit == "row reads"
    parts = [stage for stage in recorder.ends if stage.is_part]
    assert len(parts) == 4, "not one part a shard"
    assert all(stage.counted >= tiny.TRAIN for stage in parts)
    for stage in recorder.ends:
        assert stage.unit
        if stage.is_part:
            continue
        assert stage.total, f"{stage.name} announces no total"
        assert stage.total <= stage.counted <= stage.total + 5 * TRIAL_ROWS, stage
