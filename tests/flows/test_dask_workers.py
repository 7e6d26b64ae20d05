"""Dask workers started in another folder, and an audit without any worker left."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import pytest
import tiny
from test_engines import assert_same, audited, scheduler_of

from fastif import InputError
from flows import presence
from flows.executor_config import RemoteDaskConfig
from flows.presence import WorkerPresence

distributed = pytest.importorskip("distributed", reason="the extra dask")
pytest.importorskip("prefect_dask", reason="the extra dask")

ROOT = Path(__file__).parents[2]
PACKAGES = ("fastif", "flows", "storage", "tasks")

HOOK = f"""
import sys
from importlib.machinery import PathFinder
from importlib.util import spec_from_file_location

class Hook:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in {PACKAGES}:
            return spec_from_file_location(name, f"{ROOT}/{{name}}/__init__.py")

sys.meta_path.insert(1 + sys.meta_path.index(PathFinder), Hook)
"""
"""Import hook that setuptools installs for a checkout, consulted after the path."""


def install_package(folder: Path) -> dict[str, str]:
    """Environment of a process with the package installed by such a hook alone."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HOOK)
    site = [p for p in sys.path if p and not Path(p).is_relative_to(ROOT)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *site])}


def worker(address, folder, environment, *options):
    """Start the documented command in a separate folder, as a process group with its nanny."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-P", "-m", "dask", "worker", address, "--resources", "CPU=1"]
    command += ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1", *options]
    return subprocess.Popen(
        command, cwd=folder, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def ended(process, number=signal.SIGTERM):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
    process.wait(timeout=60)


def test_the_package_is_found_next_to_a_folder_named_like_a_subpackage(tmp_path):
    """Like in a worker, with the spill folder `storage` first on the path."""
    (tmp_path / "spill" / "storage").mkdir(parents=True)
    line = "import sys; sys.path.insert(0, 'spill'); import tasks.data.row_hashes, storage; "
    line += "print(storage.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", line],
        cwd=tmp_path, env=install_package(tmp_path / "site"), capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(ROOT / "storage" / "__init__.py"), done.stderr


def test_waiting_for_workers_has_a_timeout(monkeypatch, capsys):
    monkeypatch.setattr(presence, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(presence, "GONE_SECONDS", 0.3)
    there, queue = [1], SimpleQueue()
    alone = WorkerPresence(lambda: there[0])
    threading.Timer(0.5, queue.put, ["done"]).start()
    assert alone.wait(queue) == "done", "whoever works may take long"
    there[0] = 0
    begun = time.monotonic()
    with pytest.raises(InputError, match="a worker that takes tasks"):
        alone.wait(queue)
    assert 0.3 <= time.monotonic() - begun < 5
    assert "No worker is left" in capsys.readouterr().err
    queue.put("late")
    assert alone.wait(queue) == "late", "what ended while they were there is taken"


@pytest.fixture
def server(prefect, monkeypatch):
    for name, value in prefect.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def scheduler(tmp_path):
    process, address = scheduler_of(tmp_path)
    yield address
    process.terminate()
    process.wait(timeout=30)


def wait_for_workers(address, count=1):
    with distributed.Client(address) as client:
        client.wait_for_workers(count, timeout=120)


@pytest.mark.flow
@pytest.mark.long
def test_a_worker_of_the_documented_command_in_another_folder(world, server, scheduler, tmp_path):
    store, run = tiny.run_directly(tiny.write_study(world, store={"path": "expected"}))
    expected = tiny.scores_by_id(store, run)
    study = tiny.write_study(world)
    process = worker(scheduler, tmp_path / "elsewhere", install_package(tmp_path / "site"))
    try:
        wait_for_workers(scheduler)
        assert_same(*audited(study, RemoteDaskConfig(address=scheduler)), expected)
    finally:
        ended(process)


@pytest.mark.flow
@pytest.mark.long
def test_a_worker_that_cannot_import_the_package_is_refused(world, server, scheduler, tmp_path):
    environment = install_package(tmp_path / "site")
    (tmp_path / "site" / "tasks").mkdir()
    (tmp_path / "site" / "tasks" / "__init__.py").write_text("raise ImportError('another tasks')")
    process = worker(scheduler, tmp_path / "elsewhere", environment)
    try:
        wait_for_workers(scheduler)
        with pytest.raises(InputError, match=r"workers that can import.*another tasks"):
            audited(world / "study.toml", RemoteDaskConfig(address=scheduler))
    finally:
        ended(process)


@pytest.mark.flow
@pytest.mark.long
def test_an_audit_ends_with_an_error_if_its_only_worker_is_killed(
    world, server, scheduler, tmp_path, capfd
):
    process = worker(scheduler, tmp_path / "elsewhere", install_package(tmp_path / "site"))
    try:
        wait_for_workers(scheduler)
        store = world / "store"

        def kill_once_it_works():
            while not store.exists():
                time.sleep(0.05)
            ended(process, signal.SIGKILL)
            killed.append(time.monotonic())

        killed: list[float] = []
        threading.Thread(target=kill_once_it_works, daemon=True).start()
        with pytest.raises(
            InputError, match=r"a worker that takes tasks|a worker with the resource"
        ):
            audited(world / "study.toml", RemoteDaskConfig(address=scheduler))
        assert time.monotonic() - killed[0] < 45
    finally:
        ended(process)
