"""Objective of a binary classifier with a single logit, as a classifier of two classes."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fastif.data.examples import Batch
from fastif.errors import InputError
from fastif.models.objective import ModuleObjective
from fastif.models.parameters import Params


class BinaryLogitObjective(ModuleObjective):
    """Objective of a binary classifier with a single logit z, as a classifier of two classes.

    The outputs are (0, z). Their cross-entropy is the binary cross-entropy of z (logistic loss):

        -log softmax(0, z)_1 = log(1 + exp(-z)),    -log softmax(0, z)_0 = log(1 + exp(z)),

    so gradients and the Gauss-Newton matrix are those of a model trained with
    `torch.nn.BCEWithLogitsLoss`.

    Examples:
        >>> import torch
        >>> from fastif.losses import CrossEntropy
        >>> objective = BinaryLogitObjective(torch.nn.Linear(1, 1, bias=False), CrossEntropy())
        >>> _ = objective.params["weight"].fill_(2.0)
        >>> batch = {"inputs": torch.ones(1, 1), "labels": torch.ones(1, dtype=torch.long)}
        >>> objective.outputs(objective.params, batch)
        tensor([[0., 2.]])
    """

    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        logits = super().outputs(params, batch)
        if logits.shape[1] != 1:
            raise InputError(
                type(self.module).__name__,
                "one logit for each row",
                f"{logits.shape[1]} outputs",
                "Use the cross-entropy for a model with an output for each label.",
            )
        return F.pad(logits, (1, 0))
