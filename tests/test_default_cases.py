"""The default run: which cases of a parametrised test it has, and that these stay few."""

from collections import Counter

import pytest
from default_cases import mark_other_cases_long

MOST = 40
"""Cases of one function by default; `default_cases` makes the others long."""
MANY = {
    "tests/docs/": "one case for each page, which only reads its text",
    "tests/test_docs.py": "one case for each module, which only reads its text",
    "tests/tasks/study/test_bad_values.py": "each case is another refusal",
    "tests/tasks/study/test_magnitudes.py": "each case is another key of a study",
    "tests/flows/cli/test_bad_input.py": "each case is another refusal",
    "tests/flows/service/test_app.py": "each case is another refusal, in milliseconds",
    "tests/fastif/losses/test_losses_beyond_classes.py": "each case is another loss",
    "tests/fastif/solvers/test_cost.py": "each case is another figure, without a solve",
}
"""Beginnings of the tests with more, each with the reason."""
PRODUCT = """
import pytest

@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("kind", ["a", "b", pytest.param("c", marks=pytest.mark.long)])
def test_product(size, kind): pass

def test_plain(): pass
"""


def collect(folder, text: str, *more: str) -> tuple[int, list[str]]:
    """The exit status of a collection, and the names of the tests of its default run."""

    class Recorder:
        names: list[str]

        def pytest_collection_modifyitems(self, items):
            mark_other_cases_long(items, selected=bool(more))
            self.names = [item.name for item in items if item.get_closest_marker("long") is None]

    recorder = Recorder()
    recorder.names = []
    path = (
        folder / f"test_{folder.name}_{len(list(folder.iterdir()))}.py"
    )  # imported once a process
    path.write_text(text)
    settings = folder / "pytest.ini"
    settings.write_text("[pytest]\n")
    target = str(path) + "".join(more)
    quiet = ["-p", "no:cacheprovider", "-p", "no:terminal", "-W", "ignore"]
    options = ["--collect-only", *quiet, "--import-mode=importlib", "-c", str(settings)]
    status = pytest.main([*options, target], plugins=[recorder])
    return status, recorder.names


def mark(*names: str) -> str:
    line = f"@pytest.mark.default_cases({', '.join(map(repr, names))})\n"
    return PRODUCT.replace("@pytest.mark.parametrize", line + "@pytest.mark.parametrize", 1)


def test_without_the_mark_all_cases_are_of_the_default_run(tmp_path):
    _, names = collect(tmp_path, PRODUCT)
    assert len(names) == 2 * 2 + 1


def test_without_names_each_value_that_is_not_long_has_a_case(tmp_path):
    _, names = collect(tmp_path, mark())
    assert names == ["test_product[a-1]", "test_product[b-2]", "test_plain"]


def test_the_named_cases_are_of_the_default_run(tmp_path):
    _, names = collect(tmp_path, mark("b-1"))
    assert names == ["test_product[b-1]", "test_plain"]


def test_a_name_of_no_case_is_refused(tmp_path):
    status, _ = collect(tmp_path, mark("b-3"))
    assert status == pytest.ExitCode.USAGE_ERROR


def test_of_a_single_selected_case_the_names_hold(tmp_path):
    _, names = collect(tmp_path, mark("b-1"), "::test_product[a-2]")
    assert names == []
    _, names = collect(tmp_path, mark(), "::test_product[a-2]")
    assert names == ["test_product[a-2]"]


def test_no_function_has_many_cases_by_default(request):
    """A product of parameters grows unnoticed; counted over what this run has collected."""
    tests = [item for item in request.session.items if item.get_closest_marker("long") is None]
    cases = Counter(item.nodeid.split("[")[0] for item in tests)
    many = {name: count for name, count in cases.items() if count > MOST}
    assert {name for name in many if not name.startswith(tuple(MANY))} == set()
