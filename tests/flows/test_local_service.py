"""`fastif up` and `down`, once for real: servers, a worker, the deployments, a run of two."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.resources import files

import httpx
import pytest
import tiny

from flows.local_service import (
    Service,
    ServiceProcess,
    _read_proc_start_time,
    _read_start_time,
    service_folder,
)

pytestmark = [pytest.mark.flow, pytest.mark.long]


@pytest.fixture
def home(tmp_path):
    return {
        "FASTIF_HOME": str(tmp_path / "service"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "OMP_NUM_THREADS": "1",
    }


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def fastif(home, *words, check=True):
    command = [sys.executable, "-m", "flows.cli", *map(str, words)]
    env = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | home
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=280)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.timeout(900)
def test_up_starts_the_service_and_down_stops_it(world, home):
    study, port = tiny.write_study(world), free_port()
    url = f"http://127.0.0.1:{port}/api"
    try:
        output = fastif(home, "up", "--study", study, "--port", port).stdout
        assert "on the loopback interface only" in output
        assert "Worker is running" in output
        service = Service(service_folder_of(home), url)
        there = service.read_processes()
        assert set(there) == {"server", "worker", "pages"}
        again = fastif(home, "up", "--study", study, "--port", port).stdout
        assert "is running" in again
        assert service.read_processes() == there, "what is there is not started twice"
        open_ports = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True).stdout
        assert f"127.0.0.1:{port}" in open_ports or not open_ports
        assert f"0.0.0.0:{port}" not in open_ports
        deployments = httpx.post(f"{url}/deployments/filter", json={}).json()
        nightly = next(
            deployment
            for deployment in deployments
            if deployment["name"] == "nightly-influence-audit"
        )
        assert nightly["parameters"]["study"] == str(study)
        assert nightly["schedules"][0]["schedule"]["timezone"]
        schema = nightly["parameter_openapi_schema"]["properties"]
        assert {"study", "run", "engine", "within_minutes"} <= set(schema)
        names = [
            heartbeat["name"]
            for heartbeat in httpx.post(f"{url}/automations/filter", json={}).json()
        ]
        assert names == ["fastif: killed runs are crashed"]
        run = httpx.post(f"{url}/deployments/{nightly['id']}/create_flow_run", json={}).json()
        state = await_end(url, run["id"])
        assert state["type"] == "COMPLETED", state
        named = httpx.get(f"{url}/flow_runs/{run['id']}").json()["name"]
        assert named.startswith("influence-audit world ")
        store = world / "store"
        assert list(store.glob("runs/*/manifest/finish.json"))
        by_name = {deployment["name"]: deployment["id"] for deployment in deployments}
        report = f"{url}/deployments/{by_name['data-quality-report']}/create_flow_run"
        assert await_end(url, httpx.post(report, json={}).json()["id"])["type"] == "COMPLETED"
        wanted = {"artifacts": {"key": {"any_": ["data-quality-page"]}}}
        (artifact,) = httpx.post(f"{url}/artifacts/filter", json=wanted).json()
        (link,) = re.findall(r"\((http://127\.0\.0\.1:\d+/[^)]+)\)", artifact["data"])
        (page,) = (world / "reports").glob("*.html")
        assert httpx.get(link).content == page.read_bytes(), "the link in Prefect leads to the page"
    finally:
        stopped = fastif(home, "down").stdout
    assert "pages, worker, server" in stopped
    with pytest.raises(httpx.HTTPError):
        httpx.get(link, timeout=2)
    assert stopped.endswith("Next: fastif up\n")
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{url}/health", timeout=2)
    assert "Nothing is running" in fastif(home, "down").stdout


def service_folder_of(home):
    os.environ["FASTIF_HOME"] = home["FASTIF_HOME"]
    return service_folder()


def check_health(home, port):
    command = [sys.executable, "-m", "flows.service_health", "--port", str(port)]
    env = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | home
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout


@pytest.mark.timeout(600)
def test_a_service_in_the_foreground_is_healthy_until_its_worker_ends(world, home):
    study, port = tiny.write_study(world), free_port()
    changed = service_folder_of(home) / "prefect.yaml"
    changed.parent.mkdir()
    changed.write_text(packaged_deployments().replace("0 2 * * *", "30 3 * * *"))
    code, output = check_health(home, port)
    assert code == 1
    assert "No worker" in output
    assert "No Prefect server responds" in output
    command = [sys.executable, "-m", "flows.foreground_service", str(study), "--port", str(port)]
    env = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"} | home
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 240
        while (health := check_health(home, port))[0] and time.monotonic() < deadline:
            assert process.poll() is None, process.stdout.read()
            time.sleep(1)
        assert health[0] == 0, health
        url = f"http://127.0.0.1:{port}/api"
        deployments = httpx.post(f"{url}/deployments/filter", json={}).json()
        crons = {s["schedule"]["cron"] for d in deployments for s in d["schedules"]}
        assert "30 3 * * *" in crons, "the file in the service's folder is applied"
        there = Service(service_folder_of(home), url).read_processes()
        os.killpg(there["worker"].pid, signal.SIGKILL)
        assert process.wait(240) == 1, "also if it ended before the start was done"
        assert "The worker ended. See " in process.stdout.read().decode()
        assert not any(running.is_alive for running in there.values()), "the server is stopped too"
    finally:
        process.terminate()
        process.wait(60)


def packaged_deployments() -> str:
    return files("flows").joinpath("prefect.yaml").read_text("utf-8")


def test_a_start_time_is_read_without_the_program_ps(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    began = _read_start_time(process.pid)
    assert began == _read_proc_start_time(process.pid)
    assert began.split()[1] == "ticks"
    assert began != _read_start_time(1)
    process.kill()
    deadline = time.monotonic() + 10
    while _read_start_time(process.pid) and time.monotonic() < deadline:  # a zombie, not waited for
        time.sleep(0.01)
    assert _read_start_time(process.pid) == ""
    process.wait()
    assert _read_start_time(process.pid) == ""


def await_end(url: str, run: str) -> dict:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        state = httpx.get(f"{url}/flow_runs/{run}").json()["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return state
        time.sleep(0.5)
    return state


def test_a_port_of_another_server_is_refused(world, home, prefect):
    port = prefect["PREFECT_API_URL"].split(":")[2].split("/")[0]
    done = fastif(home, "up", "--study", world / "study.toml", "--port", port, check=False)
    assert done.returncode == 2
    assert "another server" in done.stderr
    assert not (service_folder_of(home) / "service.json").exists()


def test_another_process_with_the_same_id_is_not_killed(tmp_path):
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        other = ServiceProcess(process.pid, "Mon Jan 1 00:00:00 2001")
        assert not other.is_alive
        other.stop()
        assert process.poll() is None
        record = ServiceProcess(process.pid, _read_start_time(process.pid))
        assert record.is_alive
        file = tmp_path / "service.json"
        file.write_text(json.dumps({"server": {"pid": record.pid, "began": record.began}}))
        assert Service(tmp_path, "").stop() == ["server"]
        assert process.wait(10) == -signal.SIGTERM
        assert not file.exists()
    finally:
        process.kill()
