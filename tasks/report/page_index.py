"""Index of the report pages of several folders, as one HTML page without a script."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tasks.report.page_description import PageDescription, read_description
from tasks.report.page_files import is_history, list_report_files, read_report_file

HEAD_BYTES = 16384
"""Length of the start of a page that has its description, which precedes the style."""


@dataclass(frozen=True)
class ListedPage:
    """Page of the index.

    Attributes:
        address: Address relative to the index.
        name: Name of the file without its suffix.
        description: Description in the page's head; None for one of an earlier version.
        others: Names of the formats and addresses of the report in other formats.
    """

    address: str
    name: str
    description: PageDescription | None
    others: tuple[tuple[str, str], ...]

    @property
    def finished(self) -> str:
        """Time of the end of the run, to the minute; empty if unknown."""
        return self.description.finished[:16] if self.description else ""


@dataclass(frozen=True)
class PageFolder:
    """Pages of one folder.

    Attributes:
        folder: The folder.
        pages: Pages of runs and of detections, the newest first.
        history: Address of the page of the last runs; empty without one.
    """

    folder: Path
    pages: list[ListedPage]
    history: str

    @property
    def study(self) -> str:
        """Name of the study of the newest page; empty if no page says it."""
        return next((p.description.study for p in self.pages if p.description), "")


def list_pages(key: str, folder: Path) -> PageFolder:
    """List the pages of a folder.

    Args:
        key: Key of the folder in addresses.
        folder: Folder of reports.
    """
    names, pages, history = list_report_files(folder), [], ""
    for name in names:
        start = read_report_file(folder, name, HEAD_BYTES) if name.endswith(".html") else None
        if start is None:
            continue
        if is_history(start):
            history = _make_address(key, name)
            continue
        stem = name.removesuffix(".html")
        others = [(word, f"{stem}.{kind}") for word, kind in (("JSON", "json"), ("Markdown", "md"))]
        formats = tuple((word, _make_address(key, o)) for word, o in others if o in names)
        description = read_description(start.decode("utf-8", "replace"))
        pages.append(ListedPage(_make_address(key, name), stem, description, formats))
    pages.sort(key=lambda page: (page.finished, page.name), reverse=True)
    return PageFolder(folder, pages, history)


def render_index(folders: Mapping[str, Path]) -> str:
    """Render the index of the pages of some folders; folders without a page are left out.

    Args:
        folders: Folders of reports by their keys in addresses.
    """
    listed = [list_pages(key, folder) for key, folder in folders.items()]
    listed = [group for group in listed if group.pages or group.history]
    listed.sort(key=lambda group: (group.study, str(group.folder)))
    style = (files("tasks.report") / "templates" / "page.css").read_text("utf-8")
    template = _make_environment().get_template("index.html.jinja")
    return template.render(folders=listed, style=Markup(style), made=datetime.now(UTC))


def _make_address(key: str, name: str) -> str:
    return f"{quote(key)}/{quote(name)}"


@cache
def _make_environment() -> Environment:
    return Environment(
        loader=PackageLoader("tasks.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
