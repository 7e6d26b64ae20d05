"""Steps of a review in the page."""

import csv
import json

ROWS = "table[data-export] tbody tr"


def list_rows(page):
    """Exported data of all rows, in the order of rank."""
    return [json.loads(text) for text in page.eval_on_selector_all(
        ROWS, "rows => rows.map(row => row.dataset.row)")]  # fmt: skip


def start_review(page):
    page.get_by_role("button", name="Review", exact=True).focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").is_visible()


def read_progress(page):
    return page.locator("p .progress").first.inner_text()


def download(page, path, scope=None, name="Export CSV"):
    with page.expect_download() as waiting:
        (scope or page).get_by_role("button", name=name).click()
    waiting.value.save_as(path)
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))
