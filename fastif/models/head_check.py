"""Comparison of a classifier's head with the labels of a study."""

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel

from fastif.errors import InputError
from fastif.models.label_names import check_label_names
from fastif.models.problem_type import SINGLE_LABEL, read_problem_type


def check_head(model: PreTrainedModel, labels: Sequence[str], source: str | Path) -> None:
    """Refuse a model whose head does not have the labels, in their order.

    Args:
        model: Loaded classifier.
        labels: Label names that the output units must have.
        source: Folder or name of the model, for the message.

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
    if problem not in (None, SINGLE_LABEL):
        raise InputError(
            f"model {source}",
            f"a classifier with one label for each row, problem_type {SINGLE_LABEL!r}",
            f"{problem!r}",
            "Audit it from Python with its own loss, see docs/guides/library.md; or correct "
            "problem_type in its config.json.",
        )
    label_names = [str(name) for _, name in sorted((config.id2label or {}).items())]
    units = {name: int(unit) for name, unit in (config.label2id or {}).items()}
    check_label_names(label_names, units, labels, source)
