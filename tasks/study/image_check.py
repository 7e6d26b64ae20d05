"""Checks of a study whose rows are images."""

from collections.abc import Iterator

from tasks.study.errors import Problem, format_value
from tasks.study.sections import Mislabels, ModelSource, Run


def check_image_study(
    model: ModelSource, run: Run, mislabels: Mislabels, has_audit: bool
) -> Iterator[Problem]:
    """Yield a problem for each key that has no meaning for images.

    Args:
        model: Section of the model.
        run: Section of sizes.
        mislabels: Section of the search for wrong labels.
        has_audit: Whether the study has a model.
    """
    change = "remove it: preprocessor_config.json in the model's folder sets the size of images"
    if has_audit and "max_length" in model.model_fields_set:
        yield Problem("[model] max_length", "no such key", format_value(model.max_length), change)
    if run.batch_tokens is not None:
        got, change = f"{run.batch_tokens}", "use batch_size: all images have one size"
        yield Problem("[run] batch_tokens", "no such key for images", got, change)
    if mislabels.has_classifier:
        yield Problem(
            "[mislabels]",
            "no cross-fitted classifier and no judge for images: both need texts",
            "folds, finetune or judge",
            "remove it; predictions of a classifier can be columns of [train], see judges",
        )
