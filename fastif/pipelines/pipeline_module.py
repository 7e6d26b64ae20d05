"""Torch module of the last step of a pipeline of scikit-learn."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fastif.pipelines.fitted_head import FittedHead

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda values: values,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "logistic": torch.sigmoid,
}


class PipelineModule(nn.Module):
    """Affine layers of a fitted head, in double precision, with one output for each class.

    A bias is a column of the weights on a constant input s, so its penalised number is bias/s: with
    a large s its penalty vanishes, as scikit-learn does not penalise it.

    Args:
        head: Last step of the pipeline.
    """

    def __init__(self, head: FittedHead) -> None:
        super().__init__()
        self.head = head
        self.layers = nn.ModuleList(_make_layer(*layer, head.bias_scale) for layer in head.layers)

    def forward(self, inputs: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Return the logits of the classes, or the predicted number."""
        values = inputs
        for place, layer in enumerate(self.layers):
            if place:
                values = _ACTIVATIONS[self.head.activation](values)
            if self.head.layers[place][1] is not None:
                constant = values.new_full((len(values), 1), self.head.bias_scale)
                values = torch.cat([values, constant], 1)
            values = layer(values)
        if self.head.classes is not None and values.shape[1] == 1:
            return torch.cat([torch.zeros_like(values), values], 1)
        return values


def _make_layer(weights: np.ndarray, bias: np.ndarray | None, scale: float) -> nn.Linear:
    column = [] if bias is None else [np.reshape(bias, (-1, 1)) / scale]
    values = np.concatenate([weights, *column], 1)
    layer = nn.Linear(values.shape[1], len(values), bias=False, dtype=torch.double)
    layer.weight.data = torch.tensor(values, dtype=torch.double)
    return layer
