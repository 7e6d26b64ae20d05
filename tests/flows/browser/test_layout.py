"""The page is short, folds its methods, fits narrow screens and paper, and reads by keyboard."""

import re
from itertools import pairwise

import pytest
from handmade_runs import make_run_data, rows

from tasks.report.page import build_page, render_page

ERRORS = "table[data-address='evidence']"
SHOWN = f"{ERRORS} tbody tr:not(.hidden)"
FITTING = "table[data-export] tbody tr:not(.filtered)"
SMALL = {"viewport": {"width": 320, "height": 568}}
BORDERED = "input:not([type='checkbox']), select, .tools button, details:not(.drawer)"
TARGETS = "button, input, select, summary, nav a, .matrix a, .causes a, .rank"


def read_column(page, column):
    """Texts of a column of the shown errors, by the place of the column."""
    return page.locator(f"{SHOWN} > td:nth-child({column})").all_inner_texts()


def wait_for_count(page, selector, count):
    """Wait until this many elements fit; the page filters after the address has changed."""
    page.wait_for_function(
        "([css, n]) => document.querySelectorAll(css).length === n", arg=[selector, count]
    )


def count_pdf_pages(page):
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True)))


def compute_contrast(first, second):
    """Contrast of two CSS colours by WCAG 2.2."""
    luminances = []
    for colour in (first, second):
        channels = [int(channel) / 255 for channel in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminances.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


def test_the_page_is_short_on_a_desktop_and_on_paper(wide):
    """With 300 flagged rows of long texts and twelve classes."""
    assert wide.evaluate("document.documentElement.scrollHeight") < 7000
    assert wide.locator("details[open]").count() == 0
    assert count_pdf_pages(wide) <= 10
    assert wide.locator("details[open]").count() == 0, "what is folded stays folded"


def test_paper_has_the_names_of_columns_and_states_what_it_leaves_out(wide):
    wide.emulate_media(media="print")
    assert not wide.locator("nav").is_visible()
    head = wide.locator("table[data-export] th[data-name='given']")
    assert head.evaluate("e => getComputedStyle(e, '::before').content") == '"given"'
    assert wide.get_by_text("25 of 300 shown").is_visible()


@pytest.mark.parametrize("page", [SMALL], indirect=True, ids=["small"])
def test_a_small_screen_has_cards_and_never_scrolls_sideways(wide):
    wide.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert wide.evaluate("document.documentElement.scrollWidth") == 320
    for region in wide.locator(".scroll:has(.cards)").all():
        assert region.evaluate("e => e.scrollWidth <= e.clientWidth"), region.inner_html()[:300]
    cell = wide.locator("table[data-export] tbody td[data-name='given']").first
    assert cell.evaluate("e => getComputedStyle(e, '::before').content").startswith('"given')
    assert wide.locator("table[data-export] tbody tr:not(.hidden)").count() == 10


@pytest.mark.parametrize("page", [{}, SMALL], indirect=True, ids=["desktop", "small"])
def test_targets_have_24_pixels(wide):
    wide.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    small = wide.eval_on_selector_all(
        TARGETS,
        """all => all.map(e => [e.getBoundingClientRect(), e.outerHTML.slice(0, 99)])
        .filter(([r]) => r.width && Math.min(r.width, r.height) < 24).map(([, html]) => html)""",
    )
    assert small == []


@pytest.mark.parametrize("page", [{}, {"color_scheme": "dark"}], indirect=True, ids=str)
def test_borders_of_controls_contrast(page):
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    borders = page.eval_on_selector_all(
        BORDERED, "all => all.map(e => getComputedStyle(e).borderTopColor)"
    )
    assert len(borders) > 8
    assert min(compute_contrast(border, background) for border in borders) >= 3


def test_headings_outline_the_page(page):
    levels = [int(e) for e in page.eval_on_selector_all(
        "h1, h2, h3, h4", "all => all.map(e => e.tagName[1])")]  # fmt: skip
    assert levels.count(1) == 1
    assert all(second - first <= 1 for first, second in pairwise(levels))


def test_a_cell_of_the_confusion_matrix_filters_the_errors(page, page_file):
    labels = page.eval_on_selector_all(
        f"{ERRORS} tbody tr", "rows => rows.map(r => [1, 2].map(i => r.cells[i].textContent))"
    )
    link = page.locator("a[href^='#evidence?true=']").first
    true, predicted = re.search(r"true=(\w+)&predicted=(\w+)", link.get_attribute("href")).groups()
    link.focus()
    page.keyboard.press("Enter")
    fitting = labels.count([true, predicted])
    assert 0 < fitting < len(labels)
    wait_for_count(page, SHOWN, min(fitting, 25))
    assert (set(read_column(page, 2)), set(read_column(page, 3))) == ({true}, {predicted})
    page.reload()
    assert page.locator(SHOWN).count() == min(fitting, 25), "the address has the filters"
    page.get_by_role("combobox", name="predicted").select_option("")
    assert page.evaluate("location.hash") == f"#evidence?true={true}"
    page.goto(page_file.as_uri() + "#evidence?true=unknown&search=%&cause=<b>")
    assert page.log_lines == []


def test_a_cell_of_given_and_suggested_labels_filters_the_flagged_rows(page):
    link = page.locator("a[href^='#suspects?given=pos&suggested=']").first
    link.click()
    wait_for_count(page, FITTING, int(link.inner_text()))
    assert set(page.locator(f"{FITTING} > td:nth-child(4)").all_text_contents()) == {"pos"}


def test_new_rows_have_no_filter_value_of_their_own(wide):
    options = wide.get_by_role("combobox", name="suggested").locator("option")
    assert options.all_inner_texts() == ["(all)", "neg", "pos"]
    assert wide.locator("table[data-export] td", has_text="new").count() > 0


def test_filters_of_columns_with_one_name_hold_together(page, tmp_path):
    """A group that is named as the column of true labels."""
    train, queries = rows("t", 20, ["s"], "source"), rows("q", 20, ["x", "y", "z"], "true")
    path = tmp_path / "page.html"
    path.write_text(render_page(build_page(make_run_data(tmp_path, train, queries))), "utf-8")
    page.goto(path.as_uri())
    selects = page.get_by_role("combobox", name="true")
    selects.nth(0).select_option("a")
    selects.nth(1).select_option("x")
    fitting = sum(row.label == "a" and row.groups["true"] == "x" for row in queries)
    assert page.locator(SHOWN).count() == fitting > 0
    assert page.evaluate("location.hash") == "#evidence?true=a&true_=x"


def test_a_row_of_the_errors_opens_by_keyboard(page):
    summary = page.locator(f"{ERRORS} summary").first
    evidence = page.locator(f"{ERRORS} details").first.get_by_text("Most harmful", exact=True)
    assert not evidence.is_visible()
    page.locator(f"{ERRORS} th").last.get_by_role("button").focus()
    page.keyboard.press("Tab")
    assert summary.evaluate("e => e === document.activeElement")
    page.keyboard.press("Enter")
    assert evidence.is_visible()
    page.keyboard.press("Space")
    assert not evidence.is_visible()


def test_an_address_opens_the_folded_part_that_it_points_into(page, page_file):
    page.goto(page_file.as_uri() + "#quality-outliers")
    assert page.locator("#quality-outliers[open]").count() == 1
    assert page.locator("details[open]").count() == 1
    findings = page.locator("details[data-finding]")
    assert findings.count() > 0
    page.get_by_role("navigation").get_by_role("link", name="Data quality").click()
    assert all(fold.get_attribute("open") is not None for fold in findings.all())
    findings.first.evaluate("e => { e.open = false }")
    page.get_by_role("navigation").get_by_role("link", name="Data quality").click()
    assert findings.first.get_attribute("open") is not None, "again, by the same address"
    for address in ("#%", "#nowhere", "#", "#__proto__"):
        page.goto(page_file.as_uri() + address)
    assert page.log_lines == []


def test_hostile_values_in_every_field_stay_texts(page, hostile_file):
    page.goto(hostile_file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    page.locator("a[href^='#evidence?cause=']", has_text="<img").click()
    wait_for_count(page, SHOWN, 1)
    for section, fitting in (("#evidence?true=", SHOWN), ("#suspects?given=", FITTING)):
        link = page.locator(f"a[href^='{section}']").first
        link.click()
        wait_for_count(page, fitting, int(link.inner_text()))
    assert page.evaluate("window.hit") is None
    assert page.locator("img, script:not([type='application/json'])").count() == 1
    for width in (1280, 320):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.log_lines == []
    assert all(address.startswith("file:") for address in page.fetched_urls)


def test_without_scripts_every_row_is_there_and_the_page_says_so(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(page_file.as_uri())
    assert opened.locator("noscript p").is_visible()
    shown = opened.locator("table[data-export] tbody tr")
    assert sum(row.is_visible() for row in shown.all()) == 60
    opened.locator(f"{ERRORS} summary").first.click()
    assert (
        opened.locator(f"{ERRORS} details")
        .first.get_by_text("Most harmful", exact=True)
        .is_visible()
    )
    context.close()
