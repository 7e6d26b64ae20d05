"""Memory model of the trainings of cross-fitting: weights, AdamW's state and activations."""

import torch

import fastif
from fastif.data.examples import Batch
from tasks.models.hidden_state_cache import MEGABYTE, count_bytes_per_token
from tasks.study.study import Study

HELD_MODELS = 3
"""Models in memory while a fold's model is loaded: that of the first fold, with which hidden states
are computed, that of the previous fold, and the new one."""
HELD_TRAINED = 2
"""Copies of the trained parameters besides these models: those of the first and previous fold."""
CHECK_COPIES = 6.5
"""Peak copies of the trained parameters in the check of the gradient of a new model; a step of
AdamW has less: weights, gradients and two moments."""
ACTIVATION_COPIES = 2.0
"""Memory of a training relative to the activations of its longest batch: temporary tensors of a
step, and freed blocks of batches of other lengths, which the process keeps."""
ROW_BYTES = 500
"""Memory of a tokenized text besides its token ids, bytes."""


def estimate_fold_bytes(
    objective: fastif.Objective, longest: Batch, study: Study, rows: int, tokens: float
) -> int:
    """Estimate the memory that trainings on folds add to a process, bytes.

    Loading the model of a fold is the peak: earlier models are still held, and the process has
    kept the memory of their activations.

    Args:
        objective: Untrained model.
        longest: The longest batch of the training.
        study: Study with the memory budget of hidden states.
        rows: Number of texts.
        tokens: Mean number of tokens of a text.
    """
    weights = sum(tensor.nbytes for tensor in objective.full_model.parameters())
    trained = sum(tensor.nbytes for tensor in objective.params.values())
    models = HELD_MODELS * weights + (HELD_TRAINED + CHECK_COPIES) * trained
    activations = ACTIVATION_COPIES * measure_activation_bytes(objective, longest)
    hidden = rows * tokens * count_bytes_per_token(objective)
    budget = study.run.prefix_cache_mb * MEGABYTE
    texts = rows * (ROW_BYTES + tokens * torch.long.itemsize)
    return int(models + activations + min(hidden, budget) + texts)


def measure_activation_bytes(objective: fastif.Objective, batch: Batch) -> int:
    """Measure the activations that autograd saves for the gradient of a batch's loss, bytes.

    Weights do not count; nor do hidden states of frozen layers, which need no gradient.

    Examples:
        >>> from fastif import ModuleObjective, SquaredError
        >>> objective = ModuleObjective(torch.nn.Linear(8, 1, bias=False), SquaredError())
        >>> batch = {"inputs": torch.ones(5, 8), "labels": torch.ones(5, 1)}
        >>> measure_activation_bytes(objective, batch) >= 5 * 8 * 4
        True
    """
    params = {name: tensor.clone().requires_grad_() for name, tensor in objective.params.items()}
    weights = {_address(tensor) for tensor in (*params.values(), *objective.module.parameters())}
    sizes: dict[int, int] = {}

    def record(tensor: torch.Tensor) -> torch.Tensor:
        if _address(tensor) not in weights:
            sizes[_address(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(record, lambda x: x):
        # The outputs are kept until the end: no address is used twice.
        outputs = objective.outputs(params, batch)
        loss = objective.loss(outputs, batch["labels"]).mean()
    assert loss.requires_grad
    return sum(sizes.values())


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
