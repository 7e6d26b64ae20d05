"""A page with suspicious labels, opened in a real browser."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from tasks.mislabels.detect import detect_mislabels
from tasks.report.causes import Cause
from tasks.report.harm_shares import HarmShare
from tasks.report.label_matrix import make_label_matrix
from tasks.report.page import build_page, render_page
from tasks.report.run_data import read_run_data
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

sys.path.insert(0, str(Path(__file__).parent))
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'> \u202eabc"
HOSTILE_NAME = '"><img src=x onerror="window.hit = 1">&row=x#y+%'


@pytest.hookimpl(tryfirst=True)  # before the tests that -m leaves out are taken out
def pytest_collection_modifyitems(items):
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def playwright_api():
    """The module of Playwright; what needs it or Chromium is skipped before a page is made."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs the extra: pip install -e '.[cpu,browser]'"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    return sync_api


@pytest.fixture(scope="session")
def page_file(playwright_api, made, tmp_path_factory):
    """A run with flagged labels, hostile training texts and a hostile id."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("page") / "world")
    rows = tiny.rows_of(folder / "train.csv")
    rows[0]["text"] = HOSTILE
    rows[1]["text"] = "=1+1"
    rows[2]["id"] = HOSTILE_NAME
    tiny.write_rows(folder / "train.csv", rows)
    tiny.run_directly(folder / "study.toml")
    detect_mislabels.fn(str(folder / "study.toml"))
    path = folder / "page.html"
    path.write_text(render_page(_build(folder)))
    return path


@pytest.fixture(scope="session")
def wide_file(page_file):
    """The page with 300 pairs of long texts, twelve classes, probabilities, and one row twice."""
    page = _build(page_file.parent)
    classes = ["neg", "pos", *(f"a longer name of class {i}" for i in range(3, 13))]
    audit = {"enough": True, "rows": 100, "wrong": 9, "later": 0, "gone": 0, "skipped": 0}
    calibrated = {"drawn": audit}
    facts = page.flagged.facts | calibrated | {"by_label": {key: {"rows": 25} for key in classes}}
    rows = [
        row | {"id": f"{i}", "rank": i, "text": f"{i} {row['text']} " * 90, "text_pair": "so it is"}
        for i, row in enumerate(page.flagged.rows * 5)
    ]
    rows[3] = rows[3] | {"new": True}
    rows[5] = rows[4] | {"id": "5", "rank": 5}
    flagged = replace(page.flagged, facts=facts, rows=rows)
    path = page_file.parent / "wide.html"
    path.write_text(render_page(replace(page, flagged=flagged)))
    return path


@pytest.fixture(scope="session")
def hostile_file(page_file):
    """The page with markup, marks of direction, long words and quotes in every text of its rows."""
    page = _build(page_file.parent)
    flagged = _spoil(page.flagged.rows)
    cases = [replace(case, **{name: _spoil(getattr(case, name)) for name in
             ("query", "harmful", "helpful", "causes")}) for case in page.cases]  # fmt: skip
    cause = Cause(_spoil("label pos"), 9, 10, 0.5)
    cases[0] = replace(cases[0], causes=[cause])
    pairs = [(case.query["label"], case.query["prediction"]) for case in cases]
    spoilt = replace(
        page,
        flagged=replace(page.flagged, rows=flagged, facts=page.flagged.facts | {"by_label": {}}),
        cases=cases,
        confusion=make_label_matrix(pairs, pairs),
        most_harmful=_spoil(page.most_harmful),
        duplicates=replace(
            page.duplicates,
            groups=_spoil(page.duplicates.groups),
            leaks=_spoil(page.duplicates.leaks),
        ),
        quality=replace(
            page.quality,
            **{
                name: _spoil(getattr(page.quality, name))
                for name in ("outliers", "labels", "groups")
            },
        ),
        slices=replace(
            page.slices,
            harm_shares=[HarmShare(_spoil("kind"), _spoil("a"), _spoil("b"), 1.0, 0.5, 0.1)],
            **{
                name: _spoil(getattr(page.slices, name))
                for name in ("ranking", "accuracy", "balance")
            },
        ),
    )
    path = page_file.parent / "hostile.html"
    path.write_text(render_page(spoilt))
    return path


def _spoil(value):
    """The value with hostile characters around each text in it."""
    if isinstance(value, dict):
        return {key: _spoil(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_spoil(inner) for inner in value)
    return f"{HOSTILE_NAME} {value} {HOSTILE} {'w' * 200}" if isinstance(value, str) else value


def _build(folder):
    store = open_existing_store(load_study(folder / "study.toml"))
    data = read_run_data(store, store.find_latest().record.run, folder / "study.toml")
    return build_page(data)


@pytest.fixture(scope="module")
def browser(playwright_api):
    """Chromium, started."""
    with playwright_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser, page_file, request):
    """The opened page, with its console messages and requests recorded."""
    context = browser.new_context(**getattr(request, "param", {}), accept_downloads=True)
    opened = context.new_page()
    opened.log_lines, opened.fetched_urls = [], []
    opened.on("console", lambda message: opened.log_lines.append(message.text))
    opened.on("pageerror", lambda error: opened.log_lines.append(str(error)))
    opened.on("request", lambda event: opened.fetched_urls.append(event.url))
    opened.goto(page_file.as_uri())
    yield opened
    context.close()


@pytest.fixture
def wide(page, wide_file):
    """The opened page with many classes."""
    page.goto(wide_file.as_uri())
    return page
