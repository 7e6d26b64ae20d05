"""Names of modules, classes, functions and keys in sentences of the documentation exist."""

import contextlib
import importlib
import re

import pytest

from tests.docs.blocks import FENCE, PAGES, ROOT

OTHER_PROGRAMS = {"docs/comparison.md", "docs/reference/families.md"}
"""Pages with names of other packages."""
OTHERS = {"TimeoutStopSec", "PASSIVE", "Killed"}
"""Words of systemd, OpenMP and the shell."""
PREFIXES = ("PREFECT_", "DASK_", "OMP_", "GOMP_", "HF_", "AWS_", "CUDA_")
OWN_PAGES = sorted({str(page.relative_to(ROOT)) for page in PAGES} - OTHER_PROGRAMS)
CONFIGURATION = ROOT / "docs" / "reference" / "configuration.md"
SOURCES = ("fastif", "storage", "tasks", "flows", "tests", "benchmarks")
NAME = re.compile(r"`((?:fastif|storage|tasks|flows)(?:\.\w+)+)(?:\([^`]*\))?`")


def resolve(name: str) -> object:
    """Return the object of a dotted name; AttributeError if there is none."""
    first, *rest = name.split(".")
    value, path = importlib.import_module(first), first
    for part in rest:
        path += f".{part}"
        if not hasattr(value, part):
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(path)
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_in_sentences_exist(page):
    for name in NAME.findall(FENCE.sub("", page.read_text("utf-8"))):
        resolve(name)


@pytest.fixture(scope="module")
def words() -> set[str]:
    """Words of all modules and of the page of study keys."""
    paths = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    texts = [path.read_text("utf-8") for path in [*paths, CONFIGURATION]]
    return OTHERS.union(*(re.findall(r"\w+", text) for text in texts))


@pytest.mark.parametrize("page", OWN_PAGES)
def test_words_in_backticks_are_known(page, words):
    text = FENCE.sub("", (ROOT / page).read_text("utf-8"))
    quoted = set(re.findall(r"`([A-Za-z_]\w+)(?:\([^`]*\))?`", text)) - words
    assert {word for word in quoted if not word.startswith(PREFIXES)} == set()


@pytest.mark.parametrize("name", ["fastif.Attributors", "tasks.nothing", "storage.Store.closed"])
def test_a_missing_name_is_found(name):
    with pytest.raises(AttributeError):
        resolve(name)
