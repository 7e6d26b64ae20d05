"""A search for wrong labels on the terminal."""

import re

from tasks.mislabels.label_statement import make_label_statement
from tasks.mislabels.merged_annotations import Annotations
from tasks.terminal.label_counts import describe_random_audit
from tasks.terminal.mislabels import render_mislabels_markdown


def make_facts(labels: list[str], **drawn: int) -> dict:
    """Facts of a search without an estimate of wrong labels."""
    sample = {"rows": 19, "wrong": 12, "later": 0, "gone": 0, "skipped": 0, "population": 60}
    return {
        "study": "s", "rows": len(labels), "by_label": {label: {"rows": 1} for label in labels},
        "encoder_saw_labels": False, "skill": 0.5, "reviewed": {"conflicts": 0},
        "recall": {"planted": 0}, "drawn": {**sample, **drawn} if drawn else None,
    }  # fmt: skip


class Search:
    """A search with the facts that its counts need."""

    def __init__(self, known: dict) -> None:
        self.facts = known


def test_the_total_row_never_has_the_name_of_a_label():
    labels = ["all", "(all)", "(added after sampling)", "", " x", "None"]
    search = Search(make_facts(labels))
    statement = make_label_statement(search.facts, Annotations())
    lines = render_mislabels_markdown(search, statement).splitlines()
    cells = (re.fullmatch(r"\| (.*) \| \d+ \|", line) for line in lines)
    names = [match[1] for match in cells if match]
    assert len(names) == len(set(names)) == len(labels) + 1
    assert names[-1] == "(all)"


def test_sampled_rows_without_annotation_are_reported_for_a_small_sample_too():
    assert len(describe_random_audit(make_facts(["a"], skipped=0))) == 1
    words = " ".join(describe_random_audit(make_facts(["a"], skipped=41)))
    assert "too few for an estimate" in words
    assert "41 sampled rows have no agreed annotation" in words
