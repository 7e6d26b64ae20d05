"""Screenshots of the report for the documentation."""

import io

import pytest

from benchmarks.screenshots import (
    MAX_BYTES,
    VIEWS,
    measure_sheet,
    reduce_colours,
    take_screenshot,
    write_screenshots,
)

Image = pytest.importorskip("PIL.Image")


def read_image(path):
    with Image.open(path) as opened:
        return opened.convert("RGB")


def test_each_view_has_its_size_and_scheme(browser, page_file, tmp_path):
    paths = write_screenshots(browser, page_file, tmp_path)
    assert [path.stem for path in paths] == list(VIEWS)
    assert all(path.stat().st_size < MAX_BYTES for path in paths)
    images = {path.stem: read_image(path) for path in paths}
    for name in ("report", "report-phone", "report-dark"):
        view = VIEWS[name]
        assert images[name].size == (view.width * view.scale, view.height * view.scale)
    light, dark = (images[name].getpixel((3, 3)) for name in ("report", "report-dark"))
    assert min(light) > 200
    assert max(dark) < 60


def test_the_printed_view_is_the_area_within_the_margins_of_the_sheet(page):
    page.set_content("<style>@page { size: 600px 300px; margin: 10px 30px 20px 50px; }</style>")
    assert measure_sheet(page) == {"width": 520, "height": 270}
    page.set_content("<p>no rule")
    assert measure_sheet(page) is None


def test_the_printed_view_has_no_tools(browser, page_file):
    screen, printed = (take_screenshot(browser, page_file, VIEWS[name]) for name in (
        "report", "report-print"))  # fmt: skip
    assert Image.open(io.BytesIO(printed)).size != Image.open(io.BytesIO(screen)).size


def test_few_colours_are_kept_exactly():
    plain = Image.new("RGB", (40, 30), (250, 240, 230))
    plain.paste((10, 20, 30), (5, 5, 20, 20))
    file = io.BytesIO()
    plain.save(file, "PNG")
    assert read_image(io.BytesIO(reduce_colours(file.getvalue()))).tobytes() == plain.tobytes()
