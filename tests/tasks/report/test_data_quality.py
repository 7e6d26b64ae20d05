"""Injected duplicates, leaks, empty texts and groups of failures are found."""

import pytest
import tiny
from audited_runs import audited

from tasks.report.data_quality import assess_data_quality
from tasks.report.duplicates import find_duplicates
from tasks.report.tfidf_space import make_tfidf_space


def test_injected_duplicates_leaks_and_empty_texts_are_found(world):
    rows = tiny.rows_of(world / "train.csv")
    base = {**rows[0], "text": "the very fine film was not a dull plot but great fast and bright"}
    other = next(row["label"] for row in rows if row["label"] != base["label"])
    near = base["text"].replace("fast", "slow")
    rows += [
        base | {"id": "one"},
        base | {"id": "again", "text": base["text"].upper() + "!"},
        base | {"id": "conflict", "label": other},
        base | {"id": "near", "text": near},
        base | {"id": "empty", "text": "?!"},
    ]
    tiny.write_rows(world / "train.csv", rows)
    queries = tiny.rows_of(world / "queries.csv")
    queries += [queries[0] | {"id": "leak", "text": base["text"]}]
    tiny.write_rows(world / "queries.csv", queries)
    data = audited(world)
    space = make_tfidf_space(data)
    duplicates = find_duplicates(data, space)
    place = {name: i for i, name in enumerate(data.train["id"])}
    alike = {int(duplicates.cluster[place[name]]) for name in ("one", "again", "conflict", "near")}
    assert len(alike) == 1
    assert -1 not in alike
    assert duplicates.cluster[place["empty"]] == -1
    assert duplicates.exact >= 2
    assert duplicates.conflicting >= 1
    assert duplicates.groups[0][0]["label"] in tiny.LABELS
    assert "leak" in [row["id"] for row in duplicates.leaks if row["exact"]]
    assert assess_data_quality(data, space).empty == {"training rows": 1, "queries": 0}


@pytest.mark.long
def test_queries_that_fail_together_are_a_group(world):
    """Twenty queries with a common word and wrong labels, against twenty others."""
    queries = tiny.rows_of(world / "queries.csv")
    right = [
        {
            **queries[0],
            "id": f"r{i}",
            "text": f"the {tiny.GOOD[i % 5]} film was very fine",
            "label": "pos",
        }
        for i in range(40)
    ]
    wrong = [
        {
            **queries[0],
            "id": f"w{i}",
            "text": f"is a {tiny.GOOD[i % 5]} actor plot not",
            "label": "neg",
        }
        for i in range(20)
    ]
    tiny.write_rows(world / "queries.csv", right + wrong)
    data = audited(world)
    groups = assess_data_quality(data, make_tfidf_space(data)).groups
    assert sum(row["queries"] for row in groups) == 60
    worst = groups[0]
    assert "actor" in worst["name"]
    assert worst["accuracy"] < 0.5
