"""Start of an audit: validation, opening of the store, and storage of the selected method."""

from fastif import InputError
from storage import Store, StoreError
from storage.atomic import count_free_bytes
from tasks.planning.forecast import forecast_run
from tasks.planning.method_selection import find_earlier_choice
from tasks.planning.open_run import reopen_run, settle_plan, validate_run
from tasks.run.budget_selection import run_settings_digest
from tasks.run.choices import resolve_choices
from tasks.run.context import RunContext
from tasks.run.method_choice import method_digest
from tasks.run.rows_selection import rows_digest
from tasks.run.selections import BUDGET, METHOD, ROWS
from tasks.run.spec import RunPlan, list_missing_shards, list_planned_shards, open_store


def start_run(plan: RunPlan) -> RunContext:
    """Validate a run, open its store for writing and return its context.

    A method selected by forecast is stored, since times measured at the next start would differ and
    results must not depend on them.

    Raises:
        InputError, StoreError: The run is invalid (see `validate_run`, `open_store`), the
            forecast does not fit on the disk, or the method stored at the start of the run is
            lost.
    """
    context = validate_run(plan)
    check_disk(context)
    _write_selection(open_store(context.plan), context.plan)
    context = resolve_choices(context)
    choice = context.plan.method
    if choice is None:
        return context
    if find_earlier_choice(context) is None:
        _refuse_second_choice(context)
        METHOD.write(context.store, method_digest(context.plan.record), choice)
    if find_earlier_choice(context) != choice:  # another process selected one concurrently
        context = reopen_run(settle_plan(plan))
    return context


def _write_selection(store: Store, plan: RunPlan) -> None:
    """Store selected settings for later runs of the study, and for other processes of this run.

    A selection that exists is kept. If another process made a different one concurrently, this run
    has its own name and settings.
    """
    record, selection = plan.record, plan.selection
    if plan.rows is not None and plan.rows.rows is not None:
        ROWS.write(store, rows_digest(record.parts), plan.rows)
    if selection is not None:
        BUDGET.write(store, run_settings_digest(record.fingerprint), selection)
        BUDGET.write(store, plan.budget_key, selection)


def check_disk(context: RunContext) -> None:
    """Check that the forecast size of an audit fits on the disk.

    Raises:
        InputError: It does not fit.
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
            "Free some space, or move the store to another disk.",
        )


def _refuse_second_choice(context: RunContext) -> None:
    record = context.plan.record
    shards, missing = record.list_shards(), list_missing_shards(context.store, record.run)
    if len(missing) < len(shards):
        raise StoreError(
            f"run {record.run}",
            expected="the candidate method of its first start, in the folder parts/method",
            got=f"none, and {len(shards) - len(missing)} of {len(shards)} shards committed",
            remedy="Restore it from a backup, or remove the run and start it again.",
        )
