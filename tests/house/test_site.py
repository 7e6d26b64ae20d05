"""The documentation builds as a site: every link and anchor of it leads somewhere."""

import json
import re
import shutil
import subprocess
import sys

import pytest

import fastif
import fastif.mislabels
import storage
from tests.house.prose import ROOT

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that a strict build of the pages wrote."""
    folder = tmp_path_factory.mktemp("documentation")
    shutil.copytree(ROOT / "docs", folder / "docs")
    settings = (ROOT / "mkdocs.yml").read_text("utf-8")
    (folder / "mkdocs.yml").write_text(
        settings.replace("paths: [.]", f"paths: [{json.dumps(str(ROOT))}]"), "utf-8"
    )
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert built.returncode == 0, COLOUR.sub("", built.stdout + built.stderr)
    return folder / "site"


@pytest.mark.long
def test_every_page_is_built(site):
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    assert {path for path in pages if not (site / path.with_suffix(".html")).is_file()} == set()


@pytest.mark.long
def test_nothing_is_loaded_from_elsewhere(site):
    loaded = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?://[^\s\">]+)")
    assert loaded.findall((site / "index.html").read_text("utf-8")) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("page", "package"),
    [("fastif", fastif), ("mislabels", fastif.mislabels), ("storage", storage)],
    ids=["fastif", "mislabels", "storage"],
)
def test_every_export_is_in_the_reference(site, page, package):
    names = re.findall(rf"^::: {package.__name__}\.(\w+)$", read_source(page), re.MULTILINE)
    assert sorted(names) == sorted(package.__all__)
    html = (site / "reference" / "api" / f"{page}.html").read_text("utf-8")
    assert [name for name in names if f'id="{package.__name__}.{name}"' not in html] == []


def read_source(page: str) -> str:
    """A page of the API as it is written."""
    return (ROOT / "docs" / "reference" / "api" / f"{page}.md").read_text("utf-8")
