"""The map in a real browser: texts under the pointer, a lasso that filters, both colour schemes."""

import base64
import json
import math

import numpy as np
import pytest

from tasks.results.palette import CATEGORIES, NEUTRAL

SUSPECTS = "table[data-export]"
MARGIN = 14


def locate_points(page):
    """Places of the points on the canvas by training row, computed from the data in the page."""
    content = json.loads(page.locator("#map-data").text_content())
    points, rows = (
        np.frombuffer(base64.b64decode(content[key]), kind)
        for key, kind in (("points", "<u2"), ("rows", "<u4"))
    )
    x, y = points.reshape(-1, 2).T.astype(float)
    width, height = page.evaluate(
        "(c => [c.clientWidth, c.clientHeight])(document.getElementById('map-canvas'))"
    )
    scale = min((width - 2 * MARGIN) / max(1, x.max()), (height - 2 * MARGIN) / max(1, y.max()))
    left, below = (width - scale * x.max()) / 2, (height - scale * y.max()) / 2
    places = np.stack([left + scale * x, height - below - scale * y], 1)
    return dict(zip(rows.tolist(), places.tolist(), strict=True))


def open_map(page):
    """Scroll the map into view and return the corner of its canvas."""
    page.evaluate("document.getElementById('map-canvas').scrollIntoView({block: 'center'})")
    box = page.locator("#map-canvas").bounding_box()
    return box["x"] + 1, box["y"] + 1  # its border


