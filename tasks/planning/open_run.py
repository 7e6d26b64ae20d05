"""Runs opened: models loaded, tables tokenised, and what a study leaves open planned."""

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
from tasks.models.load import TokenizedTables, load_objective, load_tokenized_tables
from tasks.models.locate import find_model_folders
from tasks.planning.method_selection import resolve_auto_settings
from tasks.planning.workload import make_solver_problem
from tasks.run import hidden_states as hidden
from tasks.run.assemble import get_provenance
from tasks.run.choices import resolve_choices
from tasks.run.context import RunContext
from tasks.run.curvature import make_curvature
from tasks.run.index_kinds import INDEX_KINDS
from tasks.run.members import check_compatible
from tasks.run.spec import RunPlan, RunRef, compute_model_digests, plan_run
from tasks.runtime.devices import DEVICE_LEASES, Device, resolve_devices
from tasks.study.study import Study

_load_lock = threading.Lock()
_open_runs: dict[tuple[RunRef, Study, Device], RunContext] = {}


@contextmanager
def lease_run(run: RunRef | RunPlan) -> Iterator[RunContext]:
    """The context of a run on a device that is this thread's alone; waits until one is free.

    What the work frees goes back to the system, so that no stage stands on the one before it.

    Raises:
        InputError: as `open_run`.
    """
    devices = resolve_devices(_get_study(run).run.devices)
    with DEVICE_LEASES.lease_first_free(devices) as device:
        try:
            yield open_run(run, device)
        finally:
            release_to_os()


def open_run(run: RunRef | RunPlan, device: Device | None = None) -> RunContext:
    """The context of a run on a device, loaded on first use and kept until another is asked for.

    It has the choices that are in the store by now, whichever process made them.

    A long-lived process may see the same run in another store or with other sizes, which are no
    part of its name; so the study file itself is compared too.

    Args:
        run: its plan, or in another process the reference, by which it is planned again. Files
            that this process has read are not read again while they are the same.
        device: where it computes, leased by the caller; the study's first if left out.

    Raises:
        InputError: the study or its files have changed since the run was planned, or there is no
            such device.
    """
    study = _get_study(run)
    ref = run.ref if isinstance(run, RunPlan) else run
    key = (ref, study, device or resolve_devices(study.run.devices)[0])
    context = _open_runs.get(key)
    if context is None:
        # One at a time: loading a model changes torch's defaults for the whole process.
        with _load_lock:
            context = _open_runs.get(key) or _open_new_run(run, key)
            _open_runs[key] = context
    latest = resolve_choices(context)
    if latest is not context:
        with _load_lock:
            _open_runs[key] = latest
    return latest


def _get_study(run: RunRef | RunPlan) -> Study:
    return run.inputs.study if isinstance(run, RunPlan) else read_study(Path(run.study))


def _open_new_run(run: RunRef | RunPlan, key: tuple[RunRef, Study, Device]) -> RunContext:
    ref, study, device = key
    plan = run if isinstance(run, RunPlan) else plan_run(Path(ref.study), ref.run)
    _check_unchanged(plan, ref)
    for stale_key in [key for key in _open_runs if key[:2] != (ref, study)]:
        del _open_runs[stale_key]  # one model on a device at a time
    same_run = next(iter(_open_runs.values()), None)
    return load_run(plan, device, same_run)


def _check_unchanged(plan: RunPlan, ref: RunRef) -> None:
    """Refuse a model, and in a plan made anew a study or table, that is not the planned one."""
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
            "Do not change them while a run works; start the audit again.",
        )


def reopen_run(plan: RunPlan) -> RunContext:
    """The context of a run as the store now has it, whatever this process has held of it."""
    with _load_lock:
        _open_runs.clear()
    return open_run(plan)


def validate_run(plan: RunPlan) -> RunContext:
    """The context of a plan, after refusing all that would stop it later. Nothing is written.

    Raises:
        StoreError: the store is another study's or cannot be written; the run's name is taken.
        InputError: the model or the candidate index does not fit the study, hidden states not the
            disk, or there is no such device.
    """
    Store.check_run(plan.store_path, plan.record)
    with lease_run(plan) as context:
        _check_run(context)
    return context


def _check_run(context: RunContext) -> None:
    hidden.check_disk_space(context)
    for member in context.members:
        try_table(member.objective, context.train_texts, "[train] table")
        try_table(
            member.objective, context.query_texts, "[queries] table", member.objective.query_measure
        )
    _ = get_provenance(context)  # it refuses an order of labels that the model was not trained in
    damping = 1.0 if context.study.fixed_damping is None else context.study.fixed_damping
    operator = make_curvature(context, context.train_texts, damping)
    context.study.solver.check(operator)
    if context.study.curvature.leverage == "on":
        check_leverage(operator, context.train_texts)
    rows, factor_rows = len(context.train_texts), make_solver_problem(context).factor_rows
    for method in context.study.candidates.methods:
        width = INDEX_KINDS[method.kind].measure_width(context, method, factor_rows)
        fastif.CandidateIndex.check(method.factory, width, rows, products=method.by_products)


def load_run(
    plan: RunPlan, device: Device | None = None, same_run: RunContext | None = None
) -> RunContext:
    """Load every model, check it against the study, tokenise both tables.

    Args:
        plan: the run.
        device: where it computes; the study's first if left out.
        same_run: the same context on another device, whose tokens are shared.

    Raises:
        InputError: there is no such device, a model does not fit the study, the further ones do not
            fit the first, or nothing fits into the memory that the study allows.
    """
    torch_device = (device or resolve_devices(plan.inputs.study.run.devices)[0]).torch
    texts = (
        None
        if same_run is None
        else TokenizedTables(same_run.train_texts, same_run.query_texts).to_device(torch_device)
    )
    fingerprint_inputs = plan.record.parts
    digests = [str(fingerprint_inputs["model"]), *fingerprint_inputs.get("models", [])]  # type: ignore[misc]
    folders = find_model_folders(plan.inputs.study)
    first = _load_model(plan, folders[0], digests[0], torch_device, texts)
    others = []
    for folder, digest in zip(folders[1:], digests[1:], strict=True):
        other = _load_model(plan, folder, digest, torch_device, texts)
        check_compatible(first, other, folder)
        shared_texts = {"train_texts": first.train_texts, "query_texts": first.query_texts}
        others.append(replace(other, **shared_texts))  # the same tokens: held once
    return resolve_auto_settings(resolve_choices(replace(first, others=tuple(others))))


def _load_model(
    plan: RunPlan, folder: Path, digest: str, device: torch.device, texts: TokenizedTables | None
) -> RunContext:
    objective = load_objective(plan.inputs, folder, device)
    if texts is None:
        texts = load_tokenized_tables(plan.inputs, folder, objective)
    else:
        objective.verify_shortcuts(texts.train, texts.queries)
    return RunContext(plan, objective, texts.train, texts.queries, digest)
