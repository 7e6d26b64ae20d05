"""A study's model repaired on anchors, and whether that did any good, on examples held out."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE
from scipy import stats
from torch import Tensor

import fastif
from fastif import InputError
from fastif.correction import Corrected, Correction, correct
from fastif.data.examples import Selected
from fastif.models.parameters import Params
from storage.atomic_folder import in_place
from tasks.data.dataset import Table, read_table
from tasks.data.held_out import different, halves
from tasks.models.locate import model_digest, model_folder
from tasks.planning.open_run import checked_job
from tasks.run.artifacts import read_factor
from tasks.run.context import Job, cached
from tasks.run.spec import plan_run, versions
from tasks.runtime.progress import bar
from tasks.runtime.writable_path import check_outside
from tasks.study.errors import Problem, StudyError
from tasks.study.sections import QuerySource, TableSource
from tasks.study.study import Study

RECORD = "fastif-correction.json"
HELD = 0.5
"""Share of the anchors that no step sees, by which the repair is judged."""
SURE = 0.95
LEAST = 20
"""Anchors below which half of them would say nothing."""


@dataclass(frozen=True)
class Asked:
    """What is to be repaired.

    Attributes:
        study: its file.
        anchors: a table with the columns of [queries].
        out: a new folder for the model.
        source: a table with the columns of [train] to learn from; the training rows if None.
        how: steps, numbers and seed.
        keep: whether the model is written even if it is no improvement.
    """

    study: Path
    anchors: Path
    out: Path
    source: Path | None
    how: Correction
    keep: bool


@dataclass(frozen=True)
class Slice:
    """Examples before and after.

    Attributes:
        name: of the slice.
        rows: how many.
        before, after: accuracy.
        loss: change of the mean loss, nats; negative is better.
        low, high: its 95 % interval over the examples.
    """

    name: str
    rows: int
    before: float
    after: float
    loss: float
    low: float
    high: float


@dataclass(frozen=True)
class Repair:
    """What came of it.

    Attributes:
        improved: whether it is an improvement; then, or if asked for, the model was written.
        why: in one sentence.
        slices: the anchors that were held out, all queries, and queries by group.
        taken: ids of the rows that each step was taken on.
        out: the folder of the model; None if it was not written.
    """

    improved: bool
    why: str
    slices: Sequence[Slice]
    taken: Sequence[Sequence[str]]
    out: str | None


@task(name="correct-model", cache_policy=NO_CACHE)
def correct_model(asked: Asked) -> Repair:
    """Repair a study's model on anchors, check it on others, and write it if it is better.

    Raises:
        StudyError, InputError: something is wrong with the study, a table or the folder; or the
            damping is yet to be chosen.
    """
    job, anchors, source = _opened(asked)
    used, held = halves(anchors, HELD, asked.how.seed)
    texts = _texts(job, anchors)
    table, ids = job.train, job.plan.inputs.train.ids
    if source is not None:
        table, ids = cached(job.objective, _texts(job, source), job.study), source.ids
    factor = read_factor(job.store, job.factor_digest) if _is_begun(job) else None
    factor = factor or job.study.solver.factor(job.operator)

    def solve(b: Tensor) -> Tensor:
        return job.study.solver.solve(job.operator, b, factor).value

    with bar("steps", asked.how.steps) as advance:
        found = correct(
            job.objective,
            table,
            Selected(texts, used),
            solve,
            asked.how,
            lambda _: advance(1),
        )
    slices = _slices(job, anchors, texts, held, found.params)
    improved, why = _verdict(slices)
    written = improved or asked.keep
    # Of a step on anchors, positions are those among the anchors that were used.
    names = [anchors.ids[i] for i in used.tolist()] if asked.how.by == "anchors" else ids
    taken = [[names[i] for i in rows.tolist()] for rows in found.taken]
    repair = Repair(improved, why, slices, taken, str(asked.out) if written else None)
    if written:
        _write(job, asked, found, repair)
    return repair


def _opened(asked: Asked) -> tuple[Job, Table, Table | None]:
    """The job and the tables, after refusing what would stop it later."""
    if asked.out.exists():
        raise InputError(f"--out {asked.out}", "a new folder", "one that exists", "Name another.")
    plan = plan_run(asked.study)
    check_outside(plan.store_path, asked.out)
    study = plan.inputs.study
    anchors = _read(study, study.queries, asked.anchors, "--anchors")
    if (count := different(anchors)) < LEAST:
        got = f"{count}" if count == len(anchors) else f"{count} among {len(anchors)} rows"
        remedy = "Give more: half of them are held out to judge the repair."
        raise InputError("--anchors", f"{LEAST} examples or more", got, remedy)
    source = None
    if asked.source is not None:
        source = _read(study, study.train, asked.source, "--from")
    job = checked_job(plan)
    if job.others:
        raise InputError("models", "one model", "several", "Repair one of them by itself.")
    if job.fixed_or_chosen is None:
        remedy = f"Run `fastif audit {asked.study}` first, or set a number."
        raise InputError("[curvature] damping", "one that is chosen", "none yet", remedy)
    return job, anchors, source


def _read(study: Study, source: TableSource, table: Path, option: str) -> Table:
    """A table of an option, with the columns of a section; refused by the name of the option.

    Raises:
        StudyError: it cannot be read.
    """
    role = "queries" if source is study.queries else "train"
    try:
        return read_table(_from(source, table), study.labels, Path(), role)
    except StudyError as error:
        problems = [_of(problem, f"[{role}] table", option) for problem in error.problems]
        raise StudyError(error.file, problems) from None


def _of(problem: Problem, key: str, option: str) -> Problem:
    """The same problem of an option in place of a key; its path starts where the command runs."""
    if problem.where != key:
        return problem
    change = problem.change.replace("; it starts from the study's folder", "")
    return replace(problem, where=option, change=change)


def _from(source, table: Path):
    """The same columns of another table."""
    groups = {"groups": ()} if isinstance(source, QuerySource) else {}
    changes = {"table": str(table.resolve()), "dataset": None, "split": None, "config": None}
    return source.model_copy(update=changes | groups)


def _is_begun(job: Job) -> bool:
    return job.plan.store_path.exists()


def _texts(job: Job, table: Table) -> fastif.TextExamples:
    tokenizer = fastif.load_tokenizer(model_folder(job.study), job.objective.whole)
    return fastif.encode(
        tokenizer,
        table.texts,
        table.text_pairs,
        table.labels,
        job.study.model.max_length,
        job.objective.like.device,
        job.study.run.batch_tokens,
    )


def _slices(
    job: Job, anchors: Table, texts: fastif.TextExamples, held: Tensor, params: Params
) -> list[Slice]:
    found = [_compared("anchors held out", *_both(job, texts, held, params))]
    queries = job.plan.inputs.queries
    every = _both(job, job.query_texts, fastif.every(job.query_texts), params)
    found.append(_compared("all queries", *every))
    for column, values in queries.groups.items():
        for value in sorted({v for v in values if v is not None}):
            of = torch.tensor([v == value for v in values])
            found.append(_compared(f"{column} {value}", *(part[:, of] for part in every)))
    return found


def _both(job: Job, texts: fastif.Examples, ids: Tensor, params: Params) -> tuple[Tensor, Tensor]:
    """Whether each example is right, and its loss, before and after: [2 m] each."""
    right, losses = [], []
    trained = job.objective.params
    labels = torch.tensor([int(texts.labels[i]) for i in ids])  # type: ignore[attr-defined]
    try:
        for now in (trained, params):
            job.objective.params = now
            outputs, loss = fastif.predict(job.objective, texts, ids=ids)
            right.append(outputs.argmax(1).cpu() == labels)
            losses.append(loss.cpu())
    finally:
        job.objective.params = trained
    return torch.stack(right), torch.stack(losses)


def _compared(name: str, right: Tensor, losses: Tensor) -> Slice:
    change = (losses[1] - losses[0]).double()
    half = 0.0
    if len(change) > 1:
        t = float(stats.t.ppf(0.5 + SURE / 2, len(change) - 1))
        half = t * float(change.std()) / len(change) ** 0.5
    mean = float(change.mean())
    before, after = (float(r.float().mean()) for r in right)
    return Slice(name, len(change), before, after, mean, mean - half, mean + half)


def _verdict(slices: Sequence[Slice]) -> tuple[bool, str]:
    """An improvement is one on the anchors held out that costs the queries no accuracy for sure."""
    held, queries = slices[0], slices[1]
    if held.high >= 0:
        return False, (
            f"No improvement: on the {held.rows} anchors held out the loss changes by "
            f"{held.loss:+.3f} nats ({held.low:+.3f} to {held.high:+.3f})."
        )
    if queries.low > 0 and queries.after < queries.before:
        return False, (
            f"No improvement: the anchors gain, but all queries lose: {queries.before:.1%} to "
            f"{queries.after:.1%}, {queries.loss:+.3f} nats ({queries.low:+.3f} to "
            f"{queries.high:+.3f})."
        )
    return True, (
        f"Improved: {held.before:.1%} to {held.after:.1%} of the {held.rows} anchors held out, "
        f"{held.loss:+.3f} nats ({held.low:+.3f} to {held.high:+.3f}); all queries "
        f"{queries.before:.1%} to {queries.after:.1%}."
    )


def _write(job: Job, asked: Asked, found: Corrected, repair: Repair) -> None:
    """The model and the record of how it came about, whole or not at all."""
    model, folder = job.objective.whole, model_folder(job.study)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    record = {
        "from": model_digest(folder),
        "how": asdict(asked.how),
        "anchors": asked.anchors.name,
        "source": asked.source.name if asked.source else "training rows",
        **asdict(repair),
        "versions": versions(),
    }
    try:
        model.load_state_dict(dict(found.params), strict=False)
        with in_place(asked.out) as aside:
            model.save_pretrained(aside, safe_serialization=True)
            fastif.load_tokenizer(folder, model).save_pretrained(aside)
            record["model_digest"] = model_digest(aside)
            (aside / RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    finally:
        model.load_state_dict(before)


def slices_frame(repair: Repair) -> pl.DataFrame:
    """Before and after, a row a slice."""
    return pl.DataFrame([asdict(one) for one in repair.slices])
