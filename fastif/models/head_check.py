"""Comparison of a classifier's head with the labels of a study."""

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel

from fastif.errors import InputError
from fastif.models.label_names import check_label_names
from fastif.models.problem_type import REGRESSION, SINGLE_LABEL, read_problem_type

KINDS = {
    SINGLE_LABEL: "a classifier with one label for each row",
    "multi_label_classification": "a classifier with several labels for each row",
    REGRESSION: "a model of numbers",
}
"""Kinds of models by `problem_type`."""


def check_head(
    model: PreTrainedModel,
    labels: Sequence[str],
    source: str | Path,
    problem_type: str = SINGLE_LABEL,
) -> None:
    """Refuse a model whose head does not have the labels, in their order.

    Args:
        model: Loaded classifier.
        labels: Label names that the output units must have.
        source: Folder or name of the model, for the message.
        problem_type: Problem type of the study. A model whose configuration has none passes, and
            the names of numbers are not compared.

    Raises:
        InputError: Another number of outputs, kind of labels, or order.
    """
    config = model.config
    if config.num_labels != len(labels):
        raise InputError(
            f"model {source}",
            f"{len(labels)} output units, one for each label of the study",
            f"{config.num_labels}",
            "Correct `labels` in the study, or use the model that was trained on them.",
        )
    problem = read_problem_type(model)
    # one output is regression for transformers, and a single label of several for others
    is_single_output = config.num_labels == 1 and getattr(config, "problem_type", None) is None
    if problem not in (None, problem_type) and not is_single_output:
        raise InputError(
            f"model {source}",
            f"{KINDS[problem_type]}, problem_type {problem_type!r}",
            f"{problem!r}",
            'State what the model was trained on: target = "class", "multi-label" or "number"; or '
            "correct problem_type in its config.json.",
        )
    if problem_type == REGRESSION:
        return
    label_names = [str(name) for _, name in sorted((config.id2label or {}).items())]
    units = {name: int(unit) for name, unit in (config.label2id or {}).items()}
    check_label_names(label_names, units, labels, source)
