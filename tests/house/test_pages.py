"""Generated pages are those of the code."""

import pytest

from tests.house.pages import PAGES


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_is_what_the_code_says(path):
    assert path.read_text("utf-8") == PAGES[path](), "run: python -m tests.house write"
