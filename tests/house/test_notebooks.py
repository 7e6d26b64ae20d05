"""The notebooks run, and print what is stored in them."""

import contextlib
import io
import re

import nbformat
import polars as pl
import pytest

from tests.house.notebooks import FOLDER, NOTEBOOKS, render_notebook

NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")


def read_printed(cell: nbformat.NotebookNode) -> str:
    """What a cell printed when it was stored."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_prints_what_it_shows(path):
    names: dict[str, object] = {}
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type != "code":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), pl.Config():
            exec(cell.source, names)
        shown, got = read_printed(cell), printed.getvalue()
        assert NUMBER.sub("#", got) == NUMBER.sub("#", shown)
        numbers = [float(text) for text in NUMBER.findall(shown)]
        assert [float(text) for text in NUMBER.findall(got)] == pytest.approx(numbers, rel=0.3)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_page_has_its_images(path):
    images = render_notebook(path)[1]
    assert images
    for name, data in images.items():
        assert (FOLDER / name).read_bytes() == data, "run: python -m tests.house write"


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["influence", "mislabels"]
