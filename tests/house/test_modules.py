"""The page of modules is that of the tree."""

from tests.house.figures import list_modules, summarize
from tests.house.modules import PAGE, render_page


def test_the_page_of_modules_is_that_of_the_tree():
    assert PAGE.read_text() == render_page(), "run: python -m tests.house write"


def test_every_module_says_what_it_holds():
    silent = [name for name, path in list_modules() if not summarize(path)]
    assert silent == []
