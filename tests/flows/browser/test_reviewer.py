"""The reviewer of the benchmark decides in the page as a person would, and exports it."""

import csv

import tiny
from review_steps import list_rows

from benchmarks.review_loop.reviewer import review_page


def test_decisions_are_the_right_labels_in_the_order_of_the_page(
    browser, page, page_file, tmp_path
):
    rows = list_rows(page)
    rights = {row["id"]: tiny.LABELS[place % 2] for place, row in enumerate(rows)}
    out = tmp_path / "review.csv"
    labels = tuple(tiny.LABELS)
    decisions = review_page(browser, page_file, rights, 7, out, labels)
    assert [(each.id, each.right_label) for each in decisions] == list(rights.items())[:7]
    for each, row in zip(decisions, rows, strict=False):
        assert (each.key == "k") == (row["label"] == each.right_label)
    exported = list(csv.DictReader(out.read_text("utf-8").splitlines()))
    assert {row["id"]: row["right_label"] for row in exported} == dict(list(rights.items())[:7])


def test_a_page_with_fewer_rows_is_reviewed_to_its_end(browser, page, page_file, tmp_path):
    rights = {row["id"]: row["suggested"] for row in list_rows(page)}
    labels = tuple(tiny.LABELS)
    decisions = review_page(browser, page_file, rights, 500, tmp_path / "review.csv", labels)
    assert [each.id for each in decisions] == list(rights)
