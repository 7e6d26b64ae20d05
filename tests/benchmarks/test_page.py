"""Pages of docs/results against the kept results, from which they are written."""

import re
from importlib import import_module

import pytest

from benchmarks.page import INDEX, PAGES, RESULTS, ResultPage, read_result, write_pages

MODULES = {
    "answering": "nightly.answering",
    "bisect": "bisect.report",
    "budget": "budget",
    "bulk": "bulk.report",
    "bulk-against": "bulk.against_report",
    "bulk-gpu": "bulk.gpu_report",
    "bulk-night": "bulk.night_report",
    "bulk-profile": "bulk.profile_report",
    "bulk-scale": "bulk.scale_report",
    "command-start": "command_start",
    "decoder-cost": "decoders.cost_report",
    "decoders": "decoders.report",
    "engines": "nightly.engines",
    "faults": "nightly.faults",
    "first-day": "first_day.report",
    "fidelity": "fidelity.report",
    "flips": "flips.report",
    "images": "images.report",
    "label-error-count": "mislabels.coverage_page",
    "label-error-scale": "mislabels.scale_page",
    "label-noise-grid": "mislabels.noise_grid_page",
    "lookup": "lookup.report",
    "lora": "lora.report",
    "malformed": "malformed.report",
    "measures": "measures.report",
    "mislabels": "mislabels.report",
    "overhead": "nightly.overhead",
    "own-module": "own_module.report",
    "pages": "pages",
    "reproductions": "reproductions",
    "review-loop": "review_loop.report",
    "review-order": "mislabels.review_order_page",
    "second-night": "nightly.second",
    "speed": "report",
    "structure": "structure",
    "targets": "targets.report",
    "wrong-targets": "wrong_targets.report",
    "tokens": "tokens.report",
    "trees": "trees.report",
}
OTHER_RESULTS = {"families"}
"""Results with a page outside docs/results."""
OTHER_PAGES = {"index"}
"""Pages without a result."""


def build_pages(name):
    return import_module(f"benchmarks.{MODULES[name]}").build_pages(read_result(name))


@pytest.mark.parametrize("name", MODULES)
def test_pages_match_the_kept_result(name):
    index = (PAGES / INDEX).read_text("utf-8")
    for page in build_pages(name):
        assert (PAGES / f"{page.name}.md").read_text("utf-8") == page.render()
        assert f"\n{page.index_row()}\n" in index


def test_every_result_has_pages_and_every_page_has_a_result():
    assert {path.stem for path in RESULTS.glob("*.json")} - OTHER_RESULTS == set(MODULES)
    built = {page.name for name in MODULES for page in build_pages(name)}
    assert {path.stem for path in PAGES.glob("*.md")} - OTHER_PAGES == built


def test_pages_have_a_question_an_answer_and_a_folded_method():
    for path in PAGES.glob("reproduce-*.md"):
        text = path.read_text("utf-8")
        assert re.match(
            r"# .+\n\n\*\*Question\.\*\* .+\?\n\n\*\*Answer\.\*\* .*\d.*\.\n\n", text
        ), path
        assert '<details markdown="1"><summary>How this was measured</summary>\n\n' in text


def test_writing_a_page_replaces_its_row_of_the_index_alone(tmp_path):
    page = ResultPage("speed", "Speed", "How fast?", "Fast.", "9 x", ["| a |"], "By hand.")
    other = ResultPage("size", "Size", "How large?", "Small.", "1 MB", [], "By hand.", "Nothing.")
    (tmp_path / INDEX).write_text("# Results\n\n| [Old](speed.md) | Why? | 8 x |\n\nEnd.\n")
    write_pages(tmp_path, [page, other])
    assert (tmp_path / INDEX).read_text() == (
        f"# Results\n\n{page.index_row()}\n\nEnd.\n{other.index_row()}\n"
    )
    assert (tmp_path / "speed.md").read_text().count("<details") == 1
    assert (tmp_path / "size.md").read_text().count("<details") == 2
