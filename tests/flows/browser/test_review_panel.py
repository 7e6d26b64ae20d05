"""The panel of the review: many classes, long texts, keys, accessibility."""

import pytest
from review_steps import download, read_progress, start_review


def test_many_classes_have_keys_and_a_list(wide, tmp_path):
    start_review(wide)
    dialog = wide.get_by_role("dialog")
    shown = wide.locator('[data-cell="score"]').first.inner_text().split()[0]
    assert shown.endswith("%")
    assert shown in dialog.locator('[data-part="score"]').inner_text()
    assert dialog.locator('[data-part="pair"]').inner_text() == "so it is"
    wide.keyboard.press("9")
    dialog.get_by_label("other class").select_option("a longer name of class 12")
    assert read_progress(wide) == "2 of 300 reviewed, 2 wrong"
    dialog.get_by_role("button", name="next").focus()
    wide.keyboard.press("s")
    wide.keyboard.press("k")
    wide.keyboard.press("n")  # the fifth row and its copy
    assert read_progress(wide) == "6 of 300 reviewed, 5 wrong"
    exported = download(wide, tmp_path / "review.csv", dialog, "Export decisions")
    right_labels = [row["right_label"] for row in exported]
    assert right_labels[:2] == ["a longer name of class 9", "a longer name of class 12"]
    assert right_labels[4:] == ["none", "none"]


def test_keys_work_at_both_ends_and_after_a_click_beside_the_buttons(wide):
    wide.goto(wide.url.split("#")[0] + "#suspects?row=299")
    dialog = wide.get_by_role("dialog")
    dialog.get_by_role("button", name="previous").click()
    dialog.get_by_role("button", name="next").click()
    wide.keyboard.press("k")
    assert dialog.get_by_text("That was the last row").is_visible()
    dialog.locator('[data-part="place"]').click()
    wide.keyboard.press("p")
    assert dialog.locator('[data-part="id"]').inner_text() == "298"


@pytest.mark.parametrize(
    "page",
    [{}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}],
    indirect=True,
    ids=["light", "dark", "phone"],
)
def test_the_panel_is_accessible(page):
    """Axe's rules; targets of 24 pixels; no panel wider than the screen; focus comes back."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not there")
    start_review(page)
    for key in "ks":
        page.keyboard.press(key)
    violations = axe.Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in violations] == []
    sizes = page.eval_on_selector_all(
        "dialog button, dialog input",
        "all => all.map(e => [e.offsetWidth, e.offsetHeight]).filter(s => Math.min(...s) < 24)",
    )
    assert sizes == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("(d => d.scrollWidth <= d.clientWidth)(document.querySelector('dialog'))")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "start-review"


@pytest.mark.parametrize(
    "page", [{"viewport": {"width": 320, "height": 568}}, {}], indirect=True, ids=["small", "wide"]
)
def test_a_long_row_fits_into_the_panel(wide):
    start_review(wide)
    for _ in range(60):
        wide.keyboard.press("k")
    dialog = wide.get_by_role("dialog")
    assert dialog.get_by_text("first 25: 0 wrong · 26 to 50: 0 wrong").is_visible()
    assert wide.evaluate("(d => d.scrollWidth <= d.clientWidth)(document.querySelector('dialog'))")
    assert wide.evaluate(
        "document.querySelector('dialog').getBoundingClientRect().right <= innerWidth"
    )
    dialog.get_by_role("button", name="Export decisions").click()
