"""A real Label Studio server: our tasks go in, people annotate and skip, every export comes back.

The command `label-studio` (1.23) has to be on the path, or named by FASTIF_LABEL_STUDIO.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import tiny
from typer.testing import CliRunner

from flows.cli.app import app
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.detect import detect_mislabels
from tasks.mislabels.label_studio import make_label_config
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

COMMAND = os.environ.get("FASTIF_LABEL_STUDIO") or shutil.which("label-studio")
MAIL, OTHER, PASSWORD = "someone@example.org", "other@example.org", "a-long-password"
STARTED = 600
"""Timeout in seconds of the first start, which creates the database."""
READ = {"JSON": "json", "JSON_MIN": "json", "CSV": "csv", "TSV": "csv"}


class Server:
    """A server with one user logged in."""

    def __init__(self, address: str, mail: str = MAIL, page: str = "/user/login/") -> None:
        self.client = httpx.Client(base_url=address, timeout=120, follow_redirects=True)
        self.client.get(page)
        form = {"email": mail, "password": PASSWORD, "csrfmiddlewaretoken": self._token}
        self.client.post(page, data=form, headers={"Referer": address})
        self.address = address

    @property
    def _token(self) -> str:
        return self.client.cookies["csrftoken"]

    def call(self, method: str, path: str, **keys) -> httpx.Response:
        headers = {"X-CSRFToken": self._token, "Referer": self.address}
        answer = self.client.request(method, path, headers=headers, **keys)
        assert answer.is_success, answer.text[:500]
        return answer

    def project(self, tasks: list[dict]) -> tuple[int, list[dict]]:
        body = {"title": "fastif", "label_config": make_label_config(tuple(tiny.LABELS))}
        number = self.call("POST", "/api/projects", json=body).json()["id"]
        self.call("POST", f"/api/projects/{number}/import", json=tasks)
        response = self.call("GET", f"/api/tasks?project={number}&page_size=100&fields=all").json()
        return number, response["tasks"]

    def annotate(self, task: dict, choices: list[str] | None, **keys) -> None:
        result = [] if choices is None else [
            {"from_name": "right_label", "to_name": "text", "type": "choices",
             "value": {"choices": choices}}]  # fmt: skip
        body = {"result": result, **keys}
        self.call("POST", f"/api/tasks/{task['id']}/annotations/", json=body)

    def export(self, project: int, shape: str, path: Path) -> Path:
        address = f"/api/projects/{project}/export?exportType={shape}&download_all_tasks=true"
        path.write_bytes(self.call("GET", address).content)
        return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if COMMAND is None:
        pytest.skip("no command label-studio: install Label Studio, or set FASTIF_LABEL_STUDIO")
    folder = tmp_path_factory.mktemp("label-studio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [COMMAND, "start", "--no-browser", "--port", str(port), "--data-dir", str(folder)]
    command += ["--username", MAIL, "--password", PASSWORD]
    quiet = {"COLLECT_ANALYTICS": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""}
    log = (folder / "log.txt").open("wb")
    child = subprocess.Popen(command, env=os.environ | quiet, stdout=log, stderr=log)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + STARTED
    try:
        while True:
            assert child.poll() is None, (folder / "log.txt").read_text()[-2000:]
            assert time.monotonic() < deadline, "it does not answer"
            try:
                if httpx.get(f"{address}/api/version", timeout=10).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(1)
        yield Server(address)
    finally:
        child.terminate()
        child.wait(30)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def study(world) -> Path:
    path = tiny.write_study(world, mislabels={"encoder": "base", "budget": 20})
    detect_mislabels.fn(str(path))
    return path


def exported_tasks(study: Path, path: Path, *options) -> list[dict]:
    assert run("review", "export", "--study", study, "--out", path, *options).exit_code == 0
    return json.loads(path.read_text())


def test_every_export_of_a_real_server_is_read_or_refused_by_name(server, study, tmp_path):
    tasks = exported_tasks(study, tmp_path / "tasks.json", "--random", 12)
    assert not any("predictions" in task for task in tasks)
    project, made = server.project(tasks)
    names = {task["id"]: task["data"]["id"] for task in made}
    assert sorted(names.values()) == sorted(task["data"]["id"] for task in tasks)
    assert all(task["total_predictions"] == 0 for task in made)  # nothing opens with a tick
    other = dict(zip(tiny.LABELS, reversed(tiny.LABELS), strict=True))
    given = {task["id"]: task["data"]["label"] for task in made}
    for task in made[:6]:
        server.annotate(task, [given[task["id"]]])
    server.annotate(made[6], [other[given[made[6]["id"]]]])
    server.annotate(made[6], [given[made[6]["id"]]])  # again by the same person: the newest
    server.annotate(made[7], ["none"])
    server.annotate(made[8], [other[given[made[8]["id"]]]], was_cancelled=True)  # skipped
    server.annotate(made[9], list(tiny.LABELS))  # two choices
    server.annotate(made[10], None)  # submitted without a choice
    right = {names[task["id"]]: given[task["id"]] for task in made[:7]}
    right[names[made[7]["id"]]] = None
    shapes = [shape["name"] for shape in server.call(
        "GET", f"/api/projects/{project}/export/formats").json()]  # fmt: skip
    assert set(READ) < set(shapes)
    for shape in shapes:
        copy = Path(shutil.copytree(study.parent, tmp_path / shape)) / "study.toml"
        answer = server.client.get(
            f"/api/projects/{project}/export?exportType={shape}&download_all_tasks=true"
        )
        ending = answer.headers.get("content-disposition", "x.zip").rsplit(".", 1)[-1].strip('"')
        path = tmp_path / f"{shape}.{ending}"
        path.write_bytes(answer.content)
        done = run("review", "import", path, "--study", copy)
        words = " ".join(done.output.split())
        if shape not in READ:
            assert done.exit_code == 2, (shape, words)
            assert "remedy:" in words
            continue
        assert done.exit_code == 0, (shape, words)
        assert ending == READ[shape]
        assert words.count("Not imported:") == 2
        verdicts = read_annotations(open_existing_store(load_study(copy)))
        table = {row["id"]: row for row in tiny.rows_of(copy.parent / "train.csv")}
        texts = {table[name]["text"]: label for name, label in right.items()}
        assert sorted(map(str, verdicts.agreed.values())) == sorted(map(str, texts.values()))
        assert len(verdicts.audited) == len(verdicts.agreed) == len(texts)
        wrong = [row for row in verdicts.agreed if verdicts.agreed[row] != verdicts.labels[row]]
        assert len(wrong) == 1  # that which no label fits


def test_two_people_disagree_in_every_shape(server, study, tmp_path):
    tasks = exported_tasks(study, tmp_path / "tasks.json", "--budget", 3)
    project, made = server.project(tasks)
    second = Server(server.address, OTHER, "/user/signup/")
    for task in made:
        server.annotate(task, ["neg"])
        second.annotate(task, ["pos" if task is made[0] else "neg"])
    for shape, ending in READ.items():
        path = server.export(project, shape, tmp_path / f"two.{shape}.{ending}")
        copy = Path(shutil.copytree(study.parent, tmp_path / shape)) / "study.toml"
        done = run("review", "import", path, "--study", copy)
        assert done.exit_code == 0, done.output
        verdicts = read_annotations(open_existing_store(load_study(copy)))
        (labels,) = verdicts.conflicts.values()
        assert sorted(labels.values()) == ["neg", "pos"]
        assert set(verdicts.agreed.values()) == {"neg"}
        assert made[0]["data"]["id"] in run("review", "conflicts", "--study", copy).output
