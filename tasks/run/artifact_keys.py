"""What the parts of a study depend on: each is named by a digest of it, and shared by name."""

from storage import RunRecord, compute_fingerprint
from tasks.run.context import RunContext
from tasks.study.candidate_section import IndexSection


def index_digests(context: RunContext) -> tuple[str, ...]:
    """Of the index of each method that searches."""
    return tuple(_index_digest(context, method) for method in context.study.candidates.methods)


def _index_digest(context: RunContext, method: IndexSection) -> str:
    """Of the candidate index that a method searches."""
    inputs: dict[str, object] = {"parts": _common_inputs(context), "factory": method.factory}
    if method.index_fields:
        inputs |= {"sketch": _sketch_inputs(context, method)}
    return compute_fingerprint(inputs)


def factor_digest(context: RunContext) -> str:
    """Of the solver's factor of the curvature."""
    solver, curvature = context.study.solver, _curvature_settings(context)
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
        "solver": _solver_fields(context),
        "batch_size": context.study.run.batch_size,
    }
    return compute_fingerprint(inputs)


def damping_digest(context: RunContext) -> str:
    """Of the choice of the damping."""
    study, record = context.study, context.plan.root
    inputs = {
        **_common_inputs(context),
        "train": record.parts["train"],
        **study.loss_settings,
        "queries": record.parts["queries"],
        "attributed": list(context.objective.space.names),
        "curvature": _curvature_settings(context),
        "recipe": record.parts["recipe"],
        "approximate": None if study.solver.ekfac_solver is None else _solver_fields(context),
    }
    return compute_fingerprint(inputs)


def k_digest(context: RunContext) -> str:
    """Of the choice of k: the truth is what the run itself would answer, so all of it."""
    dampings = [member.known_damping for member in context.members]
    return compute_fingerprint({"run": context.plan.root.fingerprint, "dampings": dampings})


def method_digest(record: RunRecord) -> str:
    """Of the choice of the method: all that the run asks for, and nothing that a clock tells."""
    return compute_fingerprint({"run": record.fingerprint})


def sketch_family(context: RunContext, method: IndexSection) -> str:
    """Of all that sketches depend on but the training rows themselves."""
    shared_inputs = {
        name: value for name, value in _common_inputs(context).items() if name != "train"
    }
    weights = getattr(context.objective.loss, "class_weights", None)  # balanced ones are the rows'
    class_weights = None if weights is None else [float(weight) for weight in weights]
    return compute_fingerprint(
        {**shared_inputs, "sketch": _sketch_inputs(context, method), "weights": class_weights}
    )


def _sketch_inputs(context: RunContext, method: IndexSection) -> dict[str, object]:
    """What sketches depend on beside the model and its training rows."""
    curvature = context.study.curvature.model_dump(mode="json")
    return {
        **context.study.loss_settings,
        "attributed": list(context.objective.space.names),
        "curvature": {"rows": curvature["rows"], "seed": curvature["seed"]},
        "damping": context.known_damping,
        **{name: getattr(method, name) for name in method.index_fields},
    }


def _curvature_settings(context: RunContext) -> dict[str, object]:
    """The section of the curvature without what changes scores alone."""
    return context.study.curvature.model_dump(mode="json", exclude={"leverage"})


def _solver_fields(context: RunContext) -> dict[str, object]:
    """What of the solver its factor depends on."""
    solver = context.study.solver
    return {name: getattr(solver, name) for name in ("kind", *solver.factor_fields)}


def _common_inputs(context: RunContext) -> dict[str, object]:
    """What every part depends on: the model and its training rows."""
    parts = context.plan.record.parts
    names = ("mathematics", "train", "labels", "max_length")
    return {"model": context.model_digest, **{name: parts[name] for name in names}}
