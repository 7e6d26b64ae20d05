"""Alerts arrive at a webhook, for exceeded limits only."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import tiny

from tasks.results.alerts import (
    Breach,
    find_breaches,
    find_comparable_run,
    send_alert,
)
from tasks.results.webhook import find_webhook_problem
from tasks.study.errors import StudyError
from tasks.study.night_sections import Notify
from tasks.study.study import load_study
from tasks.terminal.doctor import run_checks


@pytest.fixture
def webhook(monkeypatch):
    """A local server: received payloads, and the number of initial responses with status 500."""
    messages, faults = [], [0]

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if faults[0]:
                faults[0] -= 1
                self.send_response(500)
            else:
                messages.append(json.loads(body))
                self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/secret-path")
    yield messages, faults
    server.shutdown()


def test_an_alert_arrives_after_two_failures_and_not_without_an_address(webhook):
    messages, faults = webhook
    faults[0] = 2
    assert send_alert(
        Notify(webhook_env="HOOK"), "nli", "run-1", "done", [Breach("residual_above", 1, 2)]
    )
    breach = {"what": "residual_above", "limit": 1, "found": 2}
    assert messages == [{"study": "nli", "run": "run-1", "text": "done", "breaches": [breach]}]
    assert not send_alert(Notify(), "nli", "run-1", "done")
    assert not send_alert(Notify(webhook_env="NO_SUCH"), "nli", "run-1", "done")


def test_a_webhook_that_fails_is_a_warning_without_its_address(webhook, caplog):
    _, faults = webhook
    faults[0] = 99
    assert not send_alert(Notify(webhook_env="HOOK"), "nli", "run-1", "done")
    assert "could not be reached" in caplog.text
    assert "secret-path" not in caplog.text


@pytest.mark.parametrize("address", [None, "", "no address", "ftp://host/x", "http://", "//host"])
def test_an_invalid_address_is_reported_and_not_quoted(address, monkeypatch, caplog):
    monkeypatch.delenv("HOOK", raising=False)
    if address is not None:
        monkeypatch.setenv("HOOK", address)
    assert "HOOK" in find_webhook_problem(Notify(webhook_env="HOOK"))
    assert not send_alert(Notify(webhook_env="HOOK"), "nli", "run-1", "failed")
    assert "No alert was sent for nli" in caplog.text
    assert address is None or len(address) < 8 or address not in caplog.text


def test_an_address_instead_of_a_variable_is_refused_without_being_quoted(world):
    study = tiny.write_study(world, notify={"webhook_env": "https://hooks.test/secret-path"})
    with pytest.raises(StudyError) as refused:
        load_study(study)
    assert "[notify] webhook_env" in str(refused.value)
    assert "secret-path" not in str(refused.value)


def test_the_doctor_reports_a_missing_webhook(world, monkeypatch):
    study = tiny.write_study(world, notify={"webhook_env": "NO_SUCH"})
    (check,) = [check for check in run_checks(study) if check.name == "webhook"]
    assert not check.passed
    assert "NO_SUCH" in check.detail
    monkeypatch.setenv("NO_SUCH", "https://hooks.test/x")
    (check,) = [check for check in run_checks(study) if check.name == "webhook"]
    assert check.passed


@pytest.fixture
def two_runs(world):
    """Two runs; in between a training row was relabelled and another model trained."""
    study = tiny.write_study(world, candidates={"kind": "full"})
    store, first = tiny.run_directly(study)
    rows = tiny.rows_of(world / "train.csv")
    rows[5]["label"] = "neg" if rows[5]["label"] == "pos" else "pos"
    tiny.write_rows(world / "train.csv", rows)
    _, second = tiny.run_directly(study)
    return store, first, second


def test_exceeded_limits_are_reported(two_runs):
    store, first, second = two_runs
    tight = Notify(residual_above=1e-12, harmful_above=0.01, new_suspects_above=0, recall_below=1)
    found_breaches = {breach.what: breach for breach in find_breaches(store, second, tight)}
    assert set(found_breaches) == {"residual_above", "harmful_above"} | (
        {"new_suspects_above"} if "new_suspects_above" in found_breaches else set()
    )
    scores = store.scan("scores", second).collect()
    sums = {}
    for train, effect in scores.select("train", "removal_effect").rows():
        sums[train] = sums.get(train, 0.0) + effect
    share = sum(value < 0 for value in sums.values()) / len(sums)
    assert found_breaches["harmful_above"].found == pytest.approx(share)
    loose = Notify(residual_above=1, harmful_above=1, new_suspects_above=100)
    assert list(find_breaches(store, second, loose)) == []
    assert list(find_breaches(store, second, Notify())) == []
    assert find_comparable_run(store, second) == first
    assert find_comparable_run(store, first) is None
