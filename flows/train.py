"""Flow that trains the classifier of a study."""

from prefect import flow

from tasks.models.finetune import TrainingResult, train_model
from tasks.runtime.foreign_errors import wrap_library_errors


@flow(name="train-classifier", flow_run_name="train {study}", persist_result=False)
@wrap_library_errors
def train(study: str) -> TrainingResult:
    """Fine-tune the model of a study, unless the same checkpoint exists.

    Args:
        study: Path of the study file.
    """
    return train_model(study)
