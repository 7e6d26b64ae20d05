"""Names of runs as they may be typed: in full, shortened, `latest` or `previous`."""

from fastif import InputError
from storage import Store, StoreError

LATEST, PREVIOUS = "latest", "previous"
MIN_PREFIX = 2
"""Least number of characters of a shortened name."""


def resolve_run_name(store: Store, name: str) -> str:
    """Return the full name of a run.

    Args:
        store: Store with the runs.
        name: Name of a run, an unambiguous beginning of it or of the hash at its end, `latest` (the
            newest finished run), or `previous` (the finished run before it).

    Raises:
        StoreError: No run or several runs have such a name, as where one is called `latest`.
    """
    names = [run for runs in store.list_names() for run in runs]  # also of damaged runs
    if name in (LATEST, PREVIOUS):
        recent = _find_recent(store, name)
        if name in names and name != recent:
            raise StoreError(
                f"run {name}",
                expected="one run",
                got=f"the run of that name, and {recent}",
                remedy=f"Write {recent}, or {name[:-1]} for the run of that name.",
            )
        return recent
    if name in names:
        return name
    matches = [each for each in names if _is_short_for(name, each)]
    if len(matches) > 1:
        raise StoreError(
            f"run {name}",
            expected="the beginning of one run's name, or of the hash at its end",
            got=f"that of {len(matches)}: {', '.join(matches)}",
            remedy="Add a character, or use the whole name.",
        )
    if matches:
        return matches[0]
    return store.read_record(name).run  # refused, with the names of all runs


def check_new_run_name(name: str) -> None:
    """Refuse a name that stands for other runs.

    Raises:
        InputError: The name is one of them.
    """
    if name in (LATEST, PREVIOUS):
        stands_for = "the newest finished run" if name == LATEST else "the run before the latest"
        raise InputError("--run", "a name of its own", f"{name}, {stands_for}", "Write another.")


def _is_short_for(short: str, name: str) -> bool:
    digest = name.rpartition("-")[2]
    return len(short) >= MIN_PREFIX and (name.startswith(short) or digest.startswith(short))


def _find_recent(store: Store, name: str) -> str:
    """Name of the newest finished run, or of the finished run before it."""
    runs = store.list_runs()
    finished = [status.record.run for status in runs if status.was_finished]
    position = 0 if name == LATEST else 1
    if position < len(finished):
        return finished[position]
    expected = "a finished run" if name == LATEST else "a finished run before the latest"
    raise StoreError(
        f"{store.layout.root}, run {name}",
        expected=expected,
        got=f"{len(finished)} finished of {len(runs)} runs",
        remedy="See `fastif runs`; `fastif audit` starts or continues one.",
    )
