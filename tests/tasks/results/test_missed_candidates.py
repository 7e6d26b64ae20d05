"""Recall in a summary: over all queries, and warnings for groups with lower recall."""

from tasks.results.missed_candidates import describe_recall, warn_low_recall

OLD = [
    {"at": 10, "queries": 8, "share": 0.9, "low": 0.6, "high": 1.0},
    {"at": 100, "queries": 8, "share": 0.7, "low": 0.4, "high": 0.9},
]
"""Entries in the format of older versions, without labels."""

WHOLE = [record | {"method": None, "label": None, "slice": None, "rest": None} for record in OLD]


def _make_entry(label, share, rest, chance, at=10):
    numbers = {"at": at, "queries": 4, "share": share, "low": 0.1, "high": 0.9}
    return numbers | {"label": label, "slice": None, "rest": rest, "chance": chance}


def test_records_of_older_runs_are_read():
    assert describe_recall(OLD) == describe_recall(WHOLE)
    assert "0.70 of the top 100 (0.40 - 0.90), 8 queries" in describe_recall(OLD)
    assert list(warn_low_recall(OLD)) == list(warn_low_recall([])) == []


def test_only_significantly_worse_groups_are_named():
    by_luck = _make_entry("a", 0.2, 0.9, chance=0.2)
    hardly = _make_entry("b", 0.9, 0.95, chance=0.01)
    better = _make_entry("c", 1.0, 0.5, chance=1.0)
    alone = _make_entry("d", 0.6, None, chance=None)
    assert not list(warn_low_recall([*WHOLE, by_luck, hardly, better, alone]))
    worse, again = (
        _make_entry("e", 0.2, 0.9, chance=0.02),
        _make_entry("e", 0.1, 0.8, chance=0.01, at=100),
    )
    (alarm,) = warn_low_recall([*WHOLE, by_luck, worse, again])
    assert alarm.startswith("Recall is lower for label e: 0.20 of the top 10")
    assert describe_recall([*WHOLE, worse]) == describe_recall(WHOLE)
    (slices,) = warn_low_recall([*WHOLE, worse | {"label": None, "slice": "hans"}])
    assert "slice hans" in slices


def test_low_recall_is_reported_once():
    (alarm,) = warn_low_recall([WHOLE[0] | {"share": 0.3}])
    assert "30% of the 10 most influential" in alarm


def test_each_method_of_a_union_is_reported_and_none_yields_a_warning():
    by_method = [WHOLE[0] | {"method": "knn", "share": 0.1}, WHOLE[1] | {"method": "knn"}]
    evidence = describe_recall([*WHOLE, *by_method])
    assert evidence == f"{describe_recall(WHOLE)}; knn alone 0.10 and 0.70"
    worse = _make_entry("e", 0.2, 0.9, chance=0.02) | {"method": "knn"}
    assert not list(warn_low_recall([*WHOLE, *by_method, worse]))
