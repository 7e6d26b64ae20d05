"""The start of an audit: checked, opened in the store, and its plan written down."""

from fastif import InputError
from storage import Store, StoreError, free_bytes
from tasks.planning.forecast import forecast
from tasks.planning.method_selection import chosen_before
from tasks.planning.open_run import checked_job, reopen_job
from tasks.run.artifact_keys import method_digest
from tasks.run.context import Job
from tasks.run.method_selection import write_method
from tasks.run.spec import (
    Plan,
    missing_shards,
    open_store,
    planned_shards,
)


def begin(plan: Plan) -> tuple[Job, Store]:
    """The job of a run and the store, opened for it.

    What cannot be computed is refused before anything is written. What was chosen by forecast is
    written down, since the next start would measure other times, and answers must not depend on it.

    Raises:
        InputError, StoreError: as `checked_job`, `open_store`; the disk has no room for what is
            forecast; or the choice that a run began with is lost.
    """
    job = checked_job(plan)
    check_disk(job)
    store = open_store(job.plan)
    mine = job.plan.method
    if mine is None:
        return job, store
    if chosen_before(job) is None:
        _refuse_a_second_choice(job, store)
        write_method(store, method_digest(job.plan.record), mine)
    if chosen_before(job) != mine:  # another process has chosen at the same moment
        job = reopen_job(plan.ref)
    return job, store


def check_disk(job: Job) -> None:
    """Refuse an audit that the disk has no room for.

    Raises:
        InputError: it has not.
    """
    path = job.plan.store_path
    needed, free = forecast(job, planned_shards(job.plan)).disk, free_bytes(path)
    if needed > free:
        raise InputError(
            "[store] path",
            f"room for about {needed / 1e6:,.1f} MB in {path}",
            f"{free / 1e6:,.1f} MB free",
            "Free some space, or put the store on another disk.",
        )


def _refuse_a_second_choice(job: Job, store: Store) -> None:
    record = job.plan.record
    shards, missing = record.shards(), missing_shards(store, record.run)
    if len(missing) < len(shards):
        raise StoreError.at(
            f"run {record.run}",
            expected="the method that it began with, under parts/method",
            got=f"none, and {len(shards) - len(missing)} of {len(shards)} shards committed",
            remedy="Put that part back, or remove the run and its tables and begin anew.",
        )
