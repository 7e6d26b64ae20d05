"""The notebooks as pages, by nbconvert: their code and the results that are stored in them."""

import re
from functools import cache, partial
from pathlib import Path

from nbconvert import MarkdownExporter

from tests.house.prose import ROOT

FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = tuple(sorted(FOLDER.glob("*.ipynb")))
RENDERERS = {
    path.with_suffix(".md"): partial(lambda path: render_notebook(path)[0], path)
    for path in NOTEBOOKS
}


@cache
def render_notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its images by the names that the page links."""
    names = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    text, resources = MarkdownExporter().from_filename(str(path), resources=names)
    link = f"\n*This page is a notebook: [{path.name}]({path.name}).*\n"
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"\n(\s*\n){2,}", "\n\n", text).replace("![png]", "![Plot]")
    return f"{text.strip()}\n{link}", resources["outputs"]


def write_images() -> None:
    """Write the images of every notebook."""
    for path in NOTEBOOKS:
        for name, data in render_notebook(path)[1].items():
            image = FOLDER / name
            image.parent.mkdir(exist_ok=True)
            image.write_bytes(data)
