"""Exports and reports to full or read-only disks: an error message, and no partial file."""

import os
import subprocess
import sys
from pathlib import Path

import handmade_runs
import pytest
from handmade_runs import Row

from fastif import InputError
from storage import StoreError
from tasks.report.build import ReportRequest, build_report
from tasks.results.export import write_export

ENDINGS = ("csv", "parquet", "ndjson")
LIMITED = """
import resource, sys
from pathlib import Path
import handmade_runs
from storage import StoreError
from tasks.results.export import write_export
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
store, to = handmade_runs.open_store(Path(sys.argv[1])), Path(sys.argv[2])
for ending in ("csv", "parquet", "ndjson"):
    try:
        write_export(store, "one", "train", to / f"x.{ending}")
    except StoreError as error:
        assert "a limit on the size of this process's files" in str(error), error
        print(ending)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places")
    train = [Row(f"t{i}", os.urandom(200).hex(), "ab"[i % 2]) for i in range(300)]
    handmade_runs.write_run(handmade_runs.open_store(folder), "one", train, train[:20])
    (folder / "study.toml").write_text(
        f'name = "{handmade_runs.STUDY}"\nlabels = ["a", "b"]\n[train]\ntable = "t.csv"\n'
        'text = "text"\nlabel = "label"\n[store]\npath = "store"\n'
    )
    return folder


def write(folder, to, kind):
    if kind == "report":
        return build_report.fn(ReportRequest(str(folder / "study.toml"), out=str(to)))
    return write_export(
        handmade_runs.open_store(folder), "one", "train", to.with_suffix(f".{kind}")
    )


KINDS = [*ENDINGS, "report"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_refused_and_left_as_it_was(folder, tmp_path, kind):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root and the right to mount")
    try:
        with pytest.raises(StoreError, match="a full disk"):
            write(folder, tmp_path / "out.html", kind)
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.long
def test_a_limit_on_files_is_refused_and_leaves_nothing(folder, tmp_path):
    paths = [str(Path(handmade_runs.__file__).parents[1]), str(Path(handmade_runs.__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(ENDINGS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["csv", "report"])
@pytest.mark.parametrize("place", ["a file as folder", "no folder can be made", "a folder"])
def test_a_path_that_cannot_be_written_is_refused(folder, tmp_path, kind, place):
    (tmp_path / "file").write_text("mine")
    to = {
        "a file as folder": tmp_path / "file" / "out.html",
        "no folder can be made": Path("/proc/nowhere/out.html"),
        "a folder": tmp_path / "taken.html",
    }[place]
    for taken in (tmp_path / "taken.html", tmp_path / "taken.csv"):
        taken.mkdir()
    with pytest.raises((StoreError, InputError), match=r"expected .* got "):
        write(folder, to, kind)
    assert (tmp_path / "file").read_text() == "mine"
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_existing_page_is_replaced_atomically(folder, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    write(folder, page, "report")
    before = page.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.atomic.fsync", fail)
    with pytest.raises(StoreError, match="a full disk"):
        write(folder, page, "report")
    assert page.read_bytes() == before
    assert list(tmp_path.iterdir()) == [page]