def list_circle(centre, radius):
    angles = [2 * math.pi * i / 24 for i in range(25)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def draw_lasso(page, polygon):
    left, top = open_map(page)
    page.mouse.move(left + polygon[0][0], top + polygon[0][1])
    page.mouse.down()
    for x, y in polygon[1:]:
        page.mouse.move(left + x, top + y)
    page.mouse.up()


def list_visible(page):
    """Training rows of the suspicious labels that no filter hides."""
    return set(page.eval_on_selector_all(
        f"{SUSPECTS} tbody tr:not(.filtered)", "rows => rows.map(row => Number(row.dataset.train))"
    ))  # fmt: skip


def select_half(page):
    """Select rows around the middle of the map; return those that are in it, and that may be."""
    places = locate_points(page)
    centre = np.median(list(places.values()), axis=0)
    distances = {row: math.dist(centre, place) for row, place in places.items()}
    radius = float(np.median(list(distances.values()))) + 0.5
    draw_lasso(page, list_circle(centre, radius))
    sure = radius * math.cos(math.pi / 24) - 1.5  # the polygon is within the circle
    return tuple({row for row, d in distances.items() if d < r} for r in (sure, radius + 1))


def test_a_lasso_filters_the_tables_and_is_cleared(page):
    every = list_visible(page)
    inside, at_most = select_half(page)
    status = page.locator("#map-status").inner_text()
    count = int(status.split(" of ")[0])
    assert len(inside) <= count <= len(at_most)
    visible = list_visible(page)
    assert inside & every <= visible <= at_most & every
    assert 0 < len(visible) < len(every)
    assert f"{count} of 60 rows in the region; the tables show" in status
    notes = page.locator(".map-note:visible")
    assert f"{len(visible)} of {len(every)} rows lie in the region on the map." in " ".join(
        notes.all_inner_texts()
    )
    page.get_by_role("button", name="Clear the region").click()
    assert list_visible(page) == every
    assert notes.count() == 0
    assert page.locator("#map-status").inner_text() == ""
    assert page.get_by_role("button", name="Clear the region").is_disabled()


def test_a_region_and_other_filters_hold_together(page):
    select_half(page)
    selected = list_visible(page)
    tools = page.locator(f".scroll:has({SUSPECTS})").locator("xpath=preceding-sibling::div[1]")
    tools.get_by_label("given").select_option("pos")
    both = list_visible(page)
    assert both < selected
    page.get_by_role("button", name="Show all rows").first.click()
    assert both < list_visible(page)
    labels = page.locator(f"{SUSPECTS} tbody tr:not(.filtered) td:nth-child(4)").all_inner_texts()
    assert set(labels) == {"pos"}, "the other filter stays"


def test_a_region_without_rows_selects_nothing(page):
    every = list_visible(page)
    draw_lasso(page, [(1, 1), (10, 1), (10, 10), (1, 10)])
    assert page.locator("#map-status").inner_text() == "no row lies in this region"
    assert list_visible(page) == every
    draw_lasso(page, [(100, 100), (101, 101)])  # a click
    assert list_visible(page) == every


def test_the_text_under_the_pointer_is_shown_and_inert(page, page_file):
    places = locate_points(page)
    left, top = open_map(page)
    page.mouse.move(left + places[0][0], top + places[0][1])
    tip = page.locator("#map-tip")
    tip.wait_for(state="visible")
    rows = {
        json.loads(text)["id"]: json.loads(text)["text"]
        for text in page.eval_on_selector_all(
            f"{SUSPECTS} tbody tr", "rows => rows.map(row => row.dataset.row)"
        )
    }
    id_, label, *_ = tip.locator("bdi").all_inner_texts()
    assert label in ("neg", "pos")
    assert "nats" in tip.inner_text()
    text = tip.locator(".map-text").text_content()
    assert text[:20] == rows[id_].replace("\u202e", "⟨U+202E⟩")[:20]
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    hits = 0
    for x, y in places.values():
        page.mouse.move(left + x, top + y)
        hits += "<script>" in tip.text_content()
    assert hits, "the hostile text was under the pointer"
    assert page.evaluate("window.hit") is None
    assert tip.locator("script, img").count() == 0
    assert page.log_lines == []
    assert page.fetched_urls == [page_file.as_uri()]


def read_pixels(page):
    """Colours on the canvas, with the number of pixels of each."""
    return page.evaluate("""() => {
      const canvas = document.getElementById("map-canvas"), counts = {};
      const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] < 200) continue;
        const name = `${data[i]},${data[i + 1]},${data[i + 2]}`;
        counts[name] = (counts[name] ?? 0) + 1;
      }
      return counts;
    }""")


def parse_colour(colour):
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def has_colour(pixels, colour):
    wanted = parse_colour(colour)
    return any(
        max(abs(int(a) - b) for a, b in zip(name.split(","), wanted, strict=True)) <= 3
        for name in pixels
    )


def wait_for_colour(page, colour):
    """Wait until the map has been drawn with a colour; return the pixels."""
    for _ in range(50):
        pixels = read_pixels(page)
        if has_colour(pixels, colour):
            return pixels
        page.wait_for_timeout(100)
    raise AssertionError(colour)


def test_points_and_charts_follow_the_colour_scheme(page):
    page.get_by_label("colour").select_option("label")
    for scheme in ("light", "dark", "light"):
        page.emulate_media(color_scheme=scheme)
        pixels = wait_for_colour(page, getattr(CATEGORIES[0], scheme))
        assert has_colour(pixels, getattr(CATEGORIES[1], scheme))
        other = "dark" if scheme == "light" else "light"
        assert not has_colour(pixels, getattr(CATEGORIES[0], other))
        strokes = page.locator(f'svg [stroke="{NEUTRAL.variable}"]').evaluate_all(
            "marks => marks.map(mark => getComputedStyle(mark).stroke)"
        )
        red, green, blue = parse_colour(getattr(NEUTRAL, scheme))
        assert set(strokes) == {f"rgb({red}, {green}, {blue})"}


def test_every_colour_has_a_legend(page):
    legend, select = page.locator("#map-legend"), page.get_by_label("colour")
    select.select_option("label")
    labels = legend.locator("li").all_inner_texts()
    assert sorted(text.split(" (")[0].strip() for text in labels) == ["neg", "pos"]
    assert sum(int(text.split("(")[1].rstrip(")")) for text in labels) == 60
    select.select_option("effect")
    assert "nats or less" in legend.inner_text()
    select.select_option("strength")
    assert legend.inner_text().split() == ["0", "1"]


@pytest.mark.parametrize(
    "page", [{"viewport": {"width": 390, "height": 844}, "has_touch": True}], indirect=True
)
def test_a_finger_draws_a_lasso_only_when_it_may(page):
    places = locate_points(page)
    left, top = open_map(page)
    every, centre = list_visible(page), np.median(list(places.values()), axis=0)
    polygon = list_circle(centre, 60)
    device = page.context.new_cdp_session(page)

    def drag():
        for i, (x, y) in enumerate(polygon):
            points = [{"x": left + x, "y": top + y}]
            kind = "touchMove" if i else "touchStart"
            device.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        device.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    button = page.get_by_role("button", name="Draw a region")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    left, top = open_map(page)
    drag()
    page.wait_for_function("document.getElementById('map-status').textContent")
    assert list_visible(page) < every
    page.get_by_role("button", name="Clear the region").click()
    button.click()
    left, top = open_map(page)
    drag()
    assert list_visible(page) == every


@pytest.mark.parametrize("page", [{"java_script_enabled": False}], indirect=True)
def test_without_a_script_a_sentence_replaces_the_map(page):
    assert page.get_by_text("Without a script the map is not drawn").is_visible()
    assert not page.locator("#map-figure").is_visible()
