"""One urgent query: the T repeats of its LiSSA solve, each by whoever is free, averaged.

The paper's parallel mode. Thousands of queries are split by shard instead, which wastes nothing;
this is for the one that somebody waits for. Repeats are kept as parts of the store: a second
question about the query, or a worker that died, costs what is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from prefect import task
from prefect.cache_policies import NO_CACHE
from safetensors.torch import load_file, save_file
from torch import Tensor

import fastif
from fastif import InputError
from storage import StoreError, fingerprint
from tasks.data.dataset import Table
from tasks.planning.open_run import leased_job
from tasks.results.diagnostics import Row
from tasks.results.summary import Explained
from tasks.run.artifacts import read_factor
from tasks.run.context import Job
from tasks.run.spec import (
    MATHEMATICS,
    Inputs,
    RunRef,
    check_audited,
)
from tasks.runtime.retries import passing_faults
from tasks.study.spelling import composed
from tasks.study.study import Study

KIND, FILE = "repeats", "repeat.safetensors"


@dataclass(frozen=True)
class Asked:
    """An urgent question.

    Attributes:
        query: position in the query table.
        repeats: T, independent runs of LiSSA.
        k: training rows at each end.
    """

    query: int
    repeats: int
    k: int

    @property
    def ids(self) -> Tensor:
        """The query, as a solve takes it."""
        return torch.tensor([self.query])


def asked_of(inputs: Inputs, name: str, repeats: int | None, k: int) -> Asked:
    """The question about the query with this id.

    Raises:
        StudyError: it is a study of labels alone.
        InputError: no such query, or the study's solver is not LiSSA.
    """
    check_audited(inputs.study)
    lissa = lissa_of(inputs.study)
    name = composed(name)
    if name not in inputs.queries.ids:
        raise InputError(
            "query", f"an id of {inputs.queries.place}", name, f"Such as {inputs.queries.ids[0]}."
        )
    return Asked(inputs.queries.ids.index(name), repeats or lissa.repeats, k)


def lissa_of(study: Study) -> fastif.Lissa:
    """The study's solver.

    Raises:
        InputError: it is another, of which there are no repeats.
    """
    if isinstance(study.solver, fastif.Lissa):
        return study.solver
    raise InputError(
        "[solver] kind",
        '"lissa", whose repeats can be split over workers',
        f'"{study.solver.kind}"',
        "An audit of this one query is as fast as it gets, or choose lissa.",
    )


@task(
    name="solve-repeat",
    task_run_name="repeat-{index}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_condition_fn=passing_faults,
)
def solve_repeat(index: int, asked: Asked, ref: RunRef) -> str:
    """Solve one repeat and keep it; the digest of its part."""
    with leased_job(ref) as job:
        digest = _digest(job, asked, index)
        if job.store.part(KIND, digest) is None:
            gradients = fastif.Gradients(job.objective)
            rhs = fastif.measure_rows(gradients, job.queries, asked.ids, 1)
            factor = read_factor(job.store, job.factor_digest)
            found = lissa_of(job.study).repeat(job.operator, rhs, index, factor)
            tensors = {
                "value": found.value.cpu().contiguous(),
                "residual": found.residual.cpu(),
                "converged": found.converged.cpu(),
                "steps": torch.tensor(found.steps),
            }
            job.store.write_part(KIND, digest, lambda to: save_file(tensors, to / FILE))
        return digest


@task(name="answer-urgent", cache_policy=NO_CACHE, persist_result=False)
def answer_urgent(digests: Sequence[str], asked: Asked, ref: RunRef) -> Explained:
    """Average the repeats, and score every training row with the mean."""
    with leased_job(ref) as job:
        device = job.train_texts.device
        runs = tuple(_read(job, digest, device) for digest in digests)
        solver = Repeated(lissa_of(job.study), runs)
        attributor = replace(job.alone(fastif.Everything(asked.k)), solver=solver, factor={})
        answer = attributor(job.queries, asked.ids)
        outputs, losses = fastif.predict(job.objective, job.queries, ids=asked.ids)
        return _explained(job, asked, answer, int(outputs[0].argmax()), float(losses[0]))


@dataclass(frozen=True, eq=False)
class Repeated(fastif.Solver):
    """LiSSA of which every repeat has been solved already."""

    lissa: fastif.Lissa
    runs: tuple[fastif.Solution, ...]

    def solve(
        self,
        operator: fastif.Damped,
        rhs: Float[Tensor, "q p"],
        factor: fastif.Factor | None = None,
    ) -> fastif.Solution:
        return self.lissa.merged(operator, rhs, self.runs)


def _read(job: Job, digest: str, device: torch.device | str) -> fastif.Solution:
    folder = job.store.part(KIND, digest)
    if folder is None:
        raise StoreError.at(
            f"repeat {digest[:12]}",
            expected="the part that was solved just now",
            got="none",
            remedy="Somebody emptied the store meanwhile; ask again.",
        )
    found = load_file(folder / FILE, device=str(device))
    return fastif.Solution(
        found["value"],
        found["residual"],
        found["converged"],
        int(found["steps"]),
        job.damping,
    )


def _digest(job: Job, asked: Asked, index: int) -> str:
    """Of everything that a repeat depends on; not of how many there are."""
    solver = {name: value for name, value in vars(lissa_of(job.study)).items() if name != "repeats"}
    row = job.plan.inputs.queries.take([asked.query])
    return fingerprint(
        {
            "mathematics": MATHEMATICS,
            "factor": job.factor_digest,
            "damping": job.damping,
            "query": row.digest,
            "solver": solver,
            "repeat": index,
        }
    )


def _explained(
    job: Job, asked: Asked, answer: fastif.Attribution, predicted: int, loss: float
) -> Explained:
    inputs, labels = job.plan.inputs, job.study.labels
    row = _example(inputs.queries, asked.query, labels)
    query = row | {
        "prediction": labels[predicted],
        "loss": loss,
        "correct": row["label"] == labels[predicted],
        "reason": answer.certificate.reasons[0],
        "residual": float(answer.certificate.residual[0]),
        "spread": None
        if answer.certificate.spread is None
        else float(answer.certificate.spread[0]),
    }
    found = answer.influences
    pairs = zip(found.ids[0].tolist(), found.removal_effect[0].tolist(), strict=True)
    scored = [(train, effect) for train, effect in pairs if train >= 0]
    rows: list[dict[str, Any]] = [
        {f"train_{name}": value for name, value in _example(inputs.train, train, labels).items()}
        | {"removal_effect": effect, "spread": None, "train_trained": _trained(job, train)}
        for train, effect in scored
    ]
    harmful = [one for one in rows if one["removal_effect"] < 0][: asked.k]
    helpful = [one for one in reversed(rows) if one["removal_effect"] > 0][: asked.k]
    return Explained(query, harmful, helpful)


def _trained(job: Job, train: int) -> bool | None:
    """Whether the model was fitted to a training row with its label; None where not known."""
    known = job.provenance
    return None if known is None or known.trained is None else bool(known.trained[train])


def _example(table: Table, place: int, labels: Sequence[str]) -> Row:
    pair = None if table.text_pairs is None else table.text_pairs[place]
    return {
        "id": table.ids[place],
        "text": table.texts[place],
        "text_pair": pair,
        "label": labels[table.labels[place]],
    }
