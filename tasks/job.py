"""A study opened for computing: model, examples and curvature, resident once a device."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

import fastif
from fastif import InputError
from fastif.candidates.choice import CandidateChoice
from fastif.damping import DampingChoice
from fastif.hidden_file import HiddenFile
from storage import Store, StoreError
from tasks import digests, hidden
from tasks.chosen import read_choice
from tasks.chosen_k import read_candidate_choice, settled, target_of
from tasks.clock import CLOCK
from tasks.devices import LEASES, Device, devices_of
from tasks.footprint import MEGABYTE
from tasks.loading import Texts, load_objective, load_texts
from tasks.members import check_alike
from tasks.methods import by_sketches
from tasks.model import model_folders
from tasks.parts import read_factor, read_search
from tasks.plan import Plan, RunRef, existing_store, plan_run
from tasks.planner import planned
from tasks.progress import bar
from tasks.sections import AnyCandidates, Knn
from tasks.study import Study, load_study


@dataclass(frozen=True, eq=False)
class Job:
    """What the tasks of a run share. Made by `open_job`; nothing in it is ever written to.

    Attributes:
        plan: the run.
        objective: its model; the first of several.
        train_texts, query_texts: its tables, as tokens.
        digest: of the model.
        others: the same for the study's further models.
    """

    plan: Plan
    objective: fastif.TransformerObjective
    train_texts: fastif.TextExamples
    query_texts: fastif.TextExamples
    digest: str
    others: "tuple[Job, ...]" = ()

    @property
    def members(self) -> "tuple[Job, ...]":
        """This job and those of the further models."""
        return (self, *self.others)

    @property
    def study(self) -> Study:
        """The study file."""
        return self.plan.inputs.study

    @property
    def store(self) -> Store:
        """The store that the run is written to."""
        return existing_store(self.study)

    @cached_property
    def train(self) -> fastif.Examples:
        """The training set with its frozen part computed, as far as memory is allowed."""
        return cached(self.objective, self.train_texts, self.study, self._on_disk("train"))

    @cached_property
    def queries(self) -> fastif.Examples:
        """The queries, likewise; as tokens if several models read them."""
        if self.others:
            return self.query_texts
        return cached(self.objective, self.query_texts, self.study, self._on_disk("queries"))

    def _on_disk(self, which: hidden.Which) -> HiddenFile | None:
        with CLOCK.stage("hidden states"):
            return hidden.hidden_file(self, which)

    @cached_property
    def operator(self) -> fastif.Damped:
        """The damped curvature of the study."""
        return self.curvature(self.train, self.damping)

    @cached_property
    def damping(self) -> float:
        """The effective lambda: the study's, or the one that was chosen for it."""
        fixed = self.study.fixed_damping
        if fixed is not None:
            return fixed
        assert self.choice is not None, "the damping is chosen before it is asked for"
        return max(self.choice.damping, self.study.penalty)

    @property
    def fixed_or_chosen(self) -> float | None:
        """The effective lambda, or None if it is yet to be chosen."""
        if self.study.fixed_damping is None and self.choice is None:
            return None
        return self.damping

    @property
    def choice(self) -> DampingChoice | None:
        """How the damping was chosen; None if the study gives it, or it is not chosen yet."""
        if self.study.fixed_damping is not None:
            return None
        try:
            return read_choice(self.store, self.choice_digest)
        except StoreError:
            return None  # there is no store yet

    def curvature(self, train: fastif.Examples, damping: float) -> fastif.Damped:
        """The curvature with this effective lambda, taking its examples from `train`."""
        if self.study.curvature.kind == "gauss-newton":
            return fastif.Damped(self.gauss_newton(train), damping)
        size = self.study.run.batch_size
        ids = self._curvature_ids(train)
        return fastif.Damped(fastif.Hessian(self.objective, train, ids, batch_size=size), damping)

    def gauss_newton(self, train: fastif.Examples) -> fastif.GaussNewton:
        """The Gauss-Newton matrix over the curvature's rows."""
        size = self.study.run.batch_size
        return fastif.GaussNewton(
            self.objective, train, self._curvature_ids(train), batch_size=size
        )

    def _curvature_ids(self, train: fastif.Examples) -> torch.Tensor:
        curvature = self.study.curvature
        return sampled_rows(len(train), curvature.rows, curvature.seed)

    @property
    def index_digests(self) -> tuple[str, ...]:
        """What the index of each method that searches depends on."""
        return tuple(digests.index_digest(self, one) for one in self.study.candidates.methods)

    @property
    def factor_digest(self) -> str:
        """What the solver's factor of the curvature depends on."""
        return digests.factor_digest(self)

    @property
    def choice_digest(self) -> str:
        """What the choice of the damping depends on."""
        return digests.choice_digest(self)

    @cached_property
    def attributor(self) -> fastif.Attributor | fastif.Ensemble:
        """The attributor of this study, with the parts that were prepared in the store."""
        members = [job.alone(self.search) for job in self.members]
        return fastif.Ensemble(members) if self.others else members[0]

    @property
    def candidate_choice(self) -> CandidateChoice | None:
        """How k was chosen; None if the study gives it, or it is not chosen yet."""
        if self.fixed_or_chosen is None or target_of(self.study.candidates) is None:
            return None
        try:
            return read_candidate_choice(self.store, digests.candidate_digest(self))
        except StoreError:
            return None  # there is no store yet

    @property
    def candidates(self) -> AnyCandidates:
        """Where the study looks, with the k that was chosen; every row if none was enough."""
        return settled(self.study.candidates, self.candidate_choice)

    @cached_property
    def search(self) -> fastif.Search:
        """Where to look, with the indices that were prepared in the store."""
        labels = self.train_texts.labels.cpu()
        indices = self.index_digests if self.candidates.methods else ()
        return read_search(self.store, indices, self.candidates, self.objective, labels)

    @property
    def by_sketches(self) -> bool:
        """Whether scores are left as the sketches give them."""
        return by_sketches(self.candidates)

    def alone(self, search: fastif.Search) -> fastif.Attributor:
        """The attributor of this model without the others."""
        return fastif.Attributor(
            self.objective,
            self.train,
            self.operator,
            self.study.solver,
            search,
            read_factor(self.store, self.factor_digest),
            self.study.run.batch_size,
            self.study.certificate.rows,
        )


