"""The address of the service, and the process from its start to SIGTERM."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from typer.testing import CliRunner

from fastif import InputError
from flows.cli import app as cli
from flows.service.server import Address, find_newer_run

VARIABLE = "FASTIF_TEST_TOKEN"


def test_other_machines_need_a_token(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Address().read_token() == Address("::1").read_token() == ""
    with pytest.raises(InputError, match="other machines reach"):
        Address("0.0.0.0").read_token()
    with pytest.raises(InputError, match=f"0 characters in {VARIABLE}"):
        Address(token_env=VARIABLE).read_token()
    monkeypatch.setenv(VARIABLE, "short-secret")
    with pytest.raises(InputError) as caught:
        Address(token_env=VARIABLE).read_token()
    assert "short-secret" not in str(caught.value)
    monkeypatch.setenv(VARIABLE, "0123456789abcdef")
    assert Address("0.0.0.0", token_env=VARIABLE).read_token() == "0123456789abcdef"


def test_an_address_in_use_or_of_another_machine_is_refused():
    taken = socket.create_server(("127.0.0.1", 0))
    for address in (Address(port=taken.getsockname()[1]), Address("192.0.2.1"), Address("no host")):
        with pytest.raises(InputError, match="a free address"):
            address.bind()
    taken.close()


def test_a_study_without_sketches_is_refused_by_the_command(finished):
    done = CliRunner().invoke(cli.app, ["serve", str(finished / "study.toml"), "--port", "0"])
    assert done.exit_code == 2
    assert 'Set kind = "sketch" and run' in " ".join(done.output.split())


def test_the_served_run_is_the_newest(engine):
    assert find_newer_run(engine) is None


@pytest.mark.long
def test_a_process_answers_and_ends_at_sigterm_after_its_requests(sketched, request):
    """The whole command: no text in its output, no request lost by the signal."""
    command = [sys.executable, "-m", "flows.cli", "serve", "study.toml", "--port", "0"]
    environment = os.environ | {VARIABLE: "0123456789abcdef", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--token-env", VARIABLE, "--threads", "1"],
        cwd=sketched,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    request.addfinalizer(process.kill)
    lines = []
    while not (match := re.search(r"http://[\d.:]+/explain", lines[-1] if lines else "")):
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    answers = []

    def ask():
        body = json.dumps({"texts": ["a private film"] * 16}).encode()
        headers = {"Content-Type": "application/json", "Authorization": "Bearer 0123456789abcdef"}
        query = urllib.request.Request(match.group(), body, headers)
        with urllib.request.urlopen(query, timeout=60) as answer:
            answers.append(json.load(answer))

    ask()
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert [len(answer["answers"]) for answer in answers] == [16] * 7
    output = "".join(lines) + rest
    assert "Memory: about" in output
    assert output.endswith("Stopped.\n")
    assert "private" not in output
