"""The page in a real browser: it sorts, filters and exports, loads nothing, and runs no text."""

import csv
import json
import re

import pytest

SUSPECTS = "table[data-export]"
GRADES = {"very high", "high", "medium", "low", "very low"}


def read_visible_cells(page, column):
    """Visible cells of a column of the flagged labels."""
    rows = page.locator(f"{SUSPECTS} tbody tr:not(.hidden)")
    return rows.locator(f"td:nth-child({column})").all_inner_texts()


def read_visible_scores(page):
    """Numbers by which the visible rows are sorted; a strength is shown as a bar without one."""
    rows = page.locator(f"{SUSPECTS} tbody tr:not(.hidden)")
    cells = rows.locator("td:nth-child(3)")
    assert "".join(cells.all_inner_texts()).strip() == ""
    assert set(cells.locator(".meter").evaluate_all("all => all.map(m => m.ariaLabel)")) <= GRADES
    return cells.evaluate_all("cells => cells.map(cell => Number(cell.dataset.v))")


def test_it_opens_without_an_error_and_loads_only_itself(page, page_file):
    assert page.log_lines == []
    assert page.fetched_urls == [page_file.as_uri()]


def test_hostile_text_is_shown_and_not_run(page):
    assert page.evaluate("window.hit") is None
    assert page.get_by_text("<script>window.hit = 1</script>").count() > 0
    assert page.get_by_text("⟨U+202E⟩").count() > 0


def test_a_heading_sorts_its_table_down_and_up(page):
    heading = page.locator(f"{SUSPECTS} th", has_text="strength")
    heading.get_by_role("button").click()
    down = read_visible_scores(page)
    assert down == sorted(down, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    heading.get_by_role("button").click()
    up = read_visible_scores(page)
    assert up == sorted(up)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert up != down


def test_filters_and_the_search_leave_what_fits(page):
    tools = page.locator(f".scroll:has({SUSPECTS})").locator("xpath=preceding-sibling::div[1]")
    assert len(read_visible_cells(page, 4)) == 25
    tools.get_by_role("button", name="Show 25 more").click()
    assert len(read_visible_cells(page, 4)) == 50
    assert not tools.get_by_role("button", name="Show 10 more").is_visible()
    tools.get_by_role("button", name="Show all 60").click()
    every = len(read_visible_cells(page, 4))
    assert every == 60
    tools.get_by_label("given").select_option("pos")
    left = read_visible_cells(page, 4)
    assert set(left) == {"pos"}
    assert len(left) < every
    tools.get_by_label("search").fill("film")
    assert all("film" in text.lower() for text in page.locator(
        f"{SUSPECTS} tbody tr:not(.hidden)").all_inner_texts())  # fmt: skip
    assert re.match(rf"\d+ of {every} shown", tools.get_by_role("status").first.inner_text())


@pytest.mark.parametrize("kind", ["CSV", "Label Studio"])
def test_selected_rows_are_exported(page, tmp_path, kind):
    boxes = page.locator(f"{SUSPECTS} tbody input")
    boxes.nth(0).check()
    boxes.nth(2).check()
    wanted = [page.locator(f"{SUSPECTS} tbody tr").nth(i).get_attribute("data-row") for i in (0, 2)]
    ids = [json.loads(row)["id"] for row in wanted]
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Export {kind}").click()
    waiting.value.save_as(tmp_path / "out")
    text = (tmp_path / "out").read_text("utf-8")
    if kind == "CSV":
        rows = list(csv.DictReader(text.splitlines()))
        assert {"right_label", "reviewer"} <= set(rows[0])
    else:
        rows = [task["data"] for task in json.loads(text)]
    assert [row["id"] for row in rows] == ids


def test_an_exported_text_is_no_formula(page, tmp_path):
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export CSV").click()
    waiting.value.save_as(tmp_path / "out")
    texts = [row["text"] for row in csv.DictReader((tmp_path / "out").read_text().splitlines())]
    assert "'=1+1" in texts
    assert "=1+1" not in texts


@pytest.mark.parametrize(
    "page",
    [{}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}],
    indirect=True,
    ids=["light", "dark", "phone"],
)
def test_the_page_is_accessible(page):
    """Axe's rules, contrast among them; and no page wider than the screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not there")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    violations = axe.Axe().run(page).response["violations"]
    assert [
        (violation["id"], violation["nodes"][0]["html"][:200]) for violation in violations
    ] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_tables_are_sorted_by_keyboard_alone(page):
    button = page.locator(f"{SUSPECTS} th", has_text="given").get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    assert read_visible_cells(page, 4) == sorted(read_visible_cells(page, 4))
