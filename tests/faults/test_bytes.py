"""Full disks, damaged files and unresponsive buckets."""

import os
import random
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tiny
from audits import (
    COMMAND,
    assert_whole,
    read_log,
    read_manifests,
    run_audit,
    start_audit,
)

from storage import Store
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


def fill(path):
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_disk_that_fills_up_during_a_write_is_reported(server, study, expected):
    """Another process fills the disk during the audit."""
    store = study.parent / "store"
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(store)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root and the right to mount")
    try:
        process = start_audit(study, server.environment)
        deadline = time.monotonic() + 60
        while len(read_manifests(study)) < 5 and time.monotonic() < deadline:
            time.sleep(0.005)
        fill(store / "other")
        assert process.wait(120) == 2, read_log(study)
        kept = read_manifests(study)
        assert "a full disk" in read_log(study)
        assert "everything committed is kept" in read_log(study)
        assert "Traceback" not in read_log(study)
        (store / "other").unlink()
        run_audit(study, server.environment)
        assert kept.items() <= read_manifests(study).items()
        assert_whole(study, expected)
    finally:
        subprocess.run(["umount", "-l", str(store)], check=True)


def test_a_forecast_that_does_not_fit_on_the_disk_is_refused_first(server, study):
    store = study.parent / "store"
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(store)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root and the right to mount")
    try:
        assert start_audit(study, server.environment).wait(120) == 2
        assert "room for about" in read_log(study)
        assert "MB free" in read_log(study)
        assert not list(store.iterdir()), "something was written"
    finally:
        subprocess.run(["umount", "-l", str(store)], check=True)


def spoil_by_deleting(path):
    path.unlink()


def spoil_by_truncating(path):
    path.write_bytes(path.read_bytes()[: random.randint(1, path.stat().st_size - 1)])


def spoil_by_flipping(path):
    data = bytearray(path.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("spoil", [spoil_by_deleting, spoil_by_truncating, spoil_by_flipping])
def test_a_damaged_file_is_detected_and_recomputed(server, study, expected, spoil):
    shutil.copytree(expected.layout.root, study.parent / "store")
    before = read_manifests(study)
    draw = random.Random()
    paths = sorted((study.parent / "store" / "tables").rglob("*.parquet"))
    shards = [path for path in paths if "shard=0" in str(path)]
    for path in draw.sample(shards, 3):
        spoil(path)
    verify = [COMMAND, "verify", "--study", study]
    completed = subprocess.run([*verify, "--repair"], capture_output=True, text=True)
    assert completed.returncode == 1
    assert "withdrawn" in completed.stdout
    run_audit(study, server.environment)
    after = read_manifests(study)
    changed = {key for key in after if after[key] != before[key]}
    assert 2 <= len(changed) <= 4, "shards with three files each, and the row of table runs"
    assert subprocess.run(verify, capture_output=True).returncode == 0
    assert_whole(study, expected)


class Bucket:
    """A proxy of an S3 server that makes some requests fail."""

    def __init__(self, target: str) -> None:
        self.fail = lambda: None
        self.failed = 0
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.body()
                fault = bucket.fail()
                if fault:
                    bucket.failed += 1
                if fault == "silence":
                    time.sleep(1)
                    self.close_connection = True
                    return
                if fault:
                    self.answer(int(fault), {}, b"")
                    return
                headers = dict(self.headers.items())
                headers.pop("Transfer-Encoding", None)
                headers.setdefault(
                    "Content-Type", "application/octet-stream"
                )  # otherwise it is parsed as a form
                request = urllib.request.Request(
                    target + self.path, data=body, headers=headers, method=self.command
                )
                try:
                    with urllib.request.urlopen(request) as response:
                        self.answer(
                            response.status, dict(response.headers.items()), response.read()
                        )
                except urllib.error.HTTPError as error:
                    self.answer(error.code, dict(error.headers.items()), error.read())

            def body(self) -> bytes | None:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    length = int(self.headers.get("Content-Length") or 0)
                    return self.rfile.read(length) if length else None
                content = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    content += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return content

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                skipped = ("content-length", "transfer-encoding", "connection", "server", "date")
                for name, value in headers.items():
                    if name.lower() not in skipped:
                        self.send_header(name, value)
                size = headers.get("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", size or str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    moto = pytest.importorskip("moto.server", reason="the extra test")
    s3fs = pytest.importorskip("s3fs", reason="the extra s3")
    behind = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    behind.start()
    host, port = behind.get_host_and_port()
    proxy = Bucket(f"http://{host}:{port}")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": proxy.url,
        "FASTIF_CACHE": str(tmp_path / "copies"),
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem(use_listings_cache=False)
    if not files.exists("audits"):  # servers of one process share their objects
        files.mkdir("audits")
    yield proxy
    proxy.stop()
    behind.stop()


@pytest.fixture
def expected_shards(made, tmp_path):
    """The store of the tiny study with five queries a shard."""
    return tiny.run_directly(tiny.copy(made, tmp_path / "calm") / "study.toml")[0]


@pytest.mark.timeout(600)
def test_failed_requests_to_a_bucket_are_retried(server, study, expected_shards, bucket, figures):
    study = tiny.write_study(study.parent, store={"path": "s3://audits/now"})
    draw, lock = random.Random(), threading.Lock()

    def now_and_then() -> str | None:
        with lock:
            return draw.choice(("500", "503")) if draw.random() < 0.04 else None

    bucket.fail = now_and_then
    status = start_audit(study, server.environment).wait(240)
    bucket.fail = lambda: None
    assert bucket.failed > 5, read_log(study)
    figures["requests of a bucket that failed"] = bucket.failed
    assert status == 0, read_log(study)
    assert_whole(study, expected_shards, open_existing_store(load_study(study)))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", ["500", "silence"])
def test_an_unresponsive_bucket_is_reported_and_the_run_resumes_later(
    server, study, expected_shards, bucket, fault
):
    study = tiny.write_study(study.parent, store={"path": f"s3://audits/{fault}"})
    process = start_audit(study, server.environment)
    num_requests = 0

    def after_some() -> str | None:
        nonlocal num_requests
        num_requests += 1
        return fault if num_requests > 150 else None

    bucket.fail = after_some
    assert process.wait(240) == 2, read_log(study)
    assert "a response from the bucket" in read_log(study)
    assert "everything committed is kept" in read_log(study)
    assert "Traceback" not in read_log(study)
    bucket.fail = lambda: None
    run_audit(study, server.environment)
    store: Store = open_existing_store(load_study(study))
    assert_whole(study, expected_shards, store)
