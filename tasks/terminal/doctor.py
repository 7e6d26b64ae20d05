"""Is this machine, and this study, fit for an audit? Each check answers or says what to change."""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

import fastif
from fastif import InputError
from fastif.models.trial import try_table
from tasks.mislabels.detect import search_of
from tasks.models.label_order import other_order
from tasks.planning.open_run import make_job
from tasks.results.alerts import webhook_problem
from tasks.run.context import Job
from tasks.run.spec import plan_run, versions
from tasks.runtime.devices import devices_of
from tasks.runtime.foreign_errors import told
from tasks.study.device_names import AUTO
from tasks.study.errors import StudyError
from tasks.study.sections import Notify
from tasks.study.study import load_study

TOLERANCE = 1e-4
PROBE = 4
ORDERED = 128
"""Training rows whose predictions tell the order of the labels."""


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    passed: bool
    found: str


def examine(study: Path | None) -> Iterator[Check]:
    """Check the machine and, if there is one, the study."""
    yield Check("versions", True, ", ".join(f"{k} {v}" for k, v in versions().items()))
    yield _checked("faiss", _faiss)
    yield Check("threads", True, f"torch uses {torch.get_num_threads()} of {os.cpu_count()} cores")
    yield _checked("devices", lambda: _devices(study))
    if study is None:
        return
    jobs: list[Job] = []
    yield _checked("study, tables, model", lambda: _open(study, jobs))
    for job in jobs:
        yield _checked("trial on a few rows", lambda job=job: _trial(job))
        yield _checked("losses ignore batch mates", lambda job=job: _batch_mates(job))
        yield _checked("evaluation is deterministic", lambda job=job: _deterministic(job))
        yield _checked("every parameter has a gradient", lambda job=job: _gradients(job))
        yield _checked("double backward", lambda job=job: _double_backward(job))
        yield Check("frozen prefix", True, _prefix(job))
        for note in job.objective.notes:
            yield Check("model", True, note)
        yield _checked("order of labels", lambda job=job: _label_order(job))
        yield _checked("webhook", lambda job=job: _webhook(job.study.notify))
        yield _checked("training record", lambda job=job: _training(job))


