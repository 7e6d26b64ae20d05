"""Objective with a subset of the attributed parameters."""

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from fastif.data.examples import COLUMN_WEIGHTS, Batch
from fastif.models.objective import Objective
from fastif.models.parameters import Params, ParamSpace


class ParameterSubset(Objective):
    """Objective with only some attributed parameters; the others keep their trained values.

    A batch may hold weights that mix the columns of the loss's square root; they are removed before
    the model runs.

    Args:
        full_objective: Objective with all attributed parameters.
        names: Names of the parameters to attribute.

    Examples:
        >>> from torch import nn
        >>> from fastif import ModuleObjective, SquaredError
        >>> ParameterSubset(ModuleObjective(nn.Linear(2, 1), SquaredError()), ["bias"]).space.size
        1
    """

    def __init__(self, full_objective: Objective, names: Iterable[str]) -> None:
        self.full_objective = full_objective
        self.loss, self.measure, self.penalty = (
            full_objective.loss,
            full_objective.measure,
            full_objective.penalty,
        )
        self.module, self.per_example_backward = (
            full_objective.module,
            full_objective.per_example_backward,
        )
        self.params = {name: full_objective.params[name] for name in names}
        self.space = ParamSpace.from_params(self.params)

    @property
    def like(self) -> Tensor:
        return self.full_objective.like

    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        model_batch = {key: tensor for key, tensor in batch.items() if key != COLUMN_WEIGHTS}
        return self.full_objective.outputs({**self.full_objective.params, **params}, model_batch)

    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        return self.full_objective.embed(batch)

    def compute_prefix(self, batch: Batch) -> Batch:
        return self.full_objective.compute_prefix(batch)
