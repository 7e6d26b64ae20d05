"""The start of an audit: checked, opened in the store, and its plan written down."""

from fastif import InputError
from storage import StoreError
from storage.atomic import count_free_bytes
from tasks.planning.forecast import forecast_run
from tasks.planning.method_selection import find_earlier_choice
from tasks.planning.open_run import reopen_run, validate_run
from tasks.run.artifact_keys import method_digest
from tasks.run.choices import resolve_choices
from tasks.run.context import RunContext
from tasks.run.selections import METHOD
from tasks.run.spec import RunPlan, list_missing_shards, list_planned_shards, open_store


def start_run(plan: RunPlan) -> RunContext:
    """The context of a run, and its store opened for writing.

    What cannot be computed is refused before anything is written. What was chosen by forecast is
    written down, since the next start would measure other times, and answers must not depend on it.

    Raises:
        InputError, StoreError: as `validate_run`, `open_store`; the disk has no room for what is
            forecast; or the choice that a run began with is lost.
    """
    context = validate_run(plan)
    check_disk(context)
    open_store(context.plan)
    context = resolve_choices(context)
    choice = context.plan.method
    if choice is None:
        return context
    if find_earlier_choice(context) is None:
        _refuse_second_choice(context)
        METHOD.write(context.store, method_digest(context.plan.record), choice)
    if find_earlier_choice(context) != choice:  # another process has chosen at the same moment
        context = reopen_run(plan)
    return context


def check_disk(context: RunContext) -> None:
    """Refuse an audit that the disk has no room for.

    Raises:
        InputError: it has not.
    """
    path = context.plan.store_path
    needed, free = (
        forecast_run(context, list_planned_shards(context.plan)).disk,
        count_free_bytes(path),
    )
    if needed > free:
        raise InputError(
            "[store] path",
            f"room for about {needed / 1e6:,.1f} MB in {path}",
            f"{free / 1e6:,.1f} MB free",
            "Free some space, or put the store on another disk.",
        )


def _refuse_second_choice(context: RunContext) -> None:
    record = context.plan.record
    shards, missing = record.list_shards(), list_missing_shards(context.store, record.run)
    if len(missing) < len(shards):
        raise StoreError(
            f"run {record.run}",
            expected="the method that it began with, under parts/method",
            got=f"none, and {len(shards) - len(missing)} of {len(shards)} shards committed",
            remedy="Put that part back, or remove the run and its tables and begin anew.",
        )
