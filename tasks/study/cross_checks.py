"""Rules between the sections of a study that can be checked without the data."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from tasks.study.any_solver import AnySolver
from tasks.study.cross_fitting_check import check_cross_fitting
from tasks.study.errors import Problem, format_value, join_some
from tasks.study.estimator_section import (
    EstimatorSection,
    check_ekfac,
    check_estimator,
    check_through_training,
)
from tasks.study.fields import HUB
from tasks.study.image_check import check_image_study
from tasks.study.loss import TrainingLoss
from tasks.study.own_model_check import check_own_model, refuse_text_model
from tasks.study.precision_check import check_precision
from tasks.study.sections import (
    Curvature,
    Mislabels,
    ModelSource,
    Parameters,
    Run,
)
from tasks.study.target_check import TargetSections, check_target_sections
from tasks.study.training_section import Training
from tasks.study.tree_study import check_tree_study

TOLERANCE = 1e-9


class StudySections(TargetSections, Protocol):
    """The sections of a study that are checked against each other; `tasks.study.study` has all."""

    @property
    def models(self) -> Sequence[str]:
        """Further checkpoints."""
        ...

    @property
    def model(self) -> ModelSource:
        """Trained classifier."""
        ...

    @property
    def parameters(self) -> Parameters:
        """Attributed parameters."""
        ...

    @property
    def loss(self) -> TrainingLoss:
        """Loss of training."""
        ...

    @property
    def curvature(self) -> Curvature:
        """Curvature that is inverted."""
        ...

    @property
    def has_trees(self) -> bool:
        """Whether the model is a file of boosted trees."""
        ...

    @property
    def further_models(self) -> Sequence[str]:
        """Models other than that of `[model]`."""
        ...

    @property
    def solver(self) -> AnySolver:
        """Solver of the linear systems."""
        ...

    @property
    def run(self) -> Run:
        """Sizes and devices of a run."""
        ...

    @property
    def estimator(self) -> EstimatorSection:
        """Settings of the selection of the estimator."""
        ...

    @property
    def training(self) -> Training | None:
        """Training recipe of the model; None without one."""
        ...

    @property
    def mislabels(self) -> Mislabels:
        """Settings of the search for wrong labels."""
        ...

    @property
    def fixed_damping(self) -> float | None:
        """Effective damping λ; None where it is not chosen yet."""
        ...


def find_contradictions(study: StudySections) -> Iterator[Problem]:
    """Yield a problem for each contradiction between sections."""
    yield from check_target_sections(study)
    yield from _check_solver(study)
    yield from _check_candidates(study)
    yield from _check_loss(study)
    yield from _check_run(study)
    yield from _check_contents(study)
    if study.training is None and study.train.text:
        yield from check_cross_fitting(study.mislabels)
    if study.training is not None and study.model.path.startswith(HUB):
        yield Problem(
            "[model] path",
            "a local folder, into which `fastif train` writes the model of [training]",
            format_value(study.model.path),
            "use a folder, or remove [training]; only its base can be a model of the hub",
        )
    is_selected = study.fixed_damping is None and study.training is not None
    yield from check_estimator(study.estimator, study.model.path, is_selected)
    yield from check_ekfac(study.estimator, study.curvature, study.solver.kind)
    yield from check_through_training(
        study.estimator, study.models, study.candidates.kind, study.solver.kind
    )
    if study.model.path in study.models:
        yield Problem(
            "models",
            "models other than that of [model] path, which is always included",
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
    """Check tables of features or images; features support only the search for wrong labels."""
    key = "features" if study.train.features else "image"
    is_own = study.model.factory is not None and study.has_audit
    if study.has_trees:
        names, kind = len(study.labels), study.candidates.kind
        yield from check_tree_study(study.target, names, kind, study.run.devices)
        yield from _check_query_columns(study, "features")
        return
    yield from check_own_model(study.model, study.parameters, study.training, is_own)
    if study.train.text:
        return
    yield from _check_query_columns(study, key)
    if study.train.image is not None and not is_own:
        yield from check_image_study(study.model, study.run, study.mislabels, study.has_audit)
        return
    if study.has_audit and not is_own:
        yield refuse_text_model(key)
    if (trains := study.training is not None and not is_own) or study.mislabels.has_classifier:
        yield Problem(
            "[training]" if trains else "[mislabels]",
            f"no training and no judge for {key}: both need texts",
            "a text classifier",
            "remove it",
        )
    if study.mislabels.encoder is not None:
        yield Problem(
            "[mislabels] encoder",
            f"none for {key}, which are used as they are",
            format_value(study.mislabels.encoder),
            "remove it; embeddings by another model can be a column of lists in features",
        )


def _check_query_columns(study: StudySections, key: str) -> Iterator[Problem]:
    """Check that both tables have the same columns of features or images."""
    if not getattr(study.queries, key):
        yield Problem(
            f"[queries] {key}",
            "the same columns as in [train]",
            "nothing",
            f"give both tables {key}",
        )
    names = study.train.features, study.queries.features
    if names[0] != names[1] and sorted(names[0]) == sorted(names[1]):
        yield Problem(
            "[queries] features",
            f"the order of [train]: {join_some(names[0], 20)}",
            join_some(names[1], 20),
            "name the columns in the same order",
        )


def _check_solver(study: StudySections) -> Iterator[Problem]:
    solver = study.solver
    if study.fixed_damping == 0 and solver.requires_damping:
        # Direct factorizes the full matrix, which needs no damping if the model is convex. The
        # others divide by lambda (dual, spectral) or do not converge without it (cg, lissa).
        yield Problem(
            "[curvature] damping",
            f"a number > 0 for the solver {format_value(solver.kind)} (only direct allows 0)",
            format_value(study.curvature.damping),
            "set damping = 0.1 and compare with 0.01",
        )
    if solver.requires_factored and study.curvature.kind != "gauss-newton":
        yield Problem(
            "[curvature] kind",
            f'"gauss-newton" for the solver "{solver.kind}", which needs a factored curvature',
            format_value(study.curvature.kind),
            'set kind = "gauss-newton", or the solver to cg, lissa or direct',
        )


def _check_candidates(study: StudySections) -> Iterator[Problem]:
    for where, method in study.candidates.methods_in_file:
        max_quota = 1 / max(1, len(study.labels))
        if method.quota is not None and method.quota > max_quota + TOLERANCE:
            yield Problem(
                f"{where} quota",
                f"at most 1 / {len(study.labels)}, the number of labels",
                format_value(method.quota),
                f"lower it to {int(100 * max_quota) / 100:g} or less",
            )
    if study.candidates.has_sketch_scores:
        yield from _check_sketch_scores(study)
    if study.fixed_damping == 0 and study.candidates.requires_damping:
        # Without damping, directions of near-zero curvature (rounding errors) dominate.
        yield Problem(
            "[curvature] damping",
            'a number > 0 for candidates of kind "sketch"',
            format_value(study.curvature.damping),
            'set damping = 0.1 and compare with 0.01, or kind = "full" under [candidates]',
        )


def _check_sketch_scores(study: StudySections) -> Iterator[Problem]:
    change = "remove rescore = false under [candidates]"
    if study.further_models:
        got = f"{len(study.further_models)} further models"
        yield Problem("models", "none: sketch scores are of a single model", got, change)
    if len(study.candidates.methods) > 1:
        expected = "methods with rescored candidates"
        yield Problem("[candidates] of", expected, "rescore = false", change)
    if study.curvature.leverage == "on":
        expected = '"off" or "auto": sketch scores are not corrected for leverage'
        yield Problem("[curvature] leverage", expected, '"on"', change)


def _check_loss(study: StudySections) -> Iterator[Problem]:
    loss, training = study.loss, study.training
    yield from loss.find_contradictions(study.target)
    yield from loss.find_wrong_counts(len(study.labels))
    if loss.weight_decay_kind == "coupled" and loss.weight_decay is None and training is None:
        yield Problem(
            "[loss] weight_decay",
            "the L2 weight decay of training, since weight_decay_kind is coupled",
            "nothing",
            "add weight_decay = ... under [loss], or remove weight_decay_kind",
        )
    training_decay = training.weight_decay if training else None
    if loss.weight_decay is not None and training_decay not in (None, loss.weight_decay):
        yield Problem(
            "[training] weight_decay",
            f"{loss.weight_decay:g}, as in [loss], or no such key",
            format_value(training_decay),
            "set it in one of the two sections only",
        )


def _check_run(study: StudySections) -> Iterator[Problem]:
    run, minutes = study.run, getattr(study.candidates, "minutes", None)
    yield from check_precision(run.precision, study.candidates)
    if run.budget is not None and minutes is not None:
        expected, change = "no such key together with [run] budget", "remove it, or budget"
        yield Problem("[candidates] minutes", expected, f"{minutes:g}", change)
    if run.memory_gb is not None and not isinstance(run.devices, str) and len(run.devices) > 1:
        got, change = f"{len(run.devices)} devices", "remove memory_gb, and set the sizes yourself"
        yield Problem("[run] devices", "a single device together with memory_gb", got, change)
