"""Inputs of a run's fingerprint: everything that its results depend on."""

from dataclasses import fields
from pathlib import Path

from fastif import InputError
from tasks.data.inputs import Inputs
from tasks.models.locate import compute_model_digest, find_base_folder, find_model_folders
from tasks.runtime.versions import INFLUENCE_VERSION
from tasks.study.any_solver import AnySolver
from tasks.study.study import Study
from tasks.study.target_kind import CLASS


def collect_fingerprint_inputs(inputs: Inputs) -> dict[str, object]:
    """Return all inputs of the results; sizes that change only speed and memory are left out."""
    study = inputs.study
    model, *others = compute_model_digests(study)
    common = {
        "mathematics": INFLUENCE_VERSION,
        "model": model,
        **({"models": others} if others else {}),
        "train": inputs.train.digest,
        "queries": inputs.queries.digest,
        "labels": list(study.labels),
        **({} if study.target == CLASS else {"target": study.target}),
        "max_length": study.model.max_length,
    }
    if study.has_trees:
        return {**common, **_collect_tree_settings(study)}
    return {
        **common,
        "attributed": study.parameters.model_dump(mode="json")["attributed"],
        **study.loss_settings,
        "curvature": study.curvature.settings,
        **_collect_recipe(study),
        "solver": _select_answer_fields(study.solver),
        "candidates": study.candidates.model_dump(mode="json", exclude_none=True),
        **_collect_precision(study),
        **_collect_measure(study),
        "certificate": {"rows": min(study.certificate.rows, len(inputs.train))},
        **_collect_group_inputs(study),
    }


def _collect_tree_settings(study: Study) -> dict[str, object]:
    """Return the settings that results of boosted trees depend on; sections of others are empty."""
    settings = study.trees.model_dump(mode="json", exclude={"method"}, exclude_none=True)
    return {
        "trees": settings,
        "curvature": {},
        "solver": {"kind": study.trees.method},
        "candidates": study.candidates.model_dump(mode="json", exclude_none=True),
        **_collect_measure(study),
        **_collect_group_inputs(study),
    }


def _select_answer_fields(solver: AnySolver) -> dict[str, object]:
    """Return the solver's fields that change results, without those for speed and memory."""
    return {
        item.name: getattr(solver, item.name)
        for item in fields(solver)  # type: ignore[arg-type]
        if item.metadata.get("changes_answers", True)
        and not (item.metadata.get("is_new") and getattr(solver, item.name) == item.default)
    }


def _collect_group_inputs(study: Study) -> dict[str, object]:
    """Return the order of the group columns if the run may have totals, keyed by the first."""
    groups = list(study.queries.groups)
    return {"groups": groups} if study.candidates.may_have_totals and len(groups) > 1 else {}


def _collect_precision(study: Study) -> dict[str, object]:
    """Return the precision of scores if `[run]` sets it; a selected one depends on the rest."""
    precision = study.run.precision
    return {} if precision == "auto" else {"precision": precision}


def _collect_measure(study: Study) -> dict[str, object]:
    """Return the measure of queries if it is set; that of "auto" depends on the labels alone."""
    measure = study.queries.measure
    return {} if measure == "auto" else {"measure": measure}


def _collect_recipe(study: Study) -> dict[str, object]:
    """Return the settings of retraining if the damping is selected by it."""
    if study.fixed_damping is not None or study.training is None:
        return {}
    training = study.training.weight_settings
    base = compute_model_digest(find_base_folder(study))
    recipe = {**training, "weight_decay": study.weight_decay, "base": base}
    return {"recipe": recipe, **study.estimator.settings}


def _compute_digest(study: Study, folder: Path) -> str:
    if study.model.factory is None:
        return compute_model_digest(folder)
    from tasks.models.own_model import compute_own_digest  # imports torch

    return compute_own_digest(study, folder)


def compute_model_digests(study: Study) -> list[str]:
    """Return the digest of every model of the study.

    Raises:
        InputError: A model is missing, or two of them are equal.
    """
    folders = find_model_folders(study)
    digests = [_compute_digest(study, folder) for folder in folders]
    for i, digest in enumerate(digests):
        if digest in digests[:i]:
            raise InputError(
                "models",
                "different models",
                f"the same files in {folders[digests.index(digest)]} and {folders[i]}",
                "Remove one of them; copies add nothing to the average.",
            )
    return digests
