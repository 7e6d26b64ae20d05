"""Order of a model's outputs that the rows fit better than that of the study's labels."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from tasks.data.target_text import Target
from tasks.models.label_order import find_better_label_order
from tasks.models.output_order import find_better_output_order
from tasks.models.row_predictions import pair_tags
from tasks.models.target_outputs import make_plain_targets
from tasks.study.errors import join_some
from tasks.study.study import Study
from tasks.study.target_kind import CLASS, MULTI_LABEL, SOFT_LABEL, TAGS


def find_better_order(
    study: Study,
    given: Sequence[Target],
    predicted: Sequence[Target],
    outputs: Float[Tensor, "b c"],
) -> str | None:
    """Return the order that the rows fit better, in words; None if there is none, or for numbers.

    Args:
        study: Study file.
        given: Target of each row.
        predicted: Predicted target of each row.
        outputs: Outputs of the model for the rows.
    """
    if study.target == CLASS:
        other = find_better_label_order(given, predicted, study.labels)  # type: ignore[arg-type]
    elif study.target == TAGS:
        other = find_better_label_order(*pair_tags(given, predicted), study.labels)
    elif study.target in (MULTI_LABEL, SOFT_LABEL):
        targets = make_plain_targets(study, given).to(outputs.device)
        order = find_better_output_order(outputs, targets, study.labels)
        return f"outputs that fit the order {join_some(order)} better" if order else None
    else:
        return None
    return None if other is None else str(other)