def cached(
    objective: fastif.Objective,
    texts: fastif.Examples,
    study: Study,
    file: HiddenFile | None = None,
) -> fastif.PrefixCache:
    """Texts with their frozen part computed once, within a model's share of the memory for it."""
    budget = study.run.prefix_cache_mb * MEGABYTE // (1 + len(study.models))
    name = "hidden states of frozen layers"
    with CLOCK.stage("hidden states"), bar(name, len(texts)) as advance:
        return fastif.PrefixCache(objective, texts, budget, hidden.GROUP, advance, file)


def sampled_rows(count: int, rows: int | None, seed: int) -> torch.Tensor:
    """The training rows that the curvature is taken over: all, or a fixed random sample."""
    if rows is None or rows >= count:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:rows].sort().values


_loading = threading.Lock()
_jobs: dict[tuple[RunRef, Study, Device], Job] = {}


@contextmanager
def leased_job(ref: RunRef) -> Iterator[Job]:
    """The job of a run on a device that is this thread's alone; waits until one is free.

    Raises:
        InputError: as `open_job`.
    """
    devices = devices_of(load_study(Path(ref.study)).run.devices)
    with LEASES.one_of(devices) as device:
        yield open_job(ref, device)


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
    damping = 1.0 if job.study.fixed_damping is None else job.study.fixed_damping
    job.study.solver.check(job.curvature(job.train_texts, damping))
    for method in job.study.candidates.methods:
        if isinstance(method, Knn):
            width = job.objective.embed(job.query_texts.take(torch.arange(1))).shape[1]
        else:
            width = method.dimensions
        fastif.CandidateIndex.check(method.factory, width)


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
    texts = texts or load_texts(plan, folder, objective)
    return Job(plan, objective, texts.train, texts.queries, digest)
