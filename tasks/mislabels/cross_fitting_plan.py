"""Training that cross-fitting repeats: that of the study, or fine-tuning of its text encoder."""

from tasks.study.study import Study
from tasks.study.training_section import Training

FOLDS = 5
"""Number of folds of `finetune = true` without `folds`."""
EPOCHS, LEARNING_RATE = 2, 5e-5
"""Recipe of fine-tuning all parameters of an encoder; usual values for models of this kind."""


def plan_cross_fitting(study: Study) -> Study | None:
    """Return the study with the training and the folds of cross-fitting; None if it has none.

    Args:
        study: The study; with `[mislabels] finetune`, its encoder is the base where it has no
            section `[training]`.
    """
    section = study.mislabels
    if section.folds is None and not section.finetune:
        return None
    training = study.training
    if training is None:
        assert section.encoder is not None, "the study file is checked"
        training = Training(
            base=section.encoder, trainable="all", epochs=EPOCHS, learning_rate=LEARNING_RATE
        )
    folds = section.model_copy(update={"folds": section.folds or FOLDS})
    return study.model_copy(update={"training": training, "mislabels": folds})
