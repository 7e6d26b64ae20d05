"""What a summary says of the recall: the whole, and the groups that are served worse."""

from tasks.results.missed_candidates import recall_alarms, recall_evidence

OLD = [
    {"at": 10, "queries": 8, "share": 0.9, "low": 0.6, "high": 1.0},
    {"at": 100, "queries": 8, "share": 0.7, "low": 0.4, "high": 0.9},
]
"""As stored before there were labels in it."""

WHOLE = [one | {"method": None, "label": None, "slice": None, "rest": None} for one in OLD]


def _of(label, share, rest, chance, at=10):
    numbers = {"at": at, "queries": 4, "share": share, "low": 0.1, "high": 0.9}
    return numbers | {"label": label, "slice": None, "rest": rest, "chance": chance}


def test_what_older_runs_stored_is_read():
    assert recall_evidence(OLD) == recall_evidence(WHOLE)
    assert "0.70 of the top 100 (0.40 - 0.90), 8 queries" in recall_evidence(OLD)
    assert list(recall_alarms(OLD)) == list(recall_alarms([])) == []


def test_only_what_is_clearly_worse_is_named():
    by_luck = _of("a", 0.2, 0.9, chance=0.2)
    hardly = _of("b", 0.9, 0.95, chance=0.01)
    better = _of("c", 1.0, 0.5, chance=1.0)
    alone = _of("d", 0.6, None, chance=None)
    assert not list(recall_alarms([*WHOLE, by_luck, hardly, better, alone]))
    worse, again = _of("e", 0.2, 0.9, chance=0.02), _of("e", 0.1, 0.8, chance=0.01, at=100)
    (alarm,) = recall_alarms([*WHOLE, by_luck, worse, again])
    assert alarm.startswith("The candidates hold less for label e: 0.20 of the top 10")
    assert recall_evidence([*WHOLE, worse]) == recall_evidence(WHOLE)
    (slices,) = recall_alarms([*WHOLE, worse | {"label": None, "slice": "hans"}])
    assert "slice hans" in slices


def test_little_is_said_once_for_all():
    (alarm,) = recall_alarms([WHOLE[0] | {"share": 0.3}])
    assert "30% of the 10 most influential" in alarm


def test_each_method_of_a_union_is_told_and_none_of_them_is_an_alarm():
    by_method = [WHOLE[0] | {"method": "knn", "share": 0.1}, WHOLE[1] | {"method": "knn"}]
    told = recall_evidence([*WHOLE, *by_method])
    assert told == f"{recall_evidence(WHOLE)}; knn alone 0.10 and 0.70"
    worse = _of("e", 0.2, 0.9, chance=0.02) | {"method": "knn"}
    assert not list(recall_alarms([*WHOLE, *by_method, worse]))
