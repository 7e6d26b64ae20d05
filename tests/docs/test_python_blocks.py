"""Every Python block of the documentation runs, and prints what the page shows.

The blocks of a page run in their order and share a namespace, in a folder with a model, tables and
two stores of tiny studies where the pages expect them.
"""

import contextlib
import doctest
import io
import types
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.docs.blocks import Block, list_blocks
from tests.docs.study_folder import make_study_folder

NOT_RUN = {
    "docs/notebooks/": "written from notebooks, which tests run on the example itself",
    "docs/guides/recording.md": "the Trainer needs accelerate; tests/fastif/unrolled runs it",
}
"""Beginnings of paths of pages whose Python blocks are not run here, each with the reason."""

BLOCKS = [block for block in list_blocks("python") if not block.page.startswith(tuple(NOT_RUN))]
QUESTIONS = "docs/guides/queries.md"
MAY_BE_EMPTY = {"solves", "find_changes"}
"""Words of questions whose answer may have no rows: all solves converged, two runs are alike."""


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory) -> Path:
    return make_study_folder(made, tmp_path_factory.mktemp("docs"))


@pytest.mark.long
@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS}))
def test_blocks_run(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"__name__": "page"}
    for block in BLOCKS:
        if block.page == page:
            printed = _run(block, names)
            if block.output is not None:
                assert printed == block.output, block.place


@pytest.mark.long
def test_queries_have_answers(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"__name__": "page"}
    answers = []
    for block in BLOCKS:
        if block.page != QUESTIONS:
            continue
        _run(block, names)
        if "answer" in names:
            answers.append((block, names.pop("answer")))
    assert len(answers) == 10
    for block, answer in answers:
        assert isinstance(answer, pl.DataFrame), block.place
        assert answer.width >= 3, block.place
        assert len(answer) or any(word in block.code for word in MAY_BE_EMPTY), block.place


def _run(block: Block, names: dict[str, object]) -> str:
    """Run a block with its doctests, and return what it printed."""
    if block.code.startswith(">>>"):
        _check_doctest(doctest.DocTestParser().get_doctest(block.code, names, "", block.place, 0))
        return ""
    before, printed = set(names), io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.code, block.place, "exec", dont_inherit=True), names)
    for name in names.keys() - before:
        for test in _find_doctests(name, names):
            _check_doctest(test)
    return printed.getvalue()


def _check_doctest(test: doctest.DocTest) -> None:
    """Run a doctest; what it assigns stays in its namespace."""
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    doctest.DebugRunner(optionflags=options).run(test, clear_globs=False)


def _find_doctests(name: str, names: dict[str, object]) -> Iterator[doctest.DocTest]:
    value = names[name]
    if isinstance(value, type | types.FunctionType) and value.__module__ == "page":
        yield from doctest.DocTestFinder(recurse=False).find(value, name, globs=dict(names))
