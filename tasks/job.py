"""A study opened for computing: model, examples and curvature, resident once a process."""

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import fastif
from fastif import InputError
from storage import Store, fingerprint
from tasks.model import model_folder
from tasks.plan import Plan, RunRef, existing_store, plan_run
from tasks.progress import bar
from tasks.sections import FullScan, Knn
from tasks.study import Study, load_study
from tasks.tables import Table

MEGABYTE = 2**20


@dataclass(frozen=True, eq=False)
class Job:
    """What the tasks of a run share. Made by `open_job`; nothing in it is ever written to."""

    plan: Plan
    objective: fastif.TransformerObjective
    train_texts: fastif.TextExamples
    query_texts: fastif.TextExamples

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
        return cached(self.objective, self.train_texts, self.study)

    @cached_property
    def queries(self) -> fastif.Examples:
        """The queries, likewise."""
        return cached(self.objective, self.query_texts, self.study)

    @cached_property
    def operator(self) -> fastif.Damped:
        """The damped curvature of the study."""
        return self.curvature(self.train)

    def curvature(self, train: fastif.Examples) -> fastif.Damped:
        """The damped curvature, taking its examples from `train`."""
        curvature, size = self.study.curvature, self.study.run.batch_size
        kind = {"gauss-newton": fastif.GaussNewton, "hessian": fastif.Hessian}[curvature.kind]
        ids = sampled_rows(len(train), curvature.rows, curvature.seed)
        return kind(self.objective, train, ids, batch_size=size).damped(curvature.damping)

    @property
    def index_digest(self) -> str:
        """What the candidate index depends on."""
        candidates = self.study.candidates.model_dump(mode="json")
        return fingerprint({"parts": self._common(), "factory": candidates.get("factory")})

    @property
    def factor_digest(self) -> str:
        """What the solver's factor of the curvature depends on."""
        solver, curvature = self.study.solver, self.study.curvature.model_dump(mode="json")
        if not solver.factor_depends_on_damping:
            del curvature["damping"]
        parts = {
            **self._common(),
            "attributed": list(self.objective.space.names),
            "curvature": curvature,
            "solver": solver.kind,
            "batch_size": self.study.run.batch_size,
        }
        return fingerprint(parts)

    def _common(self) -> dict[str, object]:
        parts = self.plan.record.parts
        names = ("mathematics", "model", "train", "labels", "max_length")
        return {name: parts[name] for name in names}

    @cached_property
    def attributor(self) -> fastif.Attributor:
        """The attributor of this study, with the parts that were prepared in the store."""
        store = self.store
        return fastif.Attributor(
            self.objective,
            self.train,
            self.operator,
            self.study.solver,
            self._search(store),
            read_factor(store, self.factor_digest),
            self.study.run.batch_size,
        )

    def _search(self, store: Store) -> fastif.Nearest | fastif.Everything:
        candidates = self.study.candidates
        if isinstance(candidates, FullScan):
            return fastif.Everything(candidates.keep)
        part = store.part("index", self.index_digest)
        assert part is not None, "the index is prepared before any shard"
        return fastif.Nearest(fastif.CandidateIndex.load(part / "index.faiss"), candidates.k)


def cached(
    objective: fastif.Objective, texts: fastif.TextExamples, study: Study
) -> fastif.PrefixCache:
    """Texts with their frozen part computed once, within the study's memory for it."""
    budget = study.run.prefix_cache_mb * MEGABYTE
    with bar("hidden states of frozen layers", len(texts)) as advance:
        return fastif.PrefixCache(objective, texts, budget, progress=advance)


def sampled_rows(count: int, rows: int | None, seed: int) -> torch.Tensor:
    """The training rows that the curvature is taken over: all, or a fixed random sample."""
    if rows is None or rows >= count:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:rows].sort().values


def write_factor(folder: Path, factor: fastif.Factor) -> None:
    """Keep a solver's factor as safetensors."""
    tensors = {name: tensor.contiguous() for name, tensor in factor.items()}
    save_file(tensors, folder / "factor.safetensors")


def read_factor(store: Store, digest: str) -> fastif.Factor | None:
    """The factor that was prepared, or None for a solver that has none."""
    part = store.part("factor", digest)
    return None if part is None else load_file(part / "factor.safetensors")


_lock = threading.Lock()
_jobs: dict[tuple[RunRef, Study], Job] = {}


def open_job(ref: RunRef) -> Job:
    """The job of a run, opened on first use and kept until another is asked for.

    A long-lived process may see the same run in another store or with other sizes, which are no
    part of its name; so the study file itself is compared too.

    Raises:
        InputError: the study or its files have changed since the run was planned.
    """
    with _lock:
        key = (ref, load_study(Path(ref.study)))
        if key not in _jobs:
            plan = plan_run(Path(ref.study), ref.run)
            if plan.record.fingerprint != ref.fingerprint:
                raise InputError(
                    f"run {ref.run}",
                    "the study, tables and model it was planned with",
                    "other contents",
                    "Do not change them while a run works; start the audit again.",
                )
            _jobs.clear()  # one model in memory at a time
            _jobs[key] = make_job(plan)
        return _jobs[key]


def checked_job(plan: Plan) -> Job:
    """The job of a plan, after refusing all that would stop it later. Nothing is written.

    Raises:
        StoreError: the store is another study's or cannot be written; the run's name is taken.
        InputError: the model or the candidate index does not fit the study.
    """
    Store.check_run(plan.store_path, plan.record)
    job = open_job(plan.ref)
    job.study.solver.check(job.curvature(job.train_texts))
    candidates = plan.inputs.study.candidates
    if isinstance(candidates, Knn):
        width = job.objective.embed(job.query_texts.take(torch.arange(1))).shape[1]
        fastif.CandidateIndex.check(candidates.factory, width)
    return job


def compute_device() -> torch.device:
    """The GPU if torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_job(plan: Plan) -> Job:
    """Load the model, check it against the study, tokenise both tables.

    Raises:
        InputError: the model does not fit the study.
    """
    study = plan.inputs.study
    folder = model_folder(study)
    model = fastif.load_model(folder, study.labels)
    tokenizer = fastif.load_tokenizer(folder, model)
    fastif.check_length(model, study.model.max_length)
    device = compute_device()
    model.to(device)  # type: ignore[arg-type]
    objective = fastif.TransformerObjective(model, _attributed(study))

    def encoded(table: Table) -> fastif.TextExamples:
        return fastif.encode(
            tokenizer, table.texts, table.text_pairs, table.labels, study.model.max_length, device
        )

    return Job(plan, objective, encoded(plan.inputs.train), encoded(plan.inputs.queries))


def _attributed(study: Study) -> str | list[str]:
    chosen = study.parameters.attributed
    return chosen if isinstance(chosen, str) else list(chosen)
