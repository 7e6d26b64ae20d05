"""Screenshots of the example's report for the documentation: desktop, phone, dark mode, print.

`python -m benchmarks.screenshots` trains and audits the built-in example and searches for wrong
labels, unless its store has all of it, builds the report, and writes four PNG files into
docs/images. It needs the extra `browser` and Chromium.
"""

import argparse
import io
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from benchmarks.review_loop.reviewer import open_browser

STUDY, IMAGES = Path("examples/nli/study.toml"), Path("docs/images")
MAX_BYTES = 300_000
COLOURS = 256
PIXELS_PER_POINT = 96 / 72
MARGINS = """() => {
  const rules = [...document.styleSheets].flatMap(sheet => [...sheet.cssRules]);
  const page = rules.find(rule => rule instanceof CSSPageRule);
  if (!page) return null;
  const probe = document.createElement("div");
  probe.style.cssText = `position: absolute; padding: ${page.style.margin || "0"}`;
  document.body.append(probe);
  const size = [probe.offsetWidth, probe.offsetHeight];
  probe.remove();
  return size;
}"""
"""Script that returns the margins of `@page` in CSS pixels, left and right, top and bottom."""


@dataclass(frozen=True)
class View:
    """First screen of a page in one kind of reading.

    Attributes:
        width: Width of the window in CSS pixels.
        height: Height of the window in CSS pixels.
        scale: Pixels of the image for a CSS pixel.
        scheme: Colour scheme that the reader prefers.
        media: Medium of the style sheet.
    """

    width: int
    height: int
    scale: float = 1.0
    scheme: Literal["light", "dark"] = "light"
    media: Literal["screen", "print"] = "screen"
    options: Mapping[str, Any] = field(default_factory=dict)


VIEWS = {
    "report": View(1280, 800),
    "report-phone": View(390, 844, scale=2, options={"is_mobile": True, "has_touch": True}),
    "report-dark": View(1280, 800, scheme="dark"),
    "report-print": View(1032, 703, media="print"),  # A4 across without its margins, at 96 dpi
}
"""Views by the name of their file."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.screenshots")
    parser.add_argument("--study", type=Path, default=STUDY, help="another study, or a copy")
    parser.add_argument("--page", type=Path, help="an existing report page, instead of a study")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the images")
    options = parser.parse_args()
    with TemporaryDirectory() as folder, open_browser() as browser:
        page = options.page or build_report_page(options.study, Path(folder) / "report.html")
        for path in write_screenshots(browser, page, options.out):
            print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def build_report_page(study: Path, out: Path) -> Path:
    """Build the report of a study by the product's commands; finished work is not repeated."""
    for command in (["train"], ["audit"], ["mislabels"], ["report", "--out", f"{out}", "--study"]):
        line = [sys.executable, "-m", "flows.cli", *command, f"{study}"]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return out


def write_screenshots(browser: Any, page: Path, folder: Path) -> list[Path]:
    """Write the first screen of a page in all views, and return the files.

    Args:
        browser: Chromium of playwright.
        page: Report page.
        folder: Folder of the images.

    Raises:
        SystemExit: An image is larger than 300 kB.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, view in VIEWS.items():
        image = reduce_colours(take_screenshot(browser, page, view))
        if len(image) > MAX_BYTES:
            raise SystemExit(f"{name}: at most {MAX_BYTES:,} bytes expected, got {len(image):,}.")
        paths.append(folder / f"{name}.png")
        paths[-1].write_bytes(image)
    return paths


def take_screenshot(browser: Any, page: Path, view: View) -> bytes:
    """Return the first screen of a page as PNG.

    In print it is the top of the page in the printed style, as wide and high as the first sheet
    without its margins: those of `@page`, else of the view.
    """
    context = browser.new_context(
        viewport={"width": view.width, "height": view.height},
        device_scale_factor=view.scale,
        color_scheme=view.scheme,
        reduced_motion="reduce",
        **view.options,
    )
    opened = context.new_page()
    opened.goto(page.resolve().as_uri())
    if view.media == "print" and (size := measure_sheet(opened)):
        opened.set_viewport_size(size)
    opened.emulate_media(media=view.media)
    image = opened.screenshot(animations="disabled")
    context.close()
    return image


def measure_sheet(opened: Any) -> dict[str, int] | None:
    """Return the printable area of the first sheet in CSS pixels; None without `@page`."""
    margins = opened.evaluate(MARGINS)
    box = re.search(rb"/MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]", opened.pdf(prefer_css_page_size=True))
    if margins is None or box is None:
        return None
    width, height = (float(points) * PIXELS_PER_POINT for points in box.groups())
    return {"width": round(width - margins[0]), "height": round(height - margins[1])}


def reduce_colours(image: bytes) -> bytes:
    """Return a PNG with a palette of at most 256 colours; unchanged without Pillow."""
    if not find_spec("PIL"):
        return image
    from PIL import Image

    kept = io.BytesIO()
    with Image.open(io.BytesIO(image)) as opened:
        opened.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
            kept, "PNG", optimize=True
        )
    return kept.getvalue()


if __name__ == "__main__":
    main()
