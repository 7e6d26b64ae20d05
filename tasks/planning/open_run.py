"""Jobs opened: models loaded, tables tokenised, and what a study leaves open planned."""

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
from fastif.numerics.out_of_memory import trim
from storage import Store
from tasks.models.load import Texts, load_objective, load_texts
from tasks.models.locate import model_folders
from tasks.planning.memory import dimensions_of
from tasks.planning.method_selection import planned
from tasks.run import hidden_states as hidden
from tasks.run.context import Job
from tasks.run.members import check_alike
from tasks.run.spec import Plan, RunRef, plan_run
from tasks.runtime.devices import LEASES, Device, devices_of
from tasks.study.sections import Knn
from tasks.study.study import Study, load_study

_loading = threading.Lock()
_jobs: dict[tuple[RunRef, Study, Device], Job] = {}


@contextmanager
def leased_job(ref: RunRef) -> Iterator[Job]:
    """The job of a run on a device that is this thread's alone; waits until one is free.

    What the work frees goes back to the system, so that no stage stands on the one before it.

    Raises:
        InputError: as `open_job`.
    """
    devices = devices_of(load_study(Path(ref.study)).run.devices)
    with LEASES.one_of(devices) as device:
        try:
            yield open_job(ref, device)
        finally:
            trim()


def open_job(ref: RunRef, device: Device | None = None) -> Job:
    """The job of a run on a device, opened on first use and kept until another is asked for.

    A long-lived process may see the same run in another store or with other sizes, which are no
    part of its name; so the study file itself is compared too.

    Args:
        ref: the run.
        device: where it computes, leased by the caller; the study's first if left out.

    Raises:
        InputError: the study or its files have changed since the run was planned, or there is no
            such device.
    """
    study = load_study(Path(ref.study))
    key = (ref, study, device or devices_of(study.run.devices)[0])
    job = _jobs.get(key)
    if job is None:
        # One at a time: loading a model changes torch's defaults for the whole process.
        with _loading:
            job = _jobs.get(key) or _opened(*key)
            _jobs[key] = job
    return job


def _opened(ref: RunRef, study: Study, device: Device) -> Job:
    plan = plan_run(Path(ref.study), ref.run)
    if plan.record.fingerprint != ref.fingerprint:
        raise InputError(
            f"run {ref.run}",
            "the study, tables and model it was planned with",
            "other contents",
            "Do not change them while a run works; start the audit again.",
        )
    for other in [key for key in _jobs if key[:2] != (ref, study)]:
        del _jobs[other]  # one model on a device at a time
    twin = next(iter(_jobs.values()), None)
    return make_job(plan, device, twin)


def reopen_job(ref: RunRef) -> Job:
    """The job of a run as the store now has it, whatever this process has held of it."""
    with _loading:
        _jobs.clear()
    return open_job(ref)


def checked_job(plan: Plan) -> Job:
    """The job of a plan, after refusing all that would stop it later. Nothing is written.

    Raises:
        StoreError: the store is another study's or cannot be written; the run's name is taken.
        InputError: the model or the candidate index does not fit the study, hidden states not the
            disk, or there is no such device.
    """
    Store.check_run(plan.store_path, plan.record)
    with leased_job(plan.ref) as job:
        _check(job)
    return job


def _check(job: Job) -> None:
    hidden.check_room(job)
    for member in job.members:
        try_table(member.objective, job.train_texts, "[train] table")
        try_table(member.objective, job.query_texts, "[queries] table", member.objective.asked)
    _ = job.provenance  # it refuses an order of labels that the model was not trained in
    damping = 1.0 if job.study.fixed_damping is None else job.study.fixed_damping
    operator = job.curvature(job.train_texts, damping)
    job.study.solver.check(operator)
    if job.study.curvature.leverage == "on":
        check_leverage(operator, job.train_texts)
    for method in job.study.candidates.methods:
        nearest = isinstance(method, Knn)
        if nearest:
            width = job.objective.embed(job.query_texts.take(torch.arange(1))).shape[1]
        else:
            width = dimensions_of(job, method)
        rows = len(job.train_texts)
        fastif.CandidateIndex.check(method.factory, width, rows, products=not nearest)


def make_job(plan: Plan, device: Device | None = None, twin: Job | None = None) -> Job:
    """Load every model, check it against the study, tokenise both tables.

    Args:
        plan: the run.
        device: where it computes; the study's first if left out.
        twin: the same job on another device, whose tokens are shared.

    Raises:
        InputError: there is no such device, a model does not fit the study, the further ones do not
            fit the first, or nothing fits into the memory that the study allows.
    """
    where = (device or devices_of(plan.inputs.study.run.devices)[0]).torch
    texts = None if twin is None else Texts(twin.train_texts, twin.query_texts).on(where)
    parts = plan.record.parts
    digests = [str(parts["model"]), *parts.get("models", [])]  # type: ignore[misc]
    folders = model_folders(plan.inputs.study)
    first = _open_model(plan, folders[0], digests[0], where, texts)
    others = []
    for folder, digest in zip(folders[1:], digests[1:], strict=True):
        other = _open_model(plan, folder, digest, where, texts)
        check_alike(first, other, folder)
        same = {"train_texts": first.train_texts, "query_texts": first.query_texts}
        others.append(replace(other, **same))  # the same tokens: held once
    return planned(replace(first, others=tuple(others)))


def _open_model(
    plan: Plan, folder: Path, digest: str, device: torch.device, texts: Texts | None
) -> Job:
    objective = load_objective(plan, folder, device)
    if texts is None:
        texts = load_texts(plan, folder, objective)
    else:
        objective.prove(texts.train, texts.queries)
    return Job(plan, objective, texts.train, texts.queries, digest)
