"""Plan of a run: validated inputs, a name from their fingerprint, and shards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from storage import RunRecord, Shard, Store, StoreError, compute_fingerprint
from tasks.data.inputs import Inputs, read_study, read_tables
from tasks.models.locate import find_model_folders
from tasks.run.budget_selection import BudgetSelection, budget_digest, run_settings_digest
from tasks.run.estimator_models import resolve_estimator
from tasks.run.existing_store import (
    find_existing_store,
    open_existing_store,
    resolve_store_path,
)
from tasks.run.fingerprint_inputs import collect_fingerprint_inputs
from tasks.run.method_choice import MethodSelection
from tasks.run.parent_run import CARRIED, Lineage, find_lineage
from tasks.run.rows_selection import (
    KEPT,
    RowsSelection,
    has_full_run,
    rows_digest,
)
from tasks.run.run_names import check_new_run_name
from tasks.run.selections import BUDGET, ROWS
from tasks.study.joined_errors import call_all
from tasks.study.study import Study, check_has_audit
from tasks.study.tree_study import refuse_trees

TRAIN, FINISH = "train", "finish"
"""Keys of the commits other than shards: the training table (first), the row of `runs` (last)."""


@dataclass(frozen=True)
class RunRef:
    """Reference to a run that tasks pass between processes.

    Attributes:
        study: Path of the study file.
        run: Name of the run.
        fingerprint: Fingerprint of everything the results depend on.
    """

    study: str
    run: str
    fingerprint: str


@dataclass(frozen=True)
class RunPlan:
    """Plan of a run that can be started or resumed.

    Attributes:
        inputs: Study and tables.
        record: Record of the run.
        sizes: Description of the sizes selected to fit into memory; empty if none were.
        method: Selected candidate method; None if the study sets it.
        lineage: Parent and root run of an incremental run; None for a full run.
        rows: Selected number of curvature rows; None if the study sets it, or before it is
            selected.
        selection: Settings selected for the time budget; None without a budget, or before.
        written: Study file as it was read; None if it leaves nothing open.
        budget_key: Cache key of the selection for a budget; empty without one.
    """

    inputs: Inputs
    record: RunRecord
    sizes: str = ""
    method: MethodSelection | None = None
    lineage: Lineage | None = None
    rows: RowsSelection | None = None
    selection: BudgetSelection | None = None
    written: Study | None = None
    budget_key: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether every setting that the run's name depends on is known."""
        study = self.inputs.study
        is_open = study.curvature.rows == "auto" or study.run.budget is not None
        return self.selection is not None or self.rows is not None or not is_open

    @property
    def study_as_written(self) -> Study:
        """Study file as it was read, with "auto" where it leaves a setting open."""
        return self.written or self.inputs.study

    @property
    def root(self) -> RunRecord:
        """Record of the run with the selected settings: the root of the lineage, or this run."""
        return self.lineage.root if self.lineage else self.record

    @property
    def ref(self) -> RunRef:
        """Reference of the run for tasks."""
        return RunRef(str(self.inputs.study.path), self.record.run, self.record.fingerprint)

    @property
    def store_path(self) -> Path:
        """Folder of the store."""
        return resolve_store_path(self.inputs.study)


def plan_run(path: Path, run: str | None = None, budget: str | None = None) -> RunPlan:
    """Plan the run of a study file. Reads every input and writes nothing.

    The name consists of the study's name and the first digits of the fingerprint, so that equal
    inputs and settings give the same run, and starting it again resumes it. Settings that the study
    leaves to the planner are those of earlier runs. Without any, the plan is not settled until the
    models are loaded; see `tasks.planning.open_run.settle_plan`.

    Args:
        path: Study file.
        run: Name of the run; derived from the fingerprint if None.
        budget: Time budget in place of `[run] budget`; that of the study if None.

    Raises:
        StudyError, InputError: The study, a table or the model is invalid.
    """
    study = read_study(path)
    check_has_audit(study)
    if run is not None and read_begun_shard_size(study, run) is None:
        check_new_run_name(run)
    if budget is not None:
        change = "leave the option out: trees have no setting to choose; --within stops an audit"
        refuse_trees(study.path, study.has_trees, "--budget", change)
        limits = study.run.model_copy(update={"budget": budget})
        study = study.model_copy(update={"run": limits})
    study = resolve_estimator(study)
    inputs, _ = call_all(study.path, lambda: read_tables(study), lambda: find_model_folders(study))
    plan = _make_plan(inputs, run)
    selection = _find_earlier_selection(plan, run)
    return plan if selection is None else replan(plan, selection)


