"""Cases of a parametrised test that run by default; the others are long."""

from collections import defaultdict
from collections.abc import Sequence

import pytest

MARK = "default_cases"


def mark_other_cases_long(items: Sequence[pytest.Item], *, selected: bool) -> None:
    """Mark all cases long but those that `default_cases` names.

    `default_cases("a", "b")` names them by the ids in brackets. Without a name the cases are
    chosen that give each value of each parameter a test: of a product of parameters, as many as the
    longest has values.

    Args:
        items: The collected tests.
        selected: Whether the command line names single cases, so that others are not collected.

    Raises:
        UsageError: A name is the id of no case.
    """
    for cases in _group_by_function(items).values():
        names = set(cases[0].get_closest_marker(MARK).args)
        ids = {case.callspec.id for case in cases}
        if names - ids and not selected:
            place = cases[0].nodeid.split("[")[0]
            raise pytest.UsageError(f"{place} has no case {sorted(names - ids)}, but {sorted(ids)}")
        quick = [case for case in cases if case.get_closest_marker("long") is None]
        default = names if names else {case.callspec.id for case in _cover_values(quick)}
        for case in quick:
            if case.callspec.id not in default:
                case.add_marker(pytest.mark.long)


def _group_by_function(items: Sequence[pytest.Item]) -> dict[str, list[pytest.Function]]:
    groups = defaultdict(list)
    for item in items:
        if item.get_closest_marker(MARK) and hasattr(item, "callspec"):
            groups[item.nodeid.split("[")[0]].append(item)
    return groups


def _cover_values(cases: Sequence[pytest.Function]) -> list[pytest.Function]:
    """The cases in which each value of each parameter occurs, greedily few."""
    values = {case.callspec.id: set(enumerate(case.callspec._idlist)) for case in cases}
    missing, chosen = set().union(*values.values()), []
    while missing:
        best = max(cases, key=lambda case: len(missing & values[case.callspec.id]))
        missing -= values[best.callspec.id]
        chosen.append(best)
    return chosen
