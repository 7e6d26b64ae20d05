"""Plan of a run: validated inputs, a name from their fingerprint, and shards."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from fastif import InputError
from storage import RunRecord, Shard, Store, StoreError, compute_fingerprint
from tasks.data.inputs import Inputs, read_study, read_tables
from tasks.models.locate import compute_model_digest, find_base_folder, find_model_folders
from tasks.run.existing_store import (
    find_existing_store,
    open_existing_store,
    resolve_store_path,
)
from tasks.run.method_choice import MethodSelection
from tasks.run.parent_run import CARRIED, Lineage, find_lineage
from tasks.run.rows_selection import (
    KEPT,
    RowsSelection,
    has_full_run,
    rows_digest,
    set_rows,
)
from tasks.run.selections import ROWS
from tasks.runtime.versions import INFLUENCE_VERSION
from tasks.study.any_solver import AnySolver
from tasks.study.joined_errors import call_all
from tasks.study.study import Study, check_has_audit

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
        written: Study file as it was read; None if it leaves nothing open.
    """

    inputs: Inputs
    record: RunRecord
    sizes: str = ""
    method: MethodSelection | None = None
    lineage: Lineage | None = None
    rows: RowsSelection | None = None
    written: Study | None = None

    @property
    def is_settled(self) -> bool:
        """Whether every setting that the run's name depends on is known."""
        return self.inputs.study.curvature.rows != "auto"

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


def plan_run(path: Path, run: str | None = None) -> RunPlan:
    """Plan the run of a study file. Reads every input and writes nothing.

    The name consists of the study's name and the first digits of the fingerprint, so that equal
    inputs and settings give the same run, and starting it again resumes it. A number of curvature
    rows that the study leaves open is the one of earlier runs. Without any, the plan is not settled
    until the models are loaded; see `tasks.planning.open_run.settle_plan`.

    Args:
        path: Study file.
        run: Name of the run; derived from the fingerprint if None.

    Raises:
        StudyError, InputError: The study, a table or the model is invalid.
    """
    study = read_study(path)
    check_has_audit(study)
    inputs, _ = call_all(study.path, lambda: read_tables(study), lambda: find_model_folders(study))
    plan = _make_plan(inputs, run)
    selection = _find_earlier_rows(plan)
    return plan if selection is None else replan_rows(plan, selection)


def replan_rows(plan: RunPlan, selection: RowsSelection) -> RunPlan:
    """Return the plan of a run with selected curvature rows, which are part of its name."""
    study = set_rows(plan.study_as_written, selection)
    name = None if plan.record.run == _derive_name(plan.record) else plan.record.run
    settled = _make_plan(replace(plan.inputs, study=study), name)
    return replace(settled, rows=selection, written=plan.study_as_written)


def _find_earlier_rows(plan: RunPlan) -> RowsSelection | None:
    """Return the curvature rows of earlier runs; None without any, or if the study sets them."""
    store = None if plan.is_settled else find_existing_store(plan.inputs.study)
    if store is None:
        return None
    selection = ROWS.read(store, rows_digest(plan.record.parts))
    if selection is None and has_full_run(store, plan.record.parts):
        return RowsSelection(None, plan.record.train_rows, KEPT)
    return selection


def _make_plan(inputs: Inputs, run: str | None) -> RunPlan:
    study, fingerprint_inputs = inputs.study, _collect_fingerprint_inputs(inputs)
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


def _select_answer_fields(solver: AnySolver) -> dict[str, object]:
    """Return the solver's fields that change results, without those for speed and memory."""
    return {
        item.name: getattr(solver, item.name)
        for item in fields(solver)  # type: ignore[arg-type]
        if item.metadata.get("changes_answers", True)
    }


def _collect_fingerprint_inputs(inputs: Inputs) -> dict[str, object]:
    """Return all inputs of the results; sizes that change only speed and memory are left out."""
    study = inputs.study
    model, *others = compute_model_digests(study)
    return {
        "mathematics": INFLUENCE_VERSION,
        "model": model,
        **({"models": others} if others else {}),
        "train": inputs.train.digest,
        "queries": inputs.queries.digest,
        "labels": list(study.labels),
        "max_length": study.model.max_length,
        "attributed": study.parameters.model_dump(mode="json")["attributed"],
        **study.loss_settings,
        "curvature": study.curvature.settings,
        **_collect_recipe(study),
        "solver": _select_answer_fields(study.solver),
        "candidates": study.candidates.model_dump(mode="json", exclude_none=True),
        "certificate": {"rows": min(study.certificate.rows, len(inputs.train))},
        **_collect_group_inputs(study),
    }


def _collect_group_inputs(study: Study) -> dict[str, object]:
    """Return the order of the group columns if the run may have totals, keyed by the first."""
    groups = list(study.queries.groups)
    return {"groups": groups} if study.candidates.may_have_totals and len(groups) > 1 else {}


def _collect_recipe(study: Study) -> dict[str, object]:
    """Return the settings of retraining if the damping is selected by it."""
    if study.fixed_damping is not None or study.training is None:
        return {}
    training = study.training.model_dump(mode="json", exclude={"base", "checkpoints"})
    base = compute_model_digest(find_base_folder(study))
    return {"recipe": {**training, "weight_decay": study.weight_decay, "base": base}}


def compute_model_digests(study: Study) -> list[str]:
    """Return the digest of every model of the study.

    Raises:
        InputError: A model is missing, or two of them are equal.
    """
    folders = find_model_folders(study)
    digests = [compute_model_digest(folder) for folder in folders]
    for i, digest in enumerate(digests):
        if digest in digests[:i]:
            raise InputError(
                "models",
                "different models",
                f"the same files in {folders[digests.index(digest)]} and {folders[i]}",
                "Remove one of them; copies add nothing to the average.",
            )
    return digests
