"""Rules between the sections of a study, as far as they can be judged without the data."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from tasks.study.any_candidates import AnyCandidates
from tasks.study.any_solver import AnySolver
from tasks.study.errors import Problem, format_value
from tasks.study.fields import HUB
from tasks.study.loss import TrainingLoss
from tasks.study.sections import (
    Curvature,
    Mislabels,
    ModelSource,
    QuerySource,
    Run,
    TableSource,
    Training,
)

TOLERANCE = 1e-9


class StudySections(Protocol):
    """The sections of a study that are checked against each other; `tasks.study.study` has all."""

    @property
    def labels(self) -> Sequence[str]:
        """The label names."""
        ...

    @property
    def models(self) -> Sequence[str]:
        """Further checkpoints."""
        ...

    @property
    def model(self) -> ModelSource:
        """The model."""
        ...

    @property
    def train(self) -> TableSource:
        """The training table."""
        ...

    @property
    def queries(self) -> QuerySource:
        """The queries' table."""
        ...

    @property
    def loss(self) -> TrainingLoss:
        """The loss of training."""
        ...

    @property
    def curvature(self) -> Curvature:
        """The curvature."""
        ...

    @property
    def solver(self) -> AnySolver:
        """The solver."""
        ...

    @property
    def candidates(self) -> AnyCandidates:
        """How candidates are found."""
        ...

    @property
    def run(self) -> Run:
        """How it runs."""
        ...

    @property
    def training(self) -> Training | None:
        """How the model was trained, if it is said."""
        ...

    @property
    def mislabels(self) -> Mislabels:
        """The search for wrong labels."""
        ...

    @property
    def has_audit(self) -> bool:
        """Whether it says what an audit needs."""
        ...

    @property
    def fixed_damping(self) -> float | None:
        """The effective lambda; None where it is yet to be chosen."""
        ...


def find_contradictions(study: StudySections) -> Iterator[Problem]:
    """Everything in which one section contradicts another."""
    yield from _check_solver(study)
    yield from _check_candidates(study)
    yield from _check_loss(study)
    yield from _check_run(study)
    yield from _check_contents(study)
    if study.mislabels.folds is not None and study.training is None:
        yield Problem(
            "[mislabels] folds",
            "no such key, since there is no [training] section that could be repeated",
            f"{study.mislabels.folds}",
            "say in [training] how the model was trained, or remove it",
        )
    if study.training is not None and study.model.path.startswith(HUB):
        yield Problem(
            "[model] path",
            "a folder, which `fastif train` fills as [training] says",
            format_value(study.model.path),
            "name a folder, or leave out [training]; a base may be of the hub",
        )
    if study.model.path in study.models:
        yield Problem(
            "models",
            "other models than that of [model] path, which is always one of them",
            format_value(study.model.path),
            "remove it from models",
        )
    if study.train.text and len(study.train.text) != len(study.queries.text):
        yield Problem(
            "[queries] text",
            f"as many columns as in [train]: {len(study.train.text)}",
            format_value(study.queries.text),
            "give both tables one text column, or both a pair",
        )


def _check_contents(study: StudySections) -> Iterator[Problem]:
    """What is no text can be searched for wrong labels, and nothing else."""
    key = "features" if study.train.features else "image"
    if study.train.text:
        return
    if not getattr(study.queries, key):
        yield Problem(
            f"[queries] {key}",
            "the same columns as in [train]",
            "nothing",
            f"give both tables {key}",
        )
    if study.has_audit:
        yield Problem(
            f"[train] {key}",
            "text, which is what an audit explains a classifier of",
            key,
            "leave out [model], [curvature] and [candidates]: wrong labels are found without them",
        )
    if study.training is not None or study.mislabels.folds or study.mislabels.judge:
        yield Problem(
            "[training]" if study.training else "[mislabels]",
            f"no training and no judge for {key}: both are of texts",
            "a classifier",
            "remove it",
        )
    if study.mislabels.encoder is not None:
        yield Problem(
            "[mislabels] encoder",
            f"none for {key}, which are taken as they are",
            format_value(study.mislabels.encoder),
            "remove it; what another model says of a row can be a column of lists in features",
        )


