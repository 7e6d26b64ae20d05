"""Checks of a study whose model is made by `[model] factory`."""

from collections.abc import Iterator
from typing import Any

from tasks.study.errors import Problem, format_value
from tasks.study.sections import ModelSource, Parameters
from tasks.study.training_section import Training


def attribute_whole_module(values: dict[str, Any]) -> None:
    """Set the attributed parameters of such a study to all of them, if it names none, in place."""
    model, parameters = values.get("model"), values.get("parameters", {})
    if isinstance(model, dict) and "factory" in model and isinstance(parameters, dict):
        values["parameters"] = {"attributed": "all", **parameters}


def check_own_model(
    model: ModelSource, parameters: Parameters, training: Training | None, is_own: bool
) -> Iterator[Problem]:
    """Yield a problem for each key that has no meaning for a module of one's own, or only for it.

    Args:
        model: Section `[model]`.
        parameters: Section `[parameters]`.
        training: Section `[training]`; None if there is none.
        is_own: Whether a function makes the model, and an audit reads it.
    """
    if not is_own:
        if model.output is not None:
            change = "remove it; a classifier of texts or images has one output"
            got = format_value(model.output)
            yield Problem("[model] output", "no such key without [model] factory", got, change)
        return
    if isinstance(parameters.attributed, str) and parameters.attributed != "all":
        yield Problem(
            "[parameters] attributed",
            '"all", or regular expressions on the names of the module\'s parameters',
            format_value(parameters.attributed),
            "which layers are its last is not known: name them, such as ['head']",
        )
    if "max_length" in model.model_fields_set:
        change = "remove it: the collate function decides what the module reads"
        yield Problem("[model] max_length", "no such key", format_value(model.max_length), change)
    if training is not None:
        yield Problem(
            "[training]",
            "no such section together with [model] factory, which `fastif train` cannot train",
            "a section",
            'remove it; the damping is then a number, or "auto", a rule of thumb',
        )


def refuse_text_model(key: str) -> Problem:
    """Return the problem of features that a classifier of texts or images shall read."""
    return Problem(
        f"[train] {key}",
        "text or image: an audit supports classifiers of texts and images",
        key,
        "give [model] the path of a file of boosted trees (.txt, .json, .ubj), or a factory for a "
        "torch module of your own or a pipeline of scikit-learn; or remove [model], [curvature] "
        "and [candidates]: the search for wrong labels needs none",
    )
