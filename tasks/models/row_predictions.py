"""Predicted targets of rows, and their targets as tensors, also for tags of words."""

from collections.abc import Sequence

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.data.examples import Examples
from fastif.data.tagged_sentences import TaggedSentences
from tasks.data.target_text import UNTAGGED, Target
from tasks.models.target_outputs import make_plain_targets, predict_targets
from tasks.study.study import Study


def predict_rows(
    study: Study, outputs: Float[Tensor, "b c"], examples: Examples, ids: Int[Tensor, " b"]
) -> list[Target]:
    """Return the predicted target of each row; for tags of all words that have a label.

    Args:
        study: Study file.
        outputs: Outputs of the model for the rows.
        examples: Table of the rows as inputs of the model.
        ids: Positions of the rows in it.
    """
    if isinstance(examples, TaggedSentences):
        return [*examples.predict_words(outputs, ids)]
    return predict_targets(study, outputs)


def make_row_targets(
    study: Study,
    targets: Sequence[Target],
    focus: Sequence[int] | None,
    examples: Examples,
    ids: Int[Tensor, " b"],
) -> Shaped[Tensor, "b *t"]:
    """Return targets of rows as a tensor without weights; see `make_plain_targets`.

    Args:
        study: Study file.
        targets: Target of each row.
        focus: Position of the one label of several that each row is about.
        examples: Table of the rows as inputs of the model.
        ids: Positions of the rows in it.
    """
    if isinstance(examples, TaggedSentences):
        rows = [
            [int(tag) for tag in row] if isinstance(row, tuple) else [UNTAGGED] for row in targets
        ]
        return examples.arrange_labels(rows, ids)
    return make_plain_targets(study, targets, focus)


def pair_tags(given: Sequence[Target], predicted: Sequence[Target]) -> tuple[list[int], list[int]]:
    """Return given and predicted tag of each word that has both, over all sentences.

    Examples:
        >>> pair_tags([(0, 2, -100)], [(1, -100, -100)])
        ([0], [1])
    """
    pairs = [
        (int(tag), int(other))
        for row, prediction in zip(given, predicted, strict=True)
        if isinstance(row, tuple) and isinstance(prediction, tuple)
        for tag, other in zip(row, prediction, strict=True)
        if UNTAGGED not in (tag, other)
    ]
    return [tag for tag, _ in pairs], [other for _, other in pairs]
