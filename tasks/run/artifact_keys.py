"""What the parts of a study depend on: each is named by a digest of it, and shared by name."""

from typing import TYPE_CHECKING

from storage import RunRecord, compute_fingerprint
from tasks.study.candidates import AnyMethod, SketchSection

if TYPE_CHECKING:  # a job asks this module for its digests
    from tasks.run.context import RunContext


def index_digest(job: "RunContext", method: AnyMethod) -> str:
    """Of the candidate index that a method searches."""
    inputs: dict[str, object] = {"parts": _common_inputs(job), "factory": method.factory}
    if isinstance(method, SketchSection):
        inputs |= {"sketch": _sketch_inputs(job, method)}
    return compute_fingerprint(inputs)


def factor_digest(job: "RunContext") -> str:
    """Of the solver's factor of the curvature."""
    solver, curvature = job.study.solver, _curvature_settings(job)
    loss = job.study.loss_settings
    if not solver.factor_depends_on_damping:
        del curvature["damping"]
        loss.pop("penalty", None)
    elif job.damping_choice is not None:
        curvature["damping"] = job.damping
    inputs = {
        **_common_inputs(job),
        **loss,
        "attributed": list(job.objective.space.names),
        "curvature": curvature,
        "solver": _solver_fields(job),
        "batch_size": job.study.run.batch_size,
    }
    return compute_fingerprint(inputs)


def damping_digest(job: "RunContext") -> str:
    """Of the choice of the damping."""
    study, record = job.study, job.plan.root
    inputs = {
        **_common_inputs(job),
        "train": record.parts["train"],
        **study.loss_settings,
        "queries": record.parts["queries"],
        "attributed": list(job.objective.space.names),
        "curvature": _curvature_settings(job),
        "recipe": record.parts["recipe"],
        "approximate": None if study.solver.ekfac_solver is None else _solver_fields(job),
    }
    return compute_fingerprint(inputs)


def k_digest(job: "RunContext") -> str:
    """Of the choice of k: the truth is what the run itself would answer, so all of it."""
    dampings = [member.known_damping for member in job.members]
    return compute_fingerprint({"run": job.plan.root.fingerprint, "dampings": dampings})


def method_digest(record: RunRecord) -> str:
    """Of the choice of the method: all that the run asks for, and nothing that a clock tells."""
    return compute_fingerprint({"run": record.fingerprint})


def sketch_family(job: "RunContext", method: SketchSection) -> str:
    """Of all that sketches depend on but the training rows themselves."""
    shared_inputs = {name: value for name, value in _common_inputs(job).items() if name != "train"}
    weights = getattr(job.objective.loss, "class_weights", None)  # balanced ones are the rows'
    class_weights = None if weights is None else [float(weight) for weight in weights]
    return compute_fingerprint(
        {**shared_inputs, "sketch": _sketch_inputs(job, method), "weights": class_weights}
    )


def _sketch_inputs(job: "RunContext", candidates: SketchSection) -> dict[str, object]:
    """What sketches depend on beside the model and its training rows."""
    curvature = job.study.curvature.model_dump(mode="json")
    return {
        **job.study.loss_settings,
        "attributed": list(job.objective.space.names),
        "curvature": {"rows": curvature["rows"], "seed": curvature["seed"]},
        "damping": job.known_damping,
        "dimensions": candidates.dimensions,
        "width": candidates.width,
        "energy": candidates.energy,
    }


def _curvature_settings(job: "RunContext") -> dict[str, object]:
    """The section of the curvature without what changes scores alone."""
    return job.study.curvature.model_dump(mode="json", exclude={"leverage"})


def _solver_fields(job: "RunContext") -> dict[str, object]:
    """What of the solver its factor depends on."""
    solver = job.study.solver
    return {name: getattr(solver, name) for name in ("kind", *solver.factor_fields)}


def _common_inputs(job: "RunContext") -> dict[str, object]:
    """What every part depends on: the model and its training rows."""
    parts = job.plan.record.parts
    names = ("mathematics", "train", "labels", "max_length")
    return {"model": job.model_digest, **{name: parts[name] for name in names}}
