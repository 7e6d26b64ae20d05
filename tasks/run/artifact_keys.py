"""What the parts of a study depend on: each is named by a digest of it, and shared by name."""

from typing import TYPE_CHECKING

from storage import RunRecord, fingerprint
from tasks.study.sections import AnyMethod, Sketches

if TYPE_CHECKING:  # a job asks this module for its digests
    from tasks.run.context import Job


def index_digest(job: "Job", method: AnyMethod) -> str:
    """Of the candidate index that a method searches."""
    parts: dict[str, object] = {"parts": _common(job), "factory": method.factory}
    if isinstance(method, Sketches):
        parts |= {"sketch": _sketch_parts(job, method)}
    return fingerprint(parts)


def factor_digest(job: "Job") -> str:
    """Of the solver's factor of the curvature."""
    solver, curvature = job.study.solver, _matrix(job)
    loss = job.study.loss_parts
    if not solver.factor_depends_on_damping:
        del curvature["damping"]
        loss.pop("penalty", None)
    elif job.choice is not None:
        curvature["damping"] = job.damping
    parts = {
        **_common(job),
        **loss,
        "attributed": list(job.objective.space.names),
        "curvature": curvature,
        "solver": _solver_fields(job),
        "batch_size": job.study.run.batch_size,
    }
    return fingerprint(parts)


def choice_digest(job: "Job") -> str:
    """Of the choice of the damping."""
    study, record = job.study, job.plan.root
    parts = {
        **_common(job),
        "train": record.parts["train"],
        **study.loss_parts,
        "queries": record.parts["queries"],
        "attributed": list(job.objective.space.names),
        "curvature": _matrix(job),
        "recipe": record.parts["recipe"],
        "approximate": _solver_fields(job) if study.solver.kind == "spectral" else None,
    }
    return fingerprint(parts)


def candidate_digest(job: "Job") -> str:
    """Of the choice of k: the truth is what the run itself would answer, so all of it."""
    dampings = [member.fixed_or_chosen for member in job.members]
    return fingerprint({"run": job.plan.root.fingerprint, "dampings": dampings})


def method_digest(record: RunRecord) -> str:
    """Of the choice of the method: all that the run asks for, and nothing that a clock tells."""
    return fingerprint({"run": record.fingerprint})


def sketch_family(job: "Job", method: Sketches) -> str:
    """Of all that sketches depend on but the training rows themselves."""
    common = {name: part for name, part in _common(job).items() if name != "train"}
    weights = getattr(job.objective.loss, "class_weights", None)  # balanced ones are the rows'
    told = None if weights is None else [float(weight) for weight in weights]
    return fingerprint({**common, "sketch": _sketch_parts(job, method), "weights": told})


def _sketch_parts(job: "Job", candidates: Sketches) -> dict[str, object]:
    """What sketches depend on beside the model and its training rows."""
    curvature = job.study.curvature.model_dump(mode="json")
    return {
        **job.study.loss_parts,
        "attributed": list(job.objective.space.names),
        "curvature": {"rows": curvature["rows"], "seed": curvature["seed"]},
        "damping": job.fixed_or_chosen,
        "dimensions": candidates.dimensions,
        "width": candidates.width,
        "energy": candidates.energy,
    }


def _matrix(job: "Job") -> dict[str, object]:
    """The section of the curvature without what changes scores alone."""
    return job.study.curvature.model_dump(mode="json", exclude={"leverage"})


def _solver_fields(job: "Job") -> dict[str, object]:
    """What of the solver its factor depends on."""
    solver = job.study.solver
    return {name: getattr(solver, name) for name in ("kind", *solver.factor_fields)}


def _common(job: "Job") -> dict[str, object]:
    """What every part depends on: the model and its training rows."""
    parts = job.plan.record.parts
    names = ("mathematics", "train", "labels", "max_length")
    return {"model": job.digest, **{name: parts[name] for name in names}}
