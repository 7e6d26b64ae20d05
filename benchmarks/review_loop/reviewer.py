"""Reviewer in a real browser: reads the report page, decides by keys, and exports the decisions."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.review_loop.study import LABELS

PATIENCE_MS = 600_000
"""Longest wait for the browser, which may share its core with other work."""
BROWSERS = ("chromium", "google-chrome", "chromium-browser")


@dataclass(frozen=True)
class Decision:
    """Decision on one row.

    Attributes:
        id: Id of the row.
        key: Key that was pressed.
        right_label: Label that the reviewer gave.
    """

    id: str
    key: str
    right_label: str


def find_browser() -> str:
    """Return the program of a Chromium; the benchmark ends without one."""
    for name in BROWSERS:
        if program := shutil.which(name):
            return program
    raise SystemExit("No Chromium on this machine (Debian: apt-get install chromium).")


@contextmanager
def open_browser() -> Iterator[Any]:
    """Open Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        try:
            yield browser
        finally:
            browser.close()


def review_page(
    browser: Any,
    path: Path,
    right_labels: Mapping[str, str],
    count: int,
    out: Path,
    labels: tuple[str, ...] = LABELS,
) -> list[Decision]:
    """Decide on the first rows of a report page by keys, and export what was decided.

    Args:
        browser: Chromium of playwright.
        path: Report page.
        right_labels: Right labels by the id of the row, which the reviewer knows.
        count: Number of rows to decide on, fewer if the page has fewer.
        out: File of the exported decisions.
        labels: Labels of the study, in the order of their keys.
    """
    page = browser.new_context(accept_downloads=True).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(path.resolve().as_uri())
    page.get_by_role("button", name="Review", exact=True).focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    decisions: list[Decision] = []
    for _ in range(count):
        name, given, suggested = (_read(dialog, part) for part in ("id", "given", "suggested"))
        if decisions and decisions[-1].id == name:
            break  # the last row stays open
        right = right_labels[name]
        key = "k" if right == given else "s" if right == suggested else f"{labels.index(right) + 1}"
        page.keyboard.press(key)
        decisions.append(Decision(name, key, right))
    with page.expect_download() as waiting:
        dialog.get_by_role("button", name="Export decisions").click()
    waiting.value.save_as(out)
    page.context.close()
    return decisions


def _read(dialog: Any, part: str) -> str:
    return dialog.locator(f'[data-part="{part}"]').inner_text()
