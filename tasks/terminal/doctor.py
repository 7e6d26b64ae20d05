"""Checks of `fastif doctor`: the machine, and the study's model and rows; failures name a fix."""

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

import fastif
from fastif import InputError
from fastif.candidates.faiss_gpu import describe_faiss
from fastif.models.trial import try_table
from tasks.data.announcements import collect_notes
from tasks.mislabels.detection_plan import read_detection_plan, warn_encoder
from tasks.models.row_predictions import predict_rows
from tasks.models.target_outputs import is_predicted
from tasks.planning.open_run import load_run
from tasks.results.webhook import find_webhook_problem
from tasks.run.assemble import get_provenance
from tasks.run.context import RunContext
from tasks.run.spec import plan_run
from tasks.runtime.devices import resolve_devices
from tasks.runtime.foreign_errors import format_error
from tasks.runtime.versions import read_versions
from tasks.study.device_names import AUTO
from tasks.study.errors import StudyError
from tasks.study.night_sections import Notify
from tasks.study.study import Study, load_study
from tasks.study.target_kind import SOFT_LABEL, TAGS
from tasks.terminal.output_orders import find_better_order
from tasks.terminal.stated_loss import check_stated_loss
from tasks.terminal.tree_checks import TREE_CHECKS

TOLERANCE = 1e-4
PROBE_SIZE = 4
LABEL_ORDER_ROWS = 128
"""Number of training rows that are predicted to check the order of the labels."""


@dataclass(frozen=True)
class Check:
    """Result of one check."""

    name: str
    passed: bool
    detail: str


def run_checks(study: Path | None) -> Iterator[Check]:
    """Check the machine and, if given, the study."""
    yield Check("versions", True, ", ".join(f"{k} {v}" for k, v in read_versions().items()))
    yield _run_check("faiss", describe_faiss)
    yield Check("threads", True, f"torch uses {torch.get_num_threads()} of {os.cpu_count()} cores")
    yield _run_check("devices", lambda: _check_devices(study))
    if study is None:
        return
    contexts: list[RunContext] = []
    with collect_notes() as notes:
        check = _run_check("study, tables, model", lambda: _check_study(study, contexts))
    yield check
    for note in notes:
        yield Check("table", True, note)
    for context in contexts:
        if context.study.has_trees:
            yield from _check_trees(context)
            continue
        yield _run_check("trial on a few rows", lambda context=context: _check_trial(context))
        yield _run_check(
            "losses do not depend on the batch",
            lambda context=context: _check_batch_independence(context),
        )
        yield _run_check(
            "evaluation is deterministic", lambda context=context: _check_determinism(context)
        )
        yield _run_check(
            "every parameter has a gradient", lambda context=context: _check_gradients(context)
        )
        yield _run_check("double backward", lambda context=context: _check_double_backward(context))
        yield Check("frozen prefix", True, _describe_prefix_cache(context))
        for note in context.objective.notes:
            yield Check("model", True, note)
        yield _run_check("order of labels", lambda context=context: _check_label_order(context))
        yield _run_check("stated loss", lambda context=context: check_stated_loss(context))
        yield _run_check("wrong labels", lambda context=context: _describe_encoder(context.study))
        yield _run_check("webhook", lambda context=context: _check_webhook(context.study.notify))
        yield _run_check("training record", lambda context=context: _check_training_record(context))


def _check_trees(context: RunContext) -> Iterator[Check]:
    """Yield the checks of boosted trees, which have no gradients."""
    checks = {**TREE_CHECKS, "order of labels": _check_label_order}
    checks["webhook"] = lambda context: _check_webhook(context.study.notify)
    for name, check in checks.items():
        yield _run_check(name, lambda check=check: check(context))
    for note in context.objective.notes:
        yield Check("model", True, note)