def _check_solver(study: StudySections) -> Iterator[Problem]:
    solver = study.solver
    if study.fixed_damping is None and study.training is None:
        yield Problem(
            "[curvature] damping",
            'a number, since "auto" trains the model again and there is no [training] section',
            '"auto"',
            "set damping = 0.1 and compare with 0.01, or say in [training] how it was trained",
        )
    if study.fixed_damping == 0 and solver.requires_damping:
        # Direct factorises the whole matrix, and that of a convex model needs no damping. The
        # others divide by lambda (dual, spectral) or do not converge without it (cg, lissa).
        yield Problem(
            "[curvature] damping",
            f"a number > 0 for the solver {format_value(solver.kind)} (only direct takes 0)",
            format_value(study.curvature.damping),
            "set damping = 0.1 and compare with 0.01",
        )
    if solver.requires_factored and study.curvature.kind != "gauss-newton":
        yield Problem(
            "[curvature] kind",
            f'"gauss-newton" for the solver "{solver.kind}", which needs the matrix as a product',
            format_value(study.curvature.kind),
            'set kind = "gauss-newton", or the solver to cg, lissa or direct',
        )


def _check_candidates(study: StudySections) -> Iterator[Problem]:
    for where, method in study.candidates.methods_in_file:
        max_quota = 1 / len(study.labels)
        if method.quota is not None and method.quota > max_quota + TOLERANCE:
            yield Problem(
                f"{where} quota",
                f"at most 1 / {len(study.labels)}, since there are so many labels",
                format_value(method.quota),
                f"lower it to {int(100 * max_quota) / 100:g} or less",
            )
    if study.candidates.has_sketch_scores:
        yield from _check_sketch_scores(study)
    if study.fixed_damping == 0 and study.candidates.requires_damping:
        # Without it directions of hardly any curvature, which are rounding, outweigh all others.
        yield Problem(
            "[curvature] damping",
            'a number > 0 for candidates of kind "sketch"',
            format_value(study.curvature.damping),
            'set damping = 0.1 and compare with 0.01, or kind = "full" under [candidates]',
        )


def _check_sketch_scores(study: StudySections) -> Iterator[Problem]:
    change = "remove rescore = false under [candidates]"
    if study.models:
        got = f"{len(study.models)} models more"
        yield Problem("models", "none, where scores are by sketches of one", got, change)
    if len(study.candidates.methods) > 1:
        expected = "methods whose candidates are scored alike"
        yield Problem("[candidates] of", expected, "rescore = false", change)
    if study.curvature.leverage == "on":
        expected = '"off" or "auto", where scores are by sketches alone'
        yield Problem("[curvature] leverage", expected, '"on"', change)


def _check_loss(study: StudySections) -> Iterator[Problem]:
    loss, training = study.loss, study.training
    if isinstance(loss.class_weights, tuple) and len(loss.class_weights) != len(study.labels):
        yield Problem(
            "[loss] class_weights",
            f"{len(study.labels)} numbers, one for each of labels",
            format_value(list(loss.class_weights)),
            "give one number a label, in the order of labels",
        )
    if loss.weight_decay_kind == "coupled" and loss.weight_decay is None and training is None:
        yield Problem(
            "[loss] weight_decay",
            "the L2 weight decay of training, since it is coupled",
            "nothing",
            "add weight_decay = ... under [loss], or remove weight_decay_kind",
        )
    training_decay = training.weight_decay if training else None
    if loss.weight_decay is not None and training_decay not in (None, loss.weight_decay):
        yield Problem(
            "[training] weight_decay",
            f"{loss.weight_decay:g}, as [loss] says, or no such key",
            format_value(training_decay),
            "give it in one of the two sections",
        )


def _check_run(study: StudySections) -> Iterator[Problem]:
    run = study.run
    if run.memory_gb is not None and not isinstance(run.devices, str) and len(run.devices) > 1:
        # Sizes are chosen for one model in memory.
        got, change = f"{len(run.devices)} of them", "set shard_size, batch_size, prefix_cache_mb"
        yield Problem("[run] devices", "one device beside memory_gb", got, f"{change} instead")