def replan(plan: RunPlan, selection: RowsSelection | BudgetSelection) -> RunPlan:
    """Return the plan of a run with selected settings, which are part of its name."""
    settled = replan_study(plan, selection.apply(plan.study_as_written))
    if isinstance(selection, RowsSelection):
        return replace(settled, rows=selection)
    key = budget_digest(plan.record.parts, plan.study_as_written)
    return replace(settled, selection=selection, budget_key=key)


def replan_study(plan: RunPlan, study: Study) -> RunPlan:
    """Return the plan of a run with the settings of another study, and a name of its own."""
    name = None if plan.record.run == _derive_name(plan.record) else plan.record.run
    settled = _make_plan(replace(plan.inputs, study=study), name)
    return replace(settled, written=plan.study_as_written)


def _find_earlier_selection(
    plan: RunPlan, run: str | None
) -> RowsSelection | BudgetSelection | None:
    """Return the settings selected by an earlier process; None if there are none."""
    study, parts = plan.inputs.study, plan.record.parts
    store = find_existing_store(study)
    if store is None:
        return None
    if run is not None and (selection := _read_run_selection(store, run, study)):
        return selection
    if study.run.budget is not None:
        return BUDGET.read(store, budget_digest(parts, study))
    if study.curvature.rows != "auto":
        return None
    selected_rows = ROWS.read(store, rows_digest(parts))
    if selected_rows is None and has_full_run(store, parts):
        return RowsSelection(None, plan.record.train_rows, KEPT)
    return selected_rows


def _read_run_selection(store: Store, run: str, study: Study) -> BudgetSelection | None:
    """Return the settings with which a run was started, also where the budget was an option.

    None if the study sets others now, so that the name is refused as that of another run.
    """
    try:
        fingerprint = store.read_record(run).fingerprint
    except StoreError:
        return None
    selection = BUDGET.read(store, run_settings_digest(fingerprint))
    return selection if selection and selection.option.settings.suits(study) else None


def _make_plan(inputs: Inputs, run: str | None) -> RunPlan:
    study, fingerprint_inputs = inputs.study, collect_fingerprint_inputs(inputs)
    lineage = find_lineage(study, find_existing_store(study), fingerprint_inputs, inputs.train)
    if lineage:
        fingerprint_inputs[CARRIED] = dict(lineage.record_entry)
    record = RunRecord(
        run="",
        study=study.name,
        fingerprint=compute_fingerprint(fingerprint_inputs),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        parts=fingerprint_inputs,
        query_rows=len(inputs.queries),
        train_rows=len(inputs.train),
        shard_size=study.run.shard_size,
    )
    name = run or _derive_name(record)
    # A resumed run keeps its shard size, so that its shards hold the same queries.
    shard_size = read_begun_shard_size(study, name) or study.run.shard_size
    return RunPlan(inputs, replace(record, run=name, shard_size=shard_size), lineage=lineage)


def _derive_name(record: RunRecord) -> str:
    return f"{record.study}-{record.fingerprint[:10]}"


def read_begun_shard_size(study: Study, run: str) -> int | None:
    """Return the shard size of a run that was started before; None if it was not."""
    try:
        return open_existing_store(study).read_record(run).shard_size
    except StoreError:
        return None  # other errors are raised when the store is opened


def open_store(plan: RunPlan) -> Store:
    """Open the store for writing and start or resume the run in it.

    Raises:
        StoreError: The store belongs to another study or is not writable, or the run's name is
            in use.
    """
    store = Store.open(plan.store_path, plan.record.study)
    store.open_run(plan.record)
    return store


def find_finished_run(plan: RunPlan) -> Store | None:
    """Return the store if the run is finished in it and intact, else None."""
    try:
        store = open_existing_store(plan.inputs.study)
        is_same = store.read_record(plan.record.run).fingerprint == plan.record.fingerprint
    except StoreError:
        return None  # missing or unreadable; opening it for writing raises the error
    is_done = (
        is_same
        and store.is_committed(plan.record.run, FINISH)
        and store.is_committed(plan.record.run, TRAIN)
    )
    return store if is_done and not list_missing_shards(store, plan.record.run) else None


def list_planned_shards(plan: RunPlan) -> Sequence[Shard]:
    """Return the shards that the plan would compute now."""
    try:
        return list_missing_shards(open_existing_store(plan.inputs.study), plan.record.run)
    except StoreError:
        return plan.record.list_shards()


def list_missing_shards(store: Store, run: str) -> Sequence[Shard]:
    """Return the shards of a run that are not committed."""
    return store.find_missing(run, store.read_record(run).list_shards())
