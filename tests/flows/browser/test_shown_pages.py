"""A page of labels alone and the list of pages, as the page server shows them."""

import sys
from pathlib import Path

import pytest
from review_steps import ROWS, download, read_progress, start_review

from flows.local_service import stop_service
from flows.page_service import find_page_url, start_pages
from tasks.report.build import ReportRequest, build_report

sys.path.insert(0, str(Path(__file__).parents[2] / "tasks" / "report"))
from handmade_detections import Labelled, write_detection, write_study

TRAIN = [
    Labelled(f"r{i}", f"a text number {i}", "abc"[i % 3], "abc"[(i + 1) % 3], 0.9 - i / 50)
    for i in range(40)
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Addresses of the list and of the page, while they are shown."""
    folder = tmp_path_factory.mktemp("shown")
    study = write_study(folder / "world", TRAIN, [("a text number 5", "c")], "leaks_above = 0")
    write_detection(study.parent, TRAIN)
    path = Path(build_report.fn(ReportRequest(str(study))).path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTIF_HOME", str(folder / "service"))
        patch.delenv("PREFECT_API_URL", raising=False)
        (line,) = start_pages(study)
        try:
            yield line.split()[2], find_page_url(path)
        finally:
            stop_service()


@pytest.fixture
def opened(browser, request):
    """A browser that records messages of the console and requests."""
    context = browser.new_context(**getattr(request, "param", {}), accept_downloads=True)
    tab = context.new_page()
    tab.lines, tab.urls = [], []
    tab.on("console", lambda message: tab.lines.append(message.text))
    tab.on("pageerror", lambda error: tab.lines.append(str(error)))
    tab.on("request", lambda event: tab.urls.append(event.url))
    yield tab
    context.close()


def test_a_page_that_is_shown_is_reviewed_and_keeps_its_decisions(opened, shown, tmp_path):
    """Its script runs under the policy of the server, and its storage is that of the address."""
    _, address = shown
    opened.goto(address)
    assert opened.locator(ROWS).count() == len(TRAIN)
    start_review(opened)
    for key in "ksn":
        opened.keyboard.press(key)
    opened.keyboard.press("Escape")
    opened.wait_for_function("!location.hash.includes('row=')")
    assert read_progress(opened).startswith("3 of 40 reviewed")
    opened.reload()
    assert read_progress(opened).startswith("3 of 40 reviewed")
    rows = download(opened, tmp_path / "review.csv")
    assert [row["right_label"] for row in rows] == ["a", "c", "none"]
    assert [line for line in opened.lines if "favicon" not in line] == []
    own = address.split("/")[2]
    assert {url.split("/")[2] for url in opened.urls if url.startswith("http")} == {own}


@pytest.mark.parametrize(
    "opened",
    [{"viewport": {"width": 320, "height": 568}}, {"color_scheme": "dark"}, {}],
    indirect=True,
    ids=["small", "dark", "wide"],
)
def test_shown_pages_are_accessible(opened, shown):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not there")
    for address in shown:
        opened.goto(address)
        violations = axe.Axe().run(opened).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in violations] == []
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_list_leads_to_the_page(opened, shown):
    listed, address = shown
    opened.goto(listed)
    assert opened.locator(".tile.fail").inner_text().split()[:2] == ["leaks", "FAIL"]
    opened.get_by_role("link", name="labels-1").click()
    assert opened.url == address
    assert opened.title().startswith("Data quality of alone")
