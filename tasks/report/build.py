"""The page of a run, written beside its store."""

from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from fastif import InputError
from storage.atomic import write_bytes
from tasks.report.page import Page, build_page, render_page
from tasks.report.run_data import read_run_data
from tasks.results.summary_markdown import make_page_path
from tasks.run.lookup import find_latest_run
from tasks.run.spec import open_existing_store
from tasks.runtime.writable_path import check_outside
from tasks.study.path_kinds import describe_path
from tasks.study.study import load_study

TITLE = "<title>Data quality of "
"""By which a page is known again."""


@dataclass(frozen=True)
class ReportRequest:
    """What is to be reported.

    Attributes:
        study: path of its file.
        run: by name; the newest finished one if None.
        against: the run to compare with; the newest that can be if None.
        out: the file; beside the store if None.
        price_per_hour: of an hour of the machine, for the section on cost.
    """

    study: str
    run: str | None = None
    against: str | None = None
    out: str | None = None
    price_per_hour: float | None = None


@dataclass(frozen=True)
class BuiltReport:
    """A page that was written.

    Attributes:
        path: where.
        run: that it is about.
        headline: its three sentences.
        reliability: what was measured and whether it is in order; no example text.
    """

    path: str
    run: str
    headline: list[str]
    reliability: list[dict[str, str]]


@task(name="build-report", cache_policy=NO_CACHE)
def build_report(request: ReportRequest) -> BuiltReport:
    """Read a run, make its page and write it whole or not at all."""
    study = load_study(Path(request.study))
    store = open_existing_store(study)
    run = request.run or find_latest_run(store)
    path = make_page_path(store.layout.root, study.folder, run)
    if request.out:
        path = check_page_path(request.out)
        check_outside(store.layout.root, path)
    page = build_page(
        read_run_data(store, run, study.path, request.against), request.price_per_hour
    )
    write_bytes(path, render_page(page).encode())
    return BuiltReport(str(path.resolve()), run, page.headline, _make_reliability_table(page))


def check_page_path(out: str) -> Path:
    """The file that was named for a page: a new one, or an earlier page, and nothing else.

    Raises:
        InputError: it has another ending, is a folder, or holds anything but a page of a run.
    """
    path, where = Path(out), f"--out {out}"
    if path.is_dir():
        raise InputError(where, "a file", "a folder", f"Write --out {path / 'report.html'}.")
    if path.suffix.lower() not in (".html", ".htm"):
        got = path.suffix or "no ending"
        raise InputError(where, "a name that ends in .html", got, "Choose that ending.")
    expected = "a new file, or an earlier page, which is replaced"
    if path.exists() and describe_path(path):
        raise InputError(where, expected, describe_path(path), "Name another.")
    if path.exists() and not _is_page(path):
        raise InputError(where, expected, "a file with other contents", "Name another.")
    return path


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(4096).lstrip()
    return start.startswith(b"<!doctype html>") and TITLE.encode() in start


def _make_reliability_table(page: Page) -> list[dict[str, str]]:
    return [
        {"what": check.name, "measured": check.measured, "in order": check.verdict}
        for check in page.reliability_checks
    ]
