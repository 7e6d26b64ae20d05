"""The pages of the documentation that are generated, each with what renders it."""

from collections.abc import Callable
from pathlib import Path

from tests.house import command_line, configuration, modules, notebooks, tables

PAGES: dict[Path, Callable[[], str]] = {
    module.PAGE: module.render_page for module in (modules, command_line, configuration, tables)
} | notebooks.RENDERERS


def write_pages() -> None:
    """Write every generated page."""
    for path, render in PAGES.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(), "utf-8")
    notebooks.write_images()
