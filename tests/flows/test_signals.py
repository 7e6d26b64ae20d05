"""Signals to real processes: answered at once in one line, also while native code runs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

ROOT = Path(__file__).parents[2]
BUSY = """
import subprocess, sys
from flows.signals import answer_signals

with answer_signals(["audit", "my study.toml"]):
    import numpy
    from storage.atomic import temp_path

    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    children = [
        subprocess.Popen(["sleep", "60"]),
        subprocess.Popen([sys.executable, "-c", stubborn]),
    ]
    half = temp_path(__import__("pathlib").Path("table.csv").absolute())
    half.write_text("half")
    matrix = numpy.random.default_rng(0).normal(size=(1500, 1500))
    print(*(child.pid for child in children), flush=True)
    while True:
        numpy.linalg.eigh(matrix @ matrix.T)
"""
"""Process with children, one of which ignores SIGTERM, a temporary file, and long native calls."""
GRACEFUL = """
import threading, time
from flows.signals import answer_signals, intercept_first_signal

with answer_signals(["audit", "study.toml"]):
    asked = threading.Event()

    def stop(number):
        print("asked to stop by", number, flush=True)
        asked.set()

    with intercept_first_signal(stop):
        print("ready", flush=True)
        while not asked.wait(0.01):
            pass
        time.sleep({rest})
    raise SystemExit(7)
"""
ANSWER_SECONDS = 5.0
"""Limit that also holds on a machine with many other processes; an idle one takes 0.1 s."""


def start(code: str, folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "X"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_native_code_is_answered_at_once(tmp_path, number):
    process = start(BUSY, tmp_path)
    children = [int(pid) for pid in process.stdout.readline().split()]
    assert len(children) == 2
    time.sleep(0.3)  # within an eigendecomposition
    begun = time.monotonic()
    process.send_signal(number)
    line = process.stderr.readline()
    assert time.monotonic() - begun < ANSWER_SECONDS
    assert line == (
        f"Stopped by {number.name}. Committed shards and finished preparations are kept; continue "
        "with: fastif audit 'my study.toml'\n"
    )
    assert process.wait(30) == 128 + number
    assert process.stderr.read() == ""
    assert not any(map(is_running, children)), "a child is left, or is defunct"
    assert list(tmp_path.iterdir()) == [], "a half-written file is left"


def test_between_shards_the_first_signal_asks_and_the_second_ends(tmp_path):
    process = start(GRACEFUL.format(rest=60), tmp_path)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == f"asked to stop by {int(signal.SIGINT)}\n"
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline().startswith("Stopped by SIGTERM.")
    assert process.wait(30) == 128 + signal.SIGTERM


def test_a_signal_that_is_sent_twice_at_once_is_one_request(tmp_path):
    process = start(GRACEFUL.format(rest=1), tmp_path)
    process.stdout.readline()
    for _ in range(2):  # as `timeout` does: to the process, and to its group
        process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    assert process.wait(30) == 7, "it was not left to finish"


def test_notices_are_sent_before_the_end_but_never_delay_it(tmp_path):
    code = """
import pathlib, threading, time
from flows.signals import answer_signals, call_when_stopped

def fail(line):
    raise ValueError

def send(line):
    pathlib.Path("notice").write_text(line)

with answer_signals(["audit"]):
    with call_when_stopped(lambda line: pathlib.Path("over").touch()):
        pass
    with call_when_stopped(fail), call_when_stopped(lambda line: time.sleep(60)):
        with call_when_stopped(send):
            print("ready", flush=True)
            threading.Event().wait()
"""
    process = start(code, tmp_path)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    _, line = process.communicate(timeout=30)
    assert time.monotonic() - begun < ANSWER_SECONDS
    assert line.startswith("Stopped by SIGTERM. Committed shards")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"notice": line.strip()}


def test_a_forked_child_does_not_answer_for_its_parent(tmp_path):
    code = """
import os, signal, time
from flows.signals import answer_signals
with answer_signals(["report"]):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"x")
        time.sleep(60)
    os.read(reader, 1)
    os.kill(child, signal.SIGTERM)
    print(os.waitpid(child, 0)[1], flush=True)
"""
    process = start(code, tmp_path)
    written, errors = process.communicate(timeout=60)
    assert (process.returncode, written.strip(), errors) == (0, f"{int(signal.SIGTERM)}", "")


@pytest.fixture
def no_server(tmp_path) -> dict[str, str]:
    """Environment without a Prefect server, so that a command starts a temporary one."""
    home = {"PREFECT_HOME": str(tmp_path / "prefect"), "COLUMNS": "250"}
    inherited = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return {**inherited, **home, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def start_audit(study: Path, environment: dict[str, str]) -> subprocess.Popen:
    """Start an audit in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "audit", study],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def list_children(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "--ppid", f"{pid}", "-o", "pid="], capture_output=True)
    return [int(number) for number in listing.stdout.split()]


@pytest.mark.long
def test_ctrl_c_on_a_terminal_leaves_the_temporary_server_to_the_running_shards(world, no_server):
    study = tiny.write_study(world, run={"shard_size": 1, "batch_size": 30})
    process = start_audit(study, no_server)
    while len(list((world / "store" / "runs").glob("*/manifest/0*.json"))) < 2:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    children = list_children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    written, _ = process.communicate(timeout=120)
    assert process.returncode == 130, written
    assert "SIGINT: stopping after the running shards" in written
    assert "of 17 shards are committed and can be read" in written
    assert "Traceback" not in written
    assert children, "no server was started"
    assert not any(map(is_running, children))


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_shard_ends_the_temporary_server(world, no_server, number):
    process = start_audit(tiny.write_study(world), no_server)
    lines = iter(process.stdout.readline, "")
    assert any("Starting Prefect" in line for line in lines)
    children = list_children(process.pid)
    process.send_signal(number)
    assert any(line.startswith(f"Stopped by {number.name}.") for line in lines)
    assert process.wait(30) == 128 + number
    assert len(children) == 1
    assert not any(map(is_running, children))
