"""Flow: train the classifier of a study."""

from prefect import flow

from tasks.models.finetune import Trained, train_model
from tasks.runtime.foreign_errors import refusing


@flow(name="train-classifier", flow_run_name="train {study}", persist_result=False)
@refusing
def train(study: str) -> Trained:
    """Fine-tune the model that `study` describes, unless the same checkpoint exists.

    Args:
        study: path of the study file.
    """
    return train_model(study)
