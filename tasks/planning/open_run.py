"""Opening of runs: models are loaded, tables tokenized, and open settings selected."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

import fastif
from fastif import InputError
from fastif.attribution.leverage import check_leverage
from fastif.models.trial import try_table
from fastif.numerics.out_of_memory import release_to_os
from storage import Store
from tasks.data.inputs import read_study
from tasks.models.load import load_study_model
from tasks.models.loaded_model import EncodedTables
from tasks.models.locate import find_model_folders
from tasks.planning.method_selection import resolve_auto_settings
from tasks.planning.workload import make_solver_problem
from tasks.run import hidden_states as hidden
from tasks.run.assemble import get_provenance
from tasks.run.budget_selection import BudgetSelection
from tasks.run.choices import resolve_choices
from tasks.run.context import RunContext
from tasks.run.curvature import make_curvature
from tasks.run.fingerprint_inputs import compute_model_digests
from tasks.run.index_kinds import INDEX_KINDS
from tasks.run.members import check_compatible
from tasks.run.rows_selection import RowsSelection
from tasks.run.spec import RunPlan, RunRef, plan_run, replan
from tasks.run.stored_predictions import resolve_targets
from tasks.run.tree_run import check_tree_run
from tasks.run.unrolled import check_training_record
from tasks.runtime.devices import DEVICE_LEASES, Device, resolve_devices
from tasks.study.estimator_section import EstimatorSection
from tasks.study.study import Study

_load_lock = threading.Lock()
_open_runs: dict[tuple[RunRef, Study, Device], RunContext] = {}
_selections: dict[tuple[RunRef, Study], RowsSelection | BudgetSelection] = {}


@contextmanager
def lease_run(run: RunRef | RunPlan) -> Iterator[RunContext]:
    """Context manager that yields the context of a run on a device leased to this thread.

    It waits until a device is free. Freed memory is returned to the system at the end, so that
    stages do not add up.

    Raises:
        InputError: The run cannot be opened; see `open_run`.
    """
    devices = resolve_devices(_get_study(run).run.devices)
    with DEVICE_LEASES.lease_first_free(devices) as device:
        try:
            yield open_run(run, device)
        finally:
            release_to_os()


def open_run(run: RunRef | RunPlan, device: Device | None = None) -> RunContext:
    """Return the context of a run on a device, cached until another run is opened.

    It has the selections that are in the store now, whichever process made them. The cache compares
    the study file too, since a long-lived process may open the same run with another store or other
    sizes, which are not part of its name.

    Args:
        run: Plan of the run, or its reference in another process, where it is planned again.
            Unchanged files are not read again.
        device: Device leased by the caller; the study's first if None.

    Raises:
        InputError: The study or its files have changed since the run was planned, or the device
            does not exist.
    """
    study = _get_study(run)
    ref = run.ref if isinstance(run, RunPlan) else run
    key = (ref, study, device or resolve_devices(study.run.devices)[0])
    context = _open_runs.get(key)
    if context is None:
        # Serialized, since loading a model changes torch's defaults for the whole process.
        with _load_lock:
            context = _open_runs.get(key) or _open_new_run(run, key)
            _open_runs[key] = context
    latest = resolve_choices(context)
    if latest is not context:
        with _load_lock:
            _open_runs[key] = latest
    return latest


def _get_study(run: RunRef | RunPlan) -> Study:
    """Return the study by which contexts are cached: the file, until the plan is settled.

    A plan has the checkpoints of the estimator in place of "auto"; the fingerprint of the run has
    their digests, so the key leaves them out.
    """
    if isinstance(run, RunPlan) and not run.is_settled:
        study = run.study_as_written
    else:
        ref = run.ref if isinstance(run, RunPlan) else run
        study = read_study(Path(ref.study))
    return study.model_copy(update={"estimator": EstimatorSection()})


def settle_plan(plan: RunPlan) -> RunPlan:
    """Return the plan with every setting that its name depends on.

    Models are loaded if the study leaves settings to the planner and no earlier run has selected
    them. Nothing is written.

    Raises:
        InputError: The run cannot be opened, see `open_run`; or nothing fits into its budget.
    """
    if plan.is_settled:
        return plan
    place = plan.ref, plan.study_as_written
    if place in _selections:
        return replan(plan, _selections[place])
    with lease_run(plan) as context:
        selection = context.plan.selection or context.plan.rows
    assert selection is not None
    settled = replan(plan, selection)  # its method stays open: another process may select it first
    with _load_lock:  # cached under the name that the run has now
        _selections[place] = selection
        for key in [key for key in _open_runs if key[:2] == place]:
            _open_runs[settled.ref, _get_study(settled), key[2]] = _open_runs.pop(key)
    return settled


def _open_new_run(run: RunRef | RunPlan, key: tuple[RunRef, Study, Device]) -> RunContext:
    ref, study, device = key
    plan = run if isinstance(run, RunPlan) else plan_run(Path(ref.study), ref.run)
    _check_unchanged(plan, ref)
    for stale_key in [key for key in _open_runs if key[:2] != (ref, study)]:
        del _open_runs[stale_key]  # at most one run on a device
    same_run = next(iter(_open_runs.values()), None)
    return load_run(plan, device, same_run)


def _check_unchanged(plan: RunPlan, ref: RunRef) -> None:
    """Raise if the study, a table or the model has changed since the run was planned."""
    parts = plan.record.parts
    digests = [parts["model"], *parts.get("models", [])]  # type: ignore[misc]
    if (
        plan.record.fingerprint != ref.fingerprint
        or compute_model_digests(plan.inputs.study) != digests
    ):
        raise InputError(
            f"run {ref.run}",
            "the study, tables and model it was planned with",
            "other contents",
            "Do not change them during a run; start the audit again.",
        )


def reopen_run(plan: RunPlan) -> RunContext:
    """Return the context of a run as the store has it now, without this process's cache."""
    with _load_lock:
        _open_runs.clear()
    return open_run(plan)


