"""docs/results.md is made from the results that are kept: each can be read, and says the same."""

from importlib import import_module

import pytest

from benchmarks.page import PAGE, RESULTS, markers, read_result

MODULES = {
    "answering": "nightly.answering",
    "bulk": "bulk.report",
    "bulk-against": "bulk.against_report",
    "bulk-night": "bulk.night_report",
    "bulk-profile": "bulk.profile_report",
    "bulk-scale": "bulk.scale_report",
    "engines": "nightly.engines",
    "faults": "nightly.faults",
    "fidelity": "fidelity.report",
    "mislabels": "mislabels.report",
    "overhead": "nightly.overhead",
    "pages": "pages",
    "reproductions": "reproductions",
    "second-night": "nightly.second",
    "speed": "report",
}
OTHER_PAGES = {"families"}


@pytest.mark.parametrize("name", MODULES)
def test_a_section_is_what_its_result_says(name):
    section = import_module(f"benchmarks.{MODULES[name]}").section(read_result(name))
    start, end = markers(name)
    _, _, rest = PAGE.read_text("utf-8").partition(f"{start}\n")
    assert rest.partition(end)[0] == section


def test_every_result_has_a_section():
    assert {path.stem for path in RESULTS.glob("*.json")} - OTHER_PAGES == set(MODULES)
