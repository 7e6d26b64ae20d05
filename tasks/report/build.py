"""Task that builds the report page of a run and writes it next to the store."""

from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from fastif import InputError
from storage.atomic import write_bytes
from tasks.report.actions import Action
from tasks.report.page import Page, build_page, render_page
from tasks.report.run_data import read_run_data
from tasks.results.limits import LimitTest
from tasks.results.summary_markdown import make_page_path
from tasks.run.lookup import find_latest_run
from tasks.run.spec import open_existing_store
from tasks.runtime.writable_path import check_outside
from tasks.study.path_kinds import describe_path
from tasks.study.study import load_study

TITLE = "<title>Data quality of "
"""Start of the title, by which an earlier page is recognised."""


@dataclass(frozen=True)
class ReportRequest:
    """Parameters of a report.

    Attributes:
        study: Path of the study file.
        run: Name of the run; the newest finished one if None.
        against: Name of the run to compare with; the newest comparable one if None.
        out: Path of the page; next to the store if None.
        price_per_hour: Price of one machine hour, for the section on cost; None to omit it.
    """

    study: str
    run: str | None = None
    against: str | None = None
    out: str | None = None
    price_per_hour: float | None = None


@dataclass(frozen=True)
class BuiltReport:
    """Path, headline and checks of a report page that was written.

    Attributes:
        path: Path of the page.
        run: Name of its run.
        actions: Recommended actions, certain findings first.
        tests: Tests of the run against the limits of the study.
        headline: Summary sentences.
        reliability: Table of checks with their results; no example text.
    """

    path: str
    run: str
    actions: list[Action]
    tests: list[LimitTest]
    headline: list[str]
    reliability: list[dict[str, str]]


@task(name="build-report", cache_policy=NO_CACHE)
def build_report(request: ReportRequest) -> BuiltReport:
    """Read a run, build its page and write it atomically."""
    study = load_study(Path(request.study))
    store = open_existing_store(study)
    run = request.run or find_latest_run(store)
    path = make_page_path(store.layout.root, study.folder, run)
    if request.out:
        path = check_page_path(request.out)
        check_outside(store.layout.root, path)
    data = read_run_data(store, run, study.path, request.against)
    page = build_page(data, request.price_per_hour, study.report)
    write_bytes(path, render_page(page).encode())
    reliability = _make_reliability_table(page)
    return BuiltReport(
        str(path.resolve()), run, page.actions, page.tests, page.headline, reliability
    )


def check_page_path(out: str) -> Path:
    """Validate the path of a page: a new file, or an earlier page, which is replaced.

    Raises:
        InputError: another suffix, a folder, or a file that is not a report page.
    """
    path, where = Path(out), f"--out {out}"
    if path.is_dir():
        raise InputError(where, "a file", "a folder", f"Write --out {path / 'report.html'}.")
    if path.suffix.lower() not in (".html", ".htm"):
        got = path.suffix or "no suffix"
        raise InputError(where, "a file name that ends in .html", got, "Add this suffix.")
    expected, remedy = "a new file, or an earlier report page, which is replaced", "Choose another."
    if path.exists() and describe_path(path):
        raise InputError(where, expected, describe_path(path), remedy)
    if path.exists() and not _is_page(path):
        raise InputError(where, expected, "a file with other contents", remedy)
    return path


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(4096).lstrip()
    return start.startswith(b"<!doctype html>") and TITLE.encode() in start


def _make_reliability_table(page: Page) -> list[dict[str, str]]:
    return [
        {"check": check.name, "measured": check.measured, "result": check.verdict}
        for check in page.reliability_checks
    ]
