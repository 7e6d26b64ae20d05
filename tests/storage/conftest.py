import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from disturbed_stores import reopen, resume_commits
from store_samples import BUCKET, SHARDS, STUDY, record

from storage import Store


@pytest.fixture
def store(tmp_path):
    """A store with one opened run named `first`."""
    opened = Store.open(tmp_path / "store", STUDY)
    opened.open_run(record())
    return opened


@pytest.fixture
def whole(tmp_path):
    """A complete, undisturbed store."""
    store = reopen(tmp_path / "whole")
    assert resume_commits(store) == list(SHARDS)
    return store


@pytest.fixture(scope="session")
def server():
    """Address of an S3 server on the loopback interface."""
    moto = pytest.importorskip("moto.server", reason="the extra test")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def root(server, monkeypatch, request, tmp_path):
    """A separate S3 prefix for each test, with a local cache folder."""
    s3fs = pytest.importorskip("s3fs", reason="the extra s3")
    monkeypatch.setenv("FASTIF_CACHE", str(tmp_path / "copies"))
    s3fs.S3FileSystem.clear_instance_cache()
    keys = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in {**keys, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    files = s3fs.S3FileSystem(use_listings_cache=False)
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    name = re.sub(r"\W", "-", request.node.name)
    return f"s3://{BUCKET}/{name}"


@pytest.fixture
def remote(root):
    opened = Store.open(root, STUDY)
    opened.open_run(record())
    return opened


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.long)])
def either(request):
    """A store in a folder, and one in a bucket."""
    return request.getfixturevalue("store" if request.param == "folder" else "remote")
