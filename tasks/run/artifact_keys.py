"""Cache keys of the artifacts of a study: digests of all inputs that an artifact depends on."""

from fastif.solvers import Solver, Spectral
from fastif.solvers.build import build_solver
from storage import compute_fingerprint
from tasks.run.context import RunContext
from tasks.study.candidate_section import IndexSection


def index_digests(context: RunContext) -> tuple[str, ...]:
    """Return the cache key of the index of each candidate method that searches one."""
    return tuple(_index_digest(context, method) for method in context.study.candidates.methods)


def _index_digest(context: RunContext, method: IndexSection) -> str:
    """Return the cache key of the candidate index of one method."""
    inputs: dict[str, object] = {"parts": _common_inputs(context), "factory": method.factory}
    if method.index_fields:
        inputs |= {"sketch": _sketch_inputs(context, method)}
    return compute_fingerprint(inputs)


def factor_digest(context: RunContext) -> str:
    """Return the cache key of the solver's factor of the curvature."""
    solver, curvature = context.solver, _curvature_settings(context)
    loss = context.study.loss_settings
    if not solver.factor_depends_on_damping:
        del curvature["damping"]
        loss.pop("penalty", None)
    elif context.damping_choice is not None:
        curvature["damping"] = context.damping
    inputs = {
        **_common_inputs(context),
        **loss,
        "attributed": list(context.objective.space.names),
        "curvature": curvature,
        "solver": _solver_fields(context.solver),
        "batch_size": context.study.run.batch_size,
    }
    return compute_fingerprint(inputs)


def damping_digest(context: RunContext) -> str:
    """Return the cache key of the selection of the damping, with the solver of the study."""
    study, parts = context.study, context.plan.root.parts
    solver = build_solver(study.solver)
    inputs = {
        **_common_inputs(context),
        **study.loss_settings,
        "attributed": list(context.objective.space.names),
        "curvature": _curvature_settings(context),
        "approximate": None if solver.ekfac_solver is None else _solver_fields(solver),
    }
    if study.training is None:  # a share of an eigenvalue is kept as long as the model is the same
        del inputs["train"]
        return compute_fingerprint(inputs)
    retraining = {name: parts[name] for name in ("train", "queries", "recipe")}
    return compute_fingerprint(inputs | retraining | measure_inputs(context))


def ekfac_digest(context: RunContext) -> str:
    """Return the cache key of the selection of the damping of EK-FAC, tried with the estimator."""
    return compute_fingerprint({"ekfac": damping_digest(context), **_solver_fields(Spectral())})


def estimator_digest(context: RunContext) -> str:
    """Return the cache key of the selection of the estimator: the models and their dampings."""
    dampings = [damping_digest(member) for member in context.members]
    return compute_fingerprint({"dampings": dampings, **context.study.estimator.settings})


def agreement_digest(context: RunContext) -> str:
    """Return the cache key of the agreement: the factor of the curvature, damping and queries.

    It is measured for the first model of the average.
    """
    first = context.averaged_members[0]
    inputs = {
        "factor": factor_digest(first),
        "damping": first.known_damping,
        "queries": context.plan.record.parts["queries"],
        **measure_inputs(context),
    }
    return compute_fingerprint({"agreement": inputs})


def measure_inputs(context: RunContext) -> dict[str, object]:
    """Return the measure of the queries as part of a cache key; nothing if it is "auto"."""
    parts = context.plan.record.parts
    return {"measure": parts["measure"]} if "measure" in parts else {}


def k_digest(context: RunContext) -> str:
    """Return the cache key of the selection of k: the run's fingerprint and its dampings.

    Recall is measured against a full scan by the run itself, so k depends on all its settings.
    """
    dampings = [member.known_damping for member in context.members]
    return compute_fingerprint({"run": context.plan.root.fingerprint, "dampings": dampings})


def precision_digest(context: RunContext) -> str:
    """Return the cache key of the selected precision: the run's fingerprint and its dampings.

    A run that continues another has the precision of its root, so that all scores have one.
    """
    dampings, root = [member.known_damping for member in context.members], context.plan.root
    return compute_fingerprint({"precision of": root.fingerprint, "dampings": dampings})


def sketch_family(context: RunContext, method: IndexSection) -> str:
    """Return the digest of all inputs of the sketches except the training rows."""
    shared_inputs = {
        name: value for name, value in _common_inputs(context).items() if name != "train"
    }
    weights = getattr(context.objective.loss, "class_weights", None)  # may depend on the rows
    class_weights = None if weights is None else [float(weight) for weight in weights]
    return compute_fingerprint(
        {**shared_inputs, "sketch": _sketch_inputs(context, method), "weights": class_weights}
    )


def _sketch_inputs(context: RunContext, method: IndexSection) -> dict[str, object]:
    """Return the inputs of sketches other than the model and the training rows."""
    curvature = context.study.curvature.settings
    return {
        **context.study.loss_settings,
        "attributed": list(context.objective.space.names),
        "curvature": {"rows": curvature["rows"], "seed": curvature["seed"]},
        "damping": context.known_damping,
        **{name: getattr(method, name) for name in method.index_fields},
    }


def _curvature_settings(context: RunContext) -> dict[str, object]:
    """Return the curvature section without `leverage`, which changes only scores."""
    settings = context.study.curvature.settings
    return {name: value for name, value in settings.items() if name != "leverage"}


def _solver_fields(solver: Solver) -> dict[str, object]:
    """Return the fields of the solver that its factor depends on."""
    return {name: getattr(solver, name) for name in ("kind", *solver.factor_fields)}


def _common_inputs(context: RunContext) -> dict[str, object]:
    """Return the inputs of every artifact: the model and the training rows."""
    parts = context.plan.record.parts
    names = ("mathematics", "train", "labels", "max_length")
    names += tuple(name for name in ("subwords",) if name in parts)
    return {"model": context.model_digest, **{name: parts[name] for name in names}}
