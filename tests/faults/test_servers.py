"""Prefect with a password and PostgreSQL, and Dask over TLS."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from audits import Server, assert_whole, await_until, free_port, read_log, run_audit, start_audit

PASSWORD = "night:a-long-password"
INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]


def flow_runs(server: Server, **headers: str) -> list[dict]:
    request = urllib.request.Request(
        f"{server.url}/flow_runs/filter",
        data=b"{}",
        headers={"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_a_server_with_a_password_refuses_others(study, expected, tmp_path):
    server = Server(tmp_path, free_port(), PREFECT_SERVER_API_AUTH_STRING=PASSWORD)
    server.start()
    try:
        assert start_audit(study, server.environment).wait(240) != 0
        assert "401" in read_log(study)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            flow_runs(server)
        known = {**server.environment, "PREFECT_API_AUTH_STRING": PASSWORD}
        run_audit(study, known)
        assert_whole(study, expected)
        assert PASSWORD not in read_log(study)
    finally:
        server.kill()


def find_postgres() -> Path:
    """The folder of the PostgreSQL programs, installed if possible."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(INSTALL, capture_output=True, timeout=240)
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs or os.geteuid() != 0:
        pytest.skip("PostgreSQL is not installed, and cannot be by this user")
    return programs[-1].parent


@pytest.mark.timeout(900)
def test_prefect_on_postgresql(study, expected, tmp_path):
    programs, data, port = find_postgres(), Path("/var/tmp") / f"fastif-{os.getpid()}", free_port()

    def run_as_postgres(*words: object) -> None:
        command = ["runuser", "-u", "postgres", "--", *map(str, words)]
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    data.mkdir()
    shutil.chown(data, "postgres")
    try:
        run_as_postgres(programs / "initdb", "-D", data, "-A", "trust")
        options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1"
        run_as_postgres(
            programs / "pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start"
        )
        run_as_postgres(programs / "createdb", "-h", "127.0.0.1", "-p", port, "prefect")
        url = f"postgresql+asyncpg://postgres@127.0.0.1:{port}/prefect"
        server = Server(tmp_path, free_port(), PREFECT_API_DATABASE_CONNECTION_URL=url)
        server.start()
        try:
            run_audit(study, server.environment)
            assert_whole(study, expected)
            (run,) = flow_runs(server)
            assert run["state_type"] == "COMPLETED"
            assert not list(tmp_path.glob("*.db")), "the database was SQLite"
        finally:
            server.kill()
    finally:
        subprocess.run(
            ["runuser", "-u", "postgres", "--", programs / "pg_ctl", "-D", data, "stop"],
            capture_output=True,
            cwd="/",
        )
        shutil.rmtree(data, ignore_errors=True)


def test_a_cluster_over_tls_refuses_clients_without_a_certificate(
    server, study, expected, tmp_path
):
    distributed = pytest.importorskip("distributed", reason="the extra dask")
    pytest.importorskip("cryptography", reason="to make certificates")
    made = distributed.Security.temporary().get_tls_config_for_role("client")
    files = {}
    for name, text in (("ca", made["ca_file"]), ("cert", made["cert"]), ("key", made["key"])):
        files[name] = tmp_path / f"{name}.pem"
        files[name].write_text(text)
        files[name].chmod(0o600)
    tls = ["--tls-ca-file", files["ca"], "--tls-cert", files["cert"], "--tls-key", files["key"]]
    address_file = tmp_path / "scheduler.json"
    common = [*map(str, tls), "--host", "127.0.0.1", "--no-dashboard"]
    module = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--protocol", "tls"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [*module, "--port", "0", "--scheduler-file", str(address_file), *common], **quiet
    )
    processes = [scheduler]
    try:
        await_until(address_file.exists, "no scheduler")
        address = json.loads(address_file.read_text())["address"]
        assert address.startswith("tls://")
        module = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
        processes.append(
            subprocess.Popen(
                [*module, "--resources", "CPU=1", *common],
                env={**os.environ, **server.environment, "OMP_NUM_THREADS": "1"},
                **quiet,
            )
        )
        plain = start_audit(study, server.environment, "--engine", address.replace("tls:", "tcp:"))
        assert plain.wait(240) == 2, read_log(study)
        assert "a Dask scheduler that responds" in read_log(study)
        prefix = "DASK_DISTRIBUTED__COMM__TLS__"
        keys = {
            f"{prefix}CA_FILE": str(files["ca"]),
            f"{prefix}CLIENT__CERT": str(files["cert"]),
            f"{prefix}CLIENT__KEY": str(files["key"]),
        }
        run_audit(study, {**server.environment, **keys}, "--engine", address)
        assert_whole(study, expected)
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()
