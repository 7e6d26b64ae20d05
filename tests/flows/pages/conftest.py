"""A study with a page, and the page server in its own process."""

import os
import sys
from pathlib import Path

import pytest
from handmade_runs import STUDY, Row, open_store, write_run

from flows.local_service import stop_service
from flows.page_service import start_pages
from tasks.report.build import ReportRequest, build_report

sys.path.insert(0, str(Path(__file__).parent))
from page_requests import SECRET, make_page


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of the service; its server is stopped at the end."""
    folder = tmp_path_factory.mktemp("home") / "service"
    before = {name: os.environ.pop(name, None) for name in ("FASTIF_HOME", "PREFECT_API_URL")}
    os.environ["FASTIF_HOME"] = str(folder)
    yield folder
    stop_service()
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A study with a run, whose page is built as `fastif report` builds it."""
    folder = tmp_path_factory.mktemp("world")
    rows = [Row(f"{i}", f"word{i} and {i}", "ab"[i % 2], i % 3 > 0) for i in range(30)]
    write_run(open_store(folder), "one", rows[:20], rows[20:])
    (folder / "study.toml").write_text(
        f'name = "{STUDY}"\nlabels = ["a", "b"]\n[train]\ntable = "t.csv"\ntext = "text"\n'
        'label = "label"\n[store]\npath = "store"\n[report]\naccuracy_below = 0.99\n'
    )
    build_report.fn(ReportRequest(str(folder / "study.toml"), "one"))
    build_report.fn(ReportRequest(str(folder / "study.toml"), "one", format="json"))
    (folder / "outside.html").write_bytes(make_page(None, SECRET.decode()))
    (folder / "store" / "inside.html").write_bytes(make_page(None, SECRET.decode()))
    return folder


@pytest.fixture(scope="module")
def url(home, world):
    """Address of the list of pages, by a server that was started as `fastif up` does it."""
    (line,) = start_pages(world / "study.toml")
    assert "on the loopback interface only" in line
    return line.removeprefix("Report pages: ").partition(" ")[0]
