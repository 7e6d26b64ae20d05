"""Every module says what it holds, for the page of modules."""

from tests.house.figures import list_modules, summarize


def test_every_module_says_what_it_holds():
    silent = [name for name, path in list_modules() if not summarize(path)]
    assert silent == []