def _run_check(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except Exception as error:  # from any library: a failed check is a result, not a traceback
        return Check(name, False, format_error(error))


def _check_devices(study: Path | None) -> str:
    """Devices of the study; of the machine if there is no study or it cannot be read."""
    try:
        names = AUTO if study is None else load_study(study).run.devices
    except StudyError:
        names = AUTO  # the next check reports the error
    descriptions = ", ".join(device.description for device in resolve_devices(names))
    return f"{descriptions}; the processor is {platform.processor() or platform.machine()}"


def _check_study(study: Path, contexts: list[RunContext]) -> str:
    loaded = load_study(study)
    if not loaded.has_audit:
        return _check_labels_only(study)
    context = load_run(plan_run(study))
    contexts.append(context)
    truncated = (
        int(context.train_examples.truncated.sum()),
        int(context.query_examples.truncated.sum()),
    )
    return (
        f"{len(context.train_examples)} training rows ({truncated[0]} truncated), "
        f"{len(context.query_examples)} queries ({truncated[1]} truncated), "
        f"{context.objective.space.size:,} attributed parameters"
    )


def _check_labels_only(study: Path) -> str:
    mislabel_study = read_detection_plan(study)
    reader = (
        _describe_plain(mislabel_study.inputs.study)
        if mislabel_study.encoder is None
        else f"embedded by {mislabel_study.encoder.folder}"
    )
    return f"labels only: {len(mislabel_study.inputs.train):,} rows, {reader}"


def _describe_plain(study: Study) -> str:
    return f"{'features' if study.train.image is None else 'pixels'} used as they are"


def _describe_encoder(study: Study) -> str:
    """Describe what embeds the rows in a search for wrong labels."""
    if study.target == SOFT_LABEL:
        return "soft labels are not searched"
    if study.target == TAGS:
        return "wrong spans are searched by `fastif spans find`"
    if study.model.factory is not None and study.mislabels.encoder is None:
        if study.train.text:
            return "no search of texts without [mislabels] encoder: [model] factory makes none"
        return _describe_plain(study)
    warning = warn_encoder(study)
    return (
        warning.removeprefix("Wrong labels: ")
        if warning
        else "embedded by a model that has not seen these labels"
    )


def _check_webhook(notify: Notify) -> str:
    problem = find_webhook_problem(notify)
    if problem:
        change = "Set it wherever the audit runs, also for the worker of a deployment."
        raise InputError("[notify]", "the address of a webhook", problem, change)
    return "its address is set" if notify.webhook_env else "none in the study"


def _check_trial(context: RunContext) -> str:
    """Run the checks that an audit runs before its first shard: order, batch, precision, labels."""
    for member in context.members:
        try_table(member.objective, context.train_examples, "[train] table")
        try_table(
            member.objective,
            context.query_examples,
            "[queries] table",
            member.objective.query_measure,
        )
    return "outputs are deterministic, independent of the batch, in full precision; labels fit"


def _compute_losses(context: RunContext, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return context.objective.losses(context.objective.params, context.query_examples.take(ids))


def _select_probe(context: RunContext) -> torch.Tensor:
    """Positions of the shortest and the longest queries, where padding matters most."""
    order = context.query_examples.lengths.argsort()
    return torch.cat([order[: PROBE_SIZE // 2], order[-PROBE_SIZE // 2 :]]).unique()


def _check_batch_independence(context: RunContext) -> str:
    ids = _select_probe(context)
    single_losses = torch.cat([_compute_losses(context, single_id) for single_id in ids.split(1)])
    difference = float((single_losses - _compute_losses(context, ids)).abs().max())
    if difference > TOLERANCE:
        raise InputError(
            "model",
            "a loss that does not depend on the other rows of its batch",
            f"a difference of {difference:.1e} nats",
            "Look for batch statistics or a wrong attention mask in the model.",
        )
    return f"largest difference {difference:.1e} nats"


def _check_determinism(context: RunContext) -> str:
    ids = _select_probe(context)
    difference = float((_compute_losses(context, ids) - _compute_losses(context, ids)).abs().max())
    if difference > 0:
        raise InputError(
            "model",
            "the same loss twice in evaluation mode",
            f"a difference of {difference:.1e} nats",
            "Look for dropout or sampling that evaluation mode does not switch off.",
        )
    return "the same losses twice"


def _check_gradients(context: RunContext) -> str:
    gradients = fastif.Gradients(context.objective)
    tile = gradients.compute_loss_tile(context.query_examples.take(_select_probe(context)))
    names = context.objective.space.names
    slices = context.objective.space.slices
    without_gradient = [
        n for n, where in zip(names, slices, strict=True) if not tile.gradients[:, where].any()
    ]
    if without_gradient:
        raise InputError(
            "[parameters] attributed",
            "parameters that the loss depends on",
            f"{len(without_gradient)} without any gradient, such as {without_gradient[0]}",
            "Attribute fewer parameters, or ignore this if they are intentionally unused.",
        )
    slow = f"one example at a time (slow): {gradients.route.reason}"
    mode = slow if gradients.per_example_backward else "for a batch at a time"
    return f"{len(names)} tensors, gradients are computed {mode}"


def _check_label_order(context: RunContext) -> str:
    """Compare predictions and labels of a few training rows under every order of the labels."""
    study, every = context.study, context.plan.inputs.train.targets
    count = len(context.train_examples)
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:LABEL_ORDER_ROWS]
    outputs, losses = fastif.predict(context.objective, context.train_examples, ids=rows)
    given = [every[i] for i in rows.tolist()]
    predicted = predict_rows(study, outputs, context.train_examples, rows)
    other = find_better_order(study, given, predicted, outputs)
    if other is not None:
        raise InputError(
            "labels",
            "the order of the model's outputs",
            str(other),
            "Reorder `labels` of the study like the outputs of the model.",
        )
    pairs = zip(given, predicted, strict=True)
    correct = [is_predicted(study, label, prediction) for label, prediction in pairs]
    if None in correct:
        return f"mean loss of {len(given)} training rows: {float(losses.mean()):.3g}"
    return f"{sum(map(bool, correct))} of {len(given)} training rows are predicted correctly"


def _check_double_backward(context: RunContext) -> str:
    ids = _select_probe(context)[:1]
    operator = fastif.Hessian(context.objective, context.query_examples, ids)
    try:
        product = operator.apply(torch.ones(1, operator.size, device=operator.like.device))
    except RuntimeError as error:
        raise InputError(
            "[curvature] kind",
            "operations that can be differentiated twice",
            str(error).splitlines()[0],
            'Use kind = "gauss-newton", which needs one backward pass only.',
        ) from error
    return f"a Hessian product of norm {float(product.norm()):.2g}"


def _describe_prefix_cache(context: RunContext) -> str:
    cut_layers = context.objective.num_frozen_layers
    if not cut_layers:
        return "none: every pass runs the whole model"
    return f"embeddings and {cut_layers} encoder layers: their outputs are cached for each row"


def _check_training_record(context: RunContext) -> str:
    provenance = get_provenance(context)
    if provenance is None:
        return "none in the model's folder; the training recipe is taken from the study"
    return " ".join(map(str, provenance.differences)) or "agrees with the study"
