"""Request for the flip set of one query, refused before anything is computed."""

from dataclasses import dataclass

from fastif import InputError
from tasks.bisection.retraining_recipe import RetrainingRecipe, find_recipe
from tasks.data.inputs import Inputs
from tasks.run.spec import RunPlan
from tasks.study.errors import suggest
from tasks.study.spelling import normalize_nfc
from tasks.study.study import check_has_audit
from tasks.study.supported_targets import check_plain_classes


@dataclass(frozen=True)
class FlipRequest:
    """Request for the flip set of one query.

    Attributes:
        query: Position in the query table.
        relabel: Whether training rows are relabelled, not removed.
        max_rows: Largest number of rows.
    """

    query: int
    relabel: bool
    max_rows: int


def make_flip_request(
    inputs: Inputs, name: str, relabel: bool, max_rows: int, confirm: bool
) -> FlipRequest:
    """Return the request for the query with this id.

    Raises:
        StudyError: The study is for labels only.
        InputError: The query does not exist, the study has several models, or a confirmation is
            asked for without a section `[training]`.
    """
    study = inputs.study
    check_has_audit(study)
    check_plain_classes(study, "`fastif flip`")
    if study.models:
        raise InputError(
            "fastif flip",
            "a study of one model",
            f"{1 + len(study.models)} models",
            "Leave models out of a copy of the study, and name the copy.",
        )
    if confirm and study.training is None:
        raise InputError(
            "--confirm",
            "a section [training], by which the model can be trained again",
            "none",
            "Add it to the study, or leave --confirm out.",
        )
    name = normalize_nfc(name)
    if name not in inputs.queries.ids:
        hint = suggest(name, inputs.queries.ids)
        example = f"An example is {inputs.queries.ids[0]}."
        remedy = f"{hint[:1].upper()}{hint[1:]}" if hint else example
        raise InputError("query", f"an id of {inputs.queries.place}", name, remedy)
    return FlipRequest(inputs.queries.ids.index(name), relabel, max_rows)


def require_recipe(plan: RunPlan) -> RetrainingRecipe:
    """Return the recipe of the study's model.

    Raises:
        InputError: It is not known for certain.
    """
    recipe = find_recipe(plan.inputs.study, plan.record, lambda: plan.inputs.train)
    if isinstance(recipe, RetrainingRecipe):
        return recipe
    raise InputError(
        "--confirm",
        "a model that was trained by the section [training] on the rows of the study",
        recipe,
        "Train it by `fastif train` first, or leave --confirm out.",
    )