def _checked(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except Exception as error:  # of any library: a check that fails is an answer, no traceback
        return Check(name, False, told(error))


def _faiss() -> str:
    fastif.load_faiss()
    return ", ".join(f"{name} {found}" for name, found in fastif.faiss_builds().items())


def _devices(study: Path | None) -> str:
    """Those of the study; without one, or with one that cannot be read, those of the machine."""
    try:
        names = AUTO if study is None else load_study(study).run.devices
    except StudyError:
        names = AUTO  # the next check says what is wrong with it
    found = ", ".join(device.described for device in devices_of(names))
    return f"{found}; the processor is {platform.processor() or platform.machine()}"


def _open(study: Path, jobs: list[Job]) -> str:
    loaded = load_study(study)
    if not loaded.audited:
        return _labels_alone(study)
    job = make_job(plan_run(study))
    jobs.append(job)
    cut = int(job.train_texts.truncated.sum()), int(job.query_texts.truncated.sum())
    return (
        f"{len(job.train_texts)} training rows ({cut[0]} cut), "
        f"{len(job.query_texts)} queries ({cut[1]} cut), "
        f"{job.objective.space.size:,} attributed parameters"
    )


def _labels_alone(study: Path) -> str:
    search = search_of(study)
    reader = "as they are" if search.encoder is None else f"read by {search.encoder.folder}"
    return f"labels alone: {len(search.inputs.train):,} rows, {reader}"


def _webhook(notify: Notify) -> str:
    problem = webhook_problem(notify)
    if problem:
        change = "Set it where the audit runs, the worker of a deployment among them."
        raise InputError("[notify]", "an address to post to", problem, change)
    return "there is an address to post to" if notify.webhook_env else "none in the study"


def _trial(job: Job) -> str:
    """What an audit tries before its first shard, in other orders and companies."""
    for member in job.members:
        try_table(member.objective, job.train_texts, "[train] table")
        try_table(member.objective, job.query_texts, "[queries] table", member.objective.asked)
    return "no chance, no batch mates, the precision of the weights, labels that the loss knows"


def _losses(job: Job, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return job.objective.losses(job.objective.params, job.query_texts.take(ids))


def _probe(job: Job) -> torch.Tensor:
    """The shortest and the longest queries, where padding matters most."""
    order = job.query_texts.lengths.argsort()
    return torch.cat([order[: PROBE // 2], order[-PROBE // 2 :]]).unique()


def _batch_mates(job: Job) -> str:
    ids = _probe(job)
    alone = torch.cat([_losses(job, one) for one in ids.split(1)])
    gap = float((alone - _losses(job, ids)).abs().max())
    if gap > TOLERANCE:
        raise InputError(
            "model",
            "a loss that does not depend on the other rows of its batch",
            f"a difference of {gap:.1e} nats",
            "Look for batch statistics or a wrong attention mask in the model.",
        )
    return f"largest difference {gap:.1e} nats"


def _deterministic(job: Job) -> str:
    ids = _probe(job)
    gap = float((_losses(job, ids) - _losses(job, ids)).abs().max())
    if gap > 0:
        raise InputError(
            "model",
            "the same loss twice in evaluation mode",
            f"a difference of {gap:.1e} nats",
            "Look for dropout or sampling that evaluation mode does not switch off.",
        )
    return "the same losses twice"


def _gradients(job: Job) -> str:
    gradients = fastif.Gradients(job.objective)
    tile = gradients.of_losses(job.query_texts.take(_probe(job)))
    names = job.objective.space.names
    slices = job.objective.space.slices
    silent = [n for n, where in zip(names, slices, strict=True) if not tile.rows[:, where].any()]
    if silent:
        raise InputError(
            "[parameters] attributed",
            "parameters that the loss depends on",
            f"{len(silent)} without any gradient, such as {silent[0]}",
            "Attribute fewer parameters, or ignore this if they are unused on purpose.",
        )
    slow = f"one example at a time (slow): {gradients.route.why}"
    way = slow if gradients.one_by_one else "a tile at a time"
    return f"{len(names)} tensors, gradients taken {way}"


def _label_order(job: Job) -> str:
    """What the model says of a few training rows, which it knows best."""
    rows = torch.randperm(len(job.train_texts), generator=torch.Generator().manual_seed(0))
    given, predicted = [], []
    with torch.no_grad():
        for _, batch in fastif.batches(job.train_texts, rows[:ORDERED], job.study.run.batch_size):
            outputs = job.objective.outputs(job.objective.params, batch)
            given.extend(batch["labels"].tolist())
            predicted.extend(outputs.argmax(1).tolist())
    other = other_order(given, predicted, job.study.labels)
    if other is not None:
        raise InputError(
            "labels",
            "the order of the model's outputs",
            str(other),
            "Put `labels` of the study into the model's order.",
        )
    right = sum(one == other for one, other in zip(given, predicted, strict=True))
    return f"{right} of {len(given)} training rows are predicted as labelled"


def _double_backward(job: Job) -> str:
    ids = _probe(job)[:1]
    operator = fastif.Hessian(job.objective, job.query_texts, ids)
    try:
        product = operator.apply(torch.ones(1, operator.size, device=operator.like.device))
    except RuntimeError as error:
        raise InputError(
            "[curvature] kind",
            "an attention kernel that can be differentiated twice",
            str(error).splitlines()[0],
            'Use kind = "gauss-newton", which needs one backward pass only.',
        ) from error
    return f"a Hessian product of norm {float(product.norm()):.2g}"


def _prefix(job: Job) -> str:
    cut = job.objective.cut
    if not cut:
        return "none: the whole model is run each time"
    return f"{cut} encoder layers and the embeddings are run once a row"


def _training(job: Job) -> str:
    known = job.provenance
    if known is None:
        return "none beside the model: how it was trained is taken from the study"
    return " ".join(map(str, known.differences)) or "agrees with the study"