def validate_run(plan: RunPlan) -> RunContext:
    """Open a plan and check everything that would stop it later. Nothing is written.

    Raises:
        StoreError: The store belongs to another study or is not writable, or the run's name is
            in use.
        InputError: The model or the candidate index does not fit the study, hidden states do
            not fit on the disk, or the device does not exist.
    """
    plan = settle_plan(plan)
    Store.check_run(plan.store_path, plan.record)
    with lease_run(plan) as context:
        hidden.check_disk_space(context)
        context.memo.get(("validated", context.choices), lambda: _check_run(context))
    return context


def _check_run(context: RunContext) -> None:
    if context.study.has_trees:
        check_tree_run(context)
        return
    for member in context.members:
        try_table(member.objective, context.train_examples, "[train] table")
        try_table(
            member.objective,
            context.query_examples,
            "[queries] table",
            member.objective.query_measure,
        )
    _ = get_provenance(context)  # raises if the label order differs from training
    check_training_record(context)
    damping = 1.0 if context.study.fixed_damping is None else context.study.fixed_damping
    operator = make_curvature(context, context.train_examples, damping)
    context.solver.check(operator)
    if context.study.curvature.leverage == "on":
        check_leverage(operator, context.train_examples)
    rows, factor_rows = len(context.train_examples), make_solver_problem(context).factor_rows
    for method in context.study.candidates.methods:
        width = INDEX_KINDS[method.kind].measure_width(context, method, factor_rows)
        fastif.CandidateIndex.check(method.factory, width, rows, products=method.by_products)


def load_run(
    plan: RunPlan, device: Device | None = None, same_run: RunContext | None = None
) -> RunContext:
    """Load every model, check it against the study, and encode both tables.

    Args:
        plan: Plan of the run.
        device: Device of the models; the study's first if None.
        same_run: Context of the same run on another device, from which tokens are shared.

    Raises:
        InputError: The device does not exist, a model does not fit the study, further models do
            not fit the first, or nothing fits into the study's memory.
    """
    torch_device = (device or resolve_devices(plan.inputs.study.run.devices)[0]).torch
    tables = (
        None
        if same_run is None
        else EncodedTables(same_run.train_examples, same_run.query_examples).to_device(torch_device)
    )
    fingerprint_inputs = plan.record.parts
    digests = [str(fingerprint_inputs["model"]), *fingerprint_inputs.get("models", [])]  # type: ignore[misc]
    folders = find_model_folders(plan.inputs.study)
    first = _load_model(plan, folders[0], digests[0], torch_device, tables)
    if same_run is None:
        first = resolve_targets(first)
    else:
        first = replace(first, predicted=same_run.predicted)
    others = []
    for folder, digest in zip(folders[1:], digests[1:], strict=True):
        other = _load_model(plan, folder, digest, torch_device, tables)
        check_compatible(first, other, folder)
        shared_examples = {
            "train_examples": first.train_examples,
            "query_examples": first.query_examples,
        }
        others.append(replace(other, **shared_examples))  # one copy of the tokens
    context = resolve_choices(replace(first, others=tuple(others)))
    return context if plan.inputs.study.has_trees else resolve_auto_settings(context)


def _load_model(
    plan: RunPlan, folder: Path, digest: str, device: torch.device, tables: EncodedTables | None
) -> RunContext:
    model = load_study_model(plan.inputs, folder, digest, device)
    if tables is None:
        tables = model.encode_tables(plan.inputs)
    else:
        model.objective.verify_shortcuts(tables.train, tables.queries)
        model.check(model.objective, tables.train)
    return RunContext(plan, model.objective, tables.train, tables.queries, digest)
